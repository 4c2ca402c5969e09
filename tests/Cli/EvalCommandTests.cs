using System.Text.Json;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class EvalCommandTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly string _model;

    public EvalCommandTests() => _model = new TinyModel { MaxPositions = 512 }.Write(_directory.File("models/reasoner"));

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Own_questions_are_scored_per_bucket_as_json()
    {
        string file = Questions("""
            {"question": "a", "answer": "1"}
            {"question": "b", "answer": "2", "bucket": "second"}
            {"question": "c", "answer": "3", "bucket": "second"}
            """);
        CliResult result = Run("--file", file, "--max-tokens", "4", "--json");
        Assert.Equal(ExitCode.Success, result.Code);
        JsonElement root = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal(0, root.GetProperty("overall").GetProperty("accuracy").GetDouble());
        Assert.Equal(["custom", "second"], root.GetProperty("buckets").EnumerateArray().Select(b => b.GetProperty("name").GetString()));
        Assert.Equal([1, 2], root.GetProperty("buckets").EnumerateArray().Select(b => b.GetProperty("n").GetInt32()));
    }

    [Fact]
    public void Limit_counts_per_bucket_and_generated_questions_cover_the_six_buckets()
    {
        CliResult result = Run("--limit", "1", "--max-tokens", "2");
        Assert.Equal(ExitCode.Success, result.Code);
        foreach (string bucket in new[] { "arithmetic", "trace", "recall", "extract", "mapping", "json", "overall" })
            Assert.Contains(bucket, result.Output, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("7 questions", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Bad_questions_and_flags_are_refused()
    {
        string file = Questions("{\"question\": \"a\"}");
        Run("--file", file).FailsWith(ExitCode.RunError, file, "line 1", "answer");
        Run("--file", file, "--seed", "3").FailsWith(ExitCode.Usage, "--seed");
        Run("--limit", "0").FailsWith(ExitCode.Usage, "--limit must be an integer from 1");
        Run("--kv", "quest").FailsWith(ExitCode.Usage, "--kv quest is unknown: available are dense, dms");
    }

    [Fact]
    public void Questions_that_are_no_Utf8_file_are_refused_by_path_and_rule()
    {
        string file = Questions("{\"question\": \"a\", \"answer\": \"1\"}");
        byte[] text = File.ReadAllBytes(file);
        File.WriteAllBytes(file, [0xEF, 0xBB, 0xBF, .. text]);
        Assert.Equal(ExitCode.Success, Run("--file", file, "--max-tokens", "1").Code);
        File.WriteAllText(file, File.ReadAllText(file), System.Text.Encoding.Unicode);
        Run("--file", file).FailsWith(ExitCode.RunError, file + " is not UTF-8 (byte 0)", "convert it");
        File.WriteAllBytes(file, [.. text[..^3], 0xE9, .. text[^2..]]); // é of Latin-1, which no replacement may stand for
        Run("--file", file).FailsWith(ExitCode.RunError, file + $" is not UTF-8 (byte {text.Length - 3})");
        File.WriteAllText(file, "{\"question\"");
        CliResult cut = Run("--file", file);
        cut.FailsWith(ExitCode.RunError, file + ", line 1: is not JSON", "one complete object per line");
        Assert.DoesNotContain("LineNumber", cut.Error, StringComparison.Ordinal);
        Run("--file", _directory.Path).FailsWith(ExitCode.RunError, _directory.Path + " is a folder");
        Run("--file", file + "l").FailsWith(ExitCode.RunError, file + "l: no such file. Check the path.");
    }

    [Fact]
    public void Interrupt_ends_with_130()
    {
        var host = new CliTestHost { BaseDirectory = _directory.Path, Interrupt = new CancellationToken(canceled: true) };
        Assert.Equal(ExitCode.Interrupted, host.Run("eval", "--limit", "1").Code);
    }

    private CliResult Run(params string[] args) => new CliTestHost { BaseDirectory = _directory.Path }.Run(["eval", .. args]);

    private string Questions(string lines)
    {
        string path = _directory.File("questions.jsonl");
        File.WriteAllText(path, lines);
        return path;
    }
}
