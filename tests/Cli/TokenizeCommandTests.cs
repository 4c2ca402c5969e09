using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class TokenizeCommandTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly string _model;

    public TokenizeCommandTests() => _model = TinyModel.Write(_directory.File("model"), "qwen3");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Text_becomes_ids_and_special_tokens_are_recognised_unless_plain()
    {
        Assert.Equal("{\"ids\":[65,256]}\n", new CliTestHost().Run("tokenize", "--tokenizer", _model, "A<|end|>").Output);
        CliResult plain = new CliTestHost().Run("tokenize", "--plain", "--tokenizer", _model + "/tokenizer.json", "<|");
        Assert.Equal("{\"ids\":[60,124]}\n", plain.Output);
        Assert.DoesNotContain("256", new CliTestHost().Run("tokenize", "--plain", "--tokenizer", _model, "<|end|>").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Lines_split_on_line_feed_only_and_round_trip()
    {
        const string text = "a\\r\\n\\u2028b €";
        CliResult ids = new CliTestHost().RunWithInput($"{{\"text\": \"{text}\"}}\r\n{{\"text\": \"\"}}", "tokenize", "--jsonl", "--tokenizer", _model);
        Assert.Equal(0, ids.Code);
        Assert.Equal(2, ids.Output.Count(c => c == '\n'));
        Assert.EndsWith("{\"ids\":[]}\n", ids.Output, StringComparison.Ordinal);
        CliResult back = new CliTestHost().RunWithInput(ids.Output, "detokenize", "--jsonl", "--tokenizer", _model);
        string first = back.Output.Split('\n')[0];
        Assert.Equal("a\r\n\u2028b €", System.Text.Json.JsonDocument.Parse(first).RootElement.GetProperty("text").GetString());
    }

    [Fact]
    public void Stdin_is_taken_verbatim_and_detokenize_gives_it_back()
    {
        CliResult ids = new CliTestHost().RunWithInput("two\nlines\n", "tokenize", "--tokenizer", _model);
        Assert.Equal("two\nlines\n", new CliTestHost().RunWithInput(ids.Output, "detokenize", "--tokenizer", _model).Output);
    }

    [Fact]
    public void A_byte_order_mark_is_text_in_a_text_and_none_before_the_first_line()
    {
        byte[] marked = [0xEF, 0xBB, 0xBF, (byte)'a'];
        Assert.Equal("{\"ids\":[239,187,191,97]}\n", new CliTestHost().RunWithInput(marked, "tokenize", "--tokenizer", _model).Output);
        Assert.Equal("{\"ids\":[97]}\n", new CliTestHost().RunWithInput("\uFEFF{\"text\": \"a\"}\n", "tokenize", "--jsonl", "--tokenizer", _model).Output);
    }

    [Theory]
    [InlineData("[1]", "not an object")]
    [InlineData("{\"text\": 1}", "no string \"text\"")]
    [InlineData("{\"text\": ", "not JSON")]
    [InlineData("{\"text\": \"\\ud800\"}", "not Unicode")]
    public void Bad_line_is_refused_with_its_number(string line, string rule)
    {
        CliResult result = new CliTestHost().RunWithInput("{\"text\": \"\"}\n" + line, "tokenize", "--jsonl", "--tokenizer", _model);
        Assert.Equal(ExitCode.RunError, result.Code);
        Assert.Equal("{\"ids\":[]}\n", result.Output);
        Assert.Contains("stdin line 2", result.Error, StringComparison.Ordinal);
        Assert.Contains(rule, result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Blank_lines_are_no_records_and_keep_the_others_numbers()
    {
        CliResult ids = new CliTestHost().RunWithInput("\uFEFF\n{\"text\": \"a\"}\n \t\r\n\n{\"text\": \"b\"}\n\n", "tokenize", "--jsonl", "--tokenizer", _model);
        Assert.Equal((ExitCode.Success, "{\"ids\":[97]}\n{\"ids\":[98]}\n"), (ids.Code, ids.Output));
        CliResult text = new CliTestHost().RunWithInput("\n{\"ids\": [97]}\n\n{\"ids\": 1}\n", "detokenize", "--jsonl", "--tokenizer", _model);
        Assert.Equal((ExitCode.RunError, "{\"text\":\"a\"}\n"), (text.Code, text.Output));
        Assert.Contains("stdin line 4 has no array", text.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"ids\": [1, 100000]}", "ids[1] is 100000")]
    [InlineData("{\"ids\": [-1]}", "ids[0] is -1")]
    [InlineData("{\"ids\": [1.5]}", "ids[0] is 1.5")]
    [InlineData("{\"ids\": 3}", "no array \"ids\"")]
    public void Bad_ids_are_refused(string line, string rule) =>
        new CliTestHost().RunWithInput(line, "detokenize", "--jsonl", "--tokenizer", _model).FailsWith(ExitCode.RunError, "stdin line 1", rule);

    [Theory]
    [InlineData("")]
    [InlineData(" \n")]
    public void Detokenize_without_input_says_what_it_takes_and_how_to_give_it(string input) =>
        new CliTestHost().RunWithInput(input, "detokenize", "--tokenizer", _model)
            .FailsWith(ExitCode.RunError, "stdin is empty: give the token ids as one JSON object, for example echo '{\"ids\": [1, 2, 3]}' | foretoken detokenize.");

    [Fact]
    public void Text_that_is_not_utf8_is_refused_with_its_offset() =>
        new CliTestHost().RunWithInput([65, 0xFF], "tokenize", "--tokenizer", _model).FailsWith(ExitCode.RunError, "stdin is not UTF-8 (byte 1)");

    [Fact]
    public void Missing_bos_token_is_refused() =>
        new CliTestHost().Run("tokenize", "--add-bos", "--tokenizer", _model, "a").FailsWith(ExitCode.RunError, "tokenizer_config.json", "bos_token");

    [Fact]
    public void Closed_pipe_ends_quietly_with_success()
    {
        using var closed = new ClosedPipeWriter();
        CliResult result = new CliTestHost { Output = closed }.RunWithInput("{\"text\": \"a\"}\n", "tokenize", "--jsonl", "--tokenizer", _model);
        Assert.Equal((ExitCode.Success, ""), (result.Code, result.Error));
    }

    [Fact]
    public void Full_disk_is_an_error()
    {
        using var full = new FullDiskWriter();
        CliResult result = new CliTestHost { Output = full }.Run("tokenize", "--tokenizer", _model, "a");
        Assert.Equal(ExitCode.RunError, result.Code);
        Assert.Equal("error: No space left on device. Free some room, or write to another disk.\n", result.Error);
    }

    [Fact]
    public void Interrupt_ends_with_130()
    {
        var host = new CliTestHost { Interrupt = new CancellationToken(canceled: true) };
        Assert.Equal(ExitCode.Interrupted, host.RunWithInput("{\"text\": \"a\"}\n", "tokenize", "--jsonl", "--tokenizer", _model).Code);
    }

    private sealed class ClosedPipeWriter : StringWriter
    {
        public override void WriteLine(string? value) => throw new ClosedPipeException();
    }

    private sealed class FullDiskWriter : StringWriter
    {
        public override void WriteLine(string? value) => throw new IOException("No space left on device", 28); // ENOSPC
    }
}
