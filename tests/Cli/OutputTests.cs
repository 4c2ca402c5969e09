using Foretoken.Cli;
using Foretoken.Cli.Output;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>Files and folders that appear whole or not at all, also beside other processes and on full disks.</summary>
public sealed class OutputTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Of_two_that_write_one_folder_the_first_wins_whole_and_the_second_says_so()
    {
        string path = _directory.File("model");
        using (OutputDirectory first = OutputDirectory.Create(path, "OUT"), second = OutputDirectory.Create(path, "OUT"))
        {
            Assert.NotEqual(first.Path, second.Path); // also where both have the same process number
            File.WriteAllText(Path.Combine(first.Path, "file"), "first");
            File.WriteAllText(Path.Combine(second.Path, "file"), "second");
            first.Commit();
            var error = Assert.Throws<RunException>(second.Commit);
            Assert.Contains($"{path}: OUT was free at the start", error.Message, StringComparison.Ordinal);
        }

        Assert.Equal("first", File.ReadAllText(Path.Combine(path, "file")));
        Assert.Equal([path], Directory.GetFileSystemEntries(_directory.Path));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")] // an empty file may be a device, and is written in place
    [InlineData("older")]
    public void A_file_that_is_not_finished_leaves_what_was_there(string? before)
    {
        string path = _directory.File("file");
        if (before is not null) File.WriteAllText(path, before);
        using (OutputFile output = OutputFile.Create(path, "--out"))
        {
            output.Stream.Write(new byte[100_000]);
            output.Stream.Write("and more"u8);
        }

        Assert.Equal(before, File.Exists(path) ? File.ReadAllText(path) : null);
        using (OutputFile output = OutputFile.Create(path, "--out"))
        {
            output.Stream.Write("new"u8);
            output.Commit();
        }

        Assert.Equal("new", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(_directory.Path));
    }

    [Theory]
    [InlineData("--samples")]
    [InlineData("--chains")]
    public void An_interrupt_among_many_answers_says_so_and_shows_none_that_never_began(string flag)
    {
        File.Delete(Path.Combine(new TinyModel { MaxPositions = 128 }.Write(_directory.File("models/reasoner")), "tokenizer_config.json"));
        using var interrupt = new CancellationTokenSource();
        using StringWriter output = new() { NewLine = "\n" }, watched = new InterruptingWriter(interrupt) { NewLine = "\n" };
        bool samples = flag == "--samples"; // is interrupted by its first answer; chains, which write none before the last, by the note that their model has no template
        var host = new CliTestHost { BaseDirectory = _directory.Path, Interrupt = interrupt.Token, Output = samples ? watched : output, Error = samples ? output : watched };
        int code = host.Run("run", flag, "1000", "--temperature", "1", "--max-tokens", "3", "--threads", "1", "abc").Code;
        Assert.Equal(ExitCode.Interrupted, code);
        if (samples) Assert.InRange(watched.ToString().Split("[sample ").Length - 1, 1, 300);
        else Assert.Equal(("", true), (output.ToString(), watched.ToString().EndsWith("error: interrupted.\n", StringComparison.Ordinal)));
    }

    /// <summary>Is interrupted by what is written first.</summary>
    private sealed class InterruptingWriter(CancellationTokenSource interrupt) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            interrupt.Cancel();
        }
    }
}
