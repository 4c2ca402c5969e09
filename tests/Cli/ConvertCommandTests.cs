using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class ConvertCommandTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly string _model;

    public ConvertCommandTests() => _model = new TinyModel { DType = "BF16" }.Write(_directory.File("model"));

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_model_runs_the_same_from_its_directory_its_GGUF_file_and_the_directory_made_of_that()
    {
        string file = _directory.File("m.gguf"), folder = _directory.File("back");
        CliResult converted = new CliTestHost().Run("convert", _model, file);
        Assert.Equal((ExitCode.Success, ""), (converted.Code, converted.Output));
        Assert.Contains("as stored", converted.Error, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Success, new CliTestHost().Run("convert", file, folder).Code);
        string[] answers = [.. ((string[])[_model, file, folder]).Select(m => new CliTestHost().Run("run", "--model", m, "--max-tokens", "20", "abc").Output)];
        Assert.Single(answers.Distinct());
        Assert.NotEqual("", answers[0].Trim());
        string[] ids = [.. ((string[])[_model, file, folder]).Select(m => new CliTestHost().Run("tokenize", "--tokenizer", m, "abc<|user|>Ä").Output)];
        Assert.Single(ids.Distinct());
        Assert.DoesNotContain(Directory.GetFileSystemEntries(_directory.Path), p => p.EndsWith(".tmp", StringComparison.Ordinal));
    }

    [Fact]
    public void Refused_and_interrupted_conversions_leave_nothing()
    {
        string file = _directory.File("m.gguf"), folder = _directory.File("out");
        new CliTestHost().Run("convert", _model).FailsWith(ExitCode.Usage, "OUT is missing");
        new CliTestHost().Run("convert", _model, file, "--type", "q3_k").FailsWith(ExitCode.Usage, "--type does not know 'q3_k'", "q4_k_m");
        new CliTestHost().Run("convert", _model, folder, "--type", "q8_0").FailsWith(ExitCode.Usage, "cannot be written to a folder");
        new CliTestHost().Run("convert", _directory.File("none"), file).FailsWith(ExitCode.RunError, "does not exist");
        new CliTestHost().Run("convert", _model, _directory.File("no/such/m.gguf")).FailsWith(ExitCode.RunError, "OUT cannot be written");
        new CliTestHost().Run("convert", _model, _model).FailsWith(ExitCode.RunError, "not empty");
        var interrupted = new CliTestHost { Interrupt = new CancellationToken(canceled: true) };
        Assert.Equal(ExitCode.Interrupted, interrupted.Run("convert", _model, file).Code);
        Assert.Equal(ExitCode.Interrupted, interrupted.Run("convert", _model, folder).Code);
        Assert.Equal([_model], Directory.GetFileSystemEntries(_directory.Path));
    }

    [Fact]
    public void Synth_checks_its_flags_before_it_writes()
    {
        string file = _directory.File("m.gguf");
        new CliTestHost().Run("synth", "--out", file).FailsWith(ExitCode.Usage, "--shape is missing", "llama-3.2-1b");
        new CliTestHost().Run("synth", "--shape", "llama-9b", "--out", file).FailsWith(ExitCode.Usage, "'llama-9b'", "qwen3-8b");
        new CliTestHost().Run("synth", "--shape", "qwen3-0.6b").FailsWith(ExitCode.Usage, "--out is missing");
        new CliTestHost().Run("synth", "--shape", "qwen3-0.6b", "--format", "hf", "--type", "q8_0", "--out", file).FailsWith(ExitCode.Usage, "cannot be written with --format hf");
        var interrupted = new CliTestHost { Interrupt = new CancellationToken(canceled: true) };
        Assert.Equal(ExitCode.Interrupted, interrupted.Run("synth", "--shape", "qwen3-0.6b", "--type", "q8_0", "--out", file).Code);
        Assert.Equal(ExitCode.Interrupted, interrupted.Run("synth", "--shape", "llama-3.1-8b", "--format", "hf", "--out", _directory.File("hf")).Code);
        Assert.Equal([_model], Directory.GetFileSystemEntries(_directory.Path));
    }
}
