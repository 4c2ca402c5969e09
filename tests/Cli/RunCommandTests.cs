using System.Text.Json;
using Foretoken.Backends.Cuda;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class RunCommandTests : IDisposable
{
    private const int Context = 128;
    private readonly TempDirectory _directory = new();
    private readonly string _model;

    public RunCommandTests() => _model = new TinyModel { MaxPositions = Context }.Write(_directory.File("models/reasoner"));

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Answer_goes_to_stdout_and_statistics_to_stderr()
    {
        CliResult result = Run("--max-tokens", "12", "abc");
        Assert.Equal(ExitCode.Success, result.Code);
        Assert.NotEqual("", result.Output);
        Assert.EndsWith("\n", result.Output, StringComparison.Ordinal);
        Assert.Contains("12 tokens", result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("tokens in", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Json_is_one_object_with_the_text_and_nothing_on_stderr()
    {
        CliResult result = Run("--max-tokens", "12", "--json", "abc");
        Assert.Equal("", result.Error);
        JsonElement root = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal(Run("--max-tokens", "12", "abc").Output.TrimEnd('\n'), root.GetProperty("text").GetString()!.TrimEnd('\n'));
        Assert.Equal(12, root.GetProperty("completion_tokens").GetInt32());
        Assert.Equal("length", root.GetProperty("finish_reason").GetString());
        Assert.Equal("reasoner", root.GetProperty("model").GetString());
    }

    [Fact]
    public void Prompt_comes_from_argument_file_or_stdin_alike()
    {
        string expected = Run("--max-tokens", "8", "abc").Output;
        string file = _directory.File("prompt.txt");
        File.WriteAllText(file, "abc\n");
        Assert.Equal(expected, Run("--max-tokens", "8", "-f", file).Output);
        Assert.Equal(expected, Host().RunWithInput("abc\r\n", "run", "--max-tokens", "8").Output);
        Assert.Equal(expected, Host().RunWithInput("abc", "run", "--max-tokens", "8", "--file", "-").Output);
    }

    [Fact]
    public void Prompt_passes_the_chat_template_unless_raw()
    {
        int Tokens(params string[] flags) => JsonDocument.Parse(Run([.. flags, "--json", "--max-tokens", "1", "xyz"]).Output).RootElement.GetProperty("prompt_tokens").GetInt32();
        Assert.Equal(2, Tokens() - Tokens("--raw")); // <|user|> and <|assistant|>
    }

    [Fact]
    public void Samples_are_the_answers_of_their_seeds()
    {
        JsonElement[] samples = [.. JsonDocument.Parse(Run("--samples", "3", "--temperature", "1", "--seed", "4", "--max-tokens", "9", "--json", "abc").Output)
            .RootElement.GetProperty("samples").EnumerateArray()];
        Assert.Equal(3, samples.Length);
        Assert.Equal("4", samples[0].GetProperty("seed").GetRawText());
        Assert.Equal([0, 1, 1], samples.Select(s => Math.Min(1, s.GetProperty("shared_prompt_tokens").GetInt32())));
        string[] texts = [.. samples.Select(s => Run("--temperature", "1", "--seed", s.GetProperty("seed").GetRawText(), "--max-tokens", "9", "abc").Output)];
        Assert.Equal(3, texts.Distinct().Count());
        Assert.Equal(texts.Select(t => t.TrimEnd('\n')), samples.Select(s => s.GetProperty("text").GetString()!.TrimEnd('\n')));

        CliResult text = Run("--samples", "3", "--temperature", "1", "--seed", "4", "--max-tokens", "9", "abc");
        Assert.Equal(string.Concat(texts.Select((t, i) => $"[sample {i + 1} of 3, seed {samples[i].GetProperty("seed").GetRawText()}]\n{t}")), text.Output);
        Assert.Equal(3, text.Error.Split("9 tokens in").Length - 1);
        Assert.Equal(text.Output, Run("--samples", "3", "--temperature", "1", "--seed", "4", "--max-tokens", "9", "--draft", "oracle=0.7", "abc").Output);
        Run("--samples", "3", "abc").FailsWith(ExitCode.Usage, "--samples 3 at temperature 0", "set --temperature above 0");
        Run("--samples", "3", "--temperature", "1", "--show-drafts", "abc").FailsWith(ExitCode.Usage, "--show-drafts follows one answer");
    }

    [Fact]
    public void Same_seed_gives_the_same_answer_and_another_seed_another()
    {
        string Sampled(string seed) => Run("--max-tokens", "24", "--temperature", "1.5", "--seed", seed, "abc").Output;
        Assert.Equal(Sampled("7"), Sampled("7"));
        Assert.NotEqual(Sampled("7"), Sampled("8"));
    }

    [Fact]
    public void Progress_bar_is_drawn_on_a_terminal_only_and_erased()
    {
        CliResult piped = Run("--max-tokens", "3", "abc");
        Assert.DoesNotContain("loading", piped.Error, StringComparison.Ordinal);
        Assert.DoesNotContain('\r', piped.Error);
        var host = new CliTestHost { BaseDirectory = Host().BaseDirectory, ErrorIsTerminal = true };
        CliResult shown = host.Run("run", "--max-tokens", "3", "abc");
        Assert.StartsWith("\r\u001b[Kloading 0.0 of ", shown.Error, StringComparison.Ordinal);
        Assert.Contains(" MB  [....................]  0 %", shown.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("loading", shown.Error[shown.Error.LastIndexOf("\r\u001b[K", StringComparison.Ordinal)..], StringComparison.Ordinal);
        Assert.Equal(piped.Output, shown.Output);
        host.Environment["TERM"] = "dumb";
        Assert.DoesNotContain("loading", host.Run("run", "--max-tokens", "3", "abc").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Environment_twin_stands_in_for_a_flag_and_the_flag_wins()
    {
        CliTestHost host = Host();
        host.Environment["FORETOKEN_MAX_TOKENS"] = "3";
        host.Environment["FORETOKEN_JSON"] = "1";
        int Tokens(params string[] flags) => JsonDocument.Parse(host.Run(["run", .. flags, "abc"]).Output).RootElement.GetProperty("completion_tokens").GetInt32();
        Assert.Equal(3, Tokens());
        Assert.Equal(5, Tokens("--max-tokens", "5"));
        host.Environment["FORETOKEN_MAX_TOKENS"] = "-3";
        host.Run("run", "abc").FailsWith(ExitCode.Usage, "FORETOKEN_MAX_TOKENS must be an integer from 1", "'-3'");
    }

    [Theory]
    [InlineData("--temperature", "NaN")]
    [InlineData("--temperature", "-1")]
    [InlineData("--temperature", "1e9")]
    [InlineData("--top-p", "0")]
    [InlineData("--top-p", "1.1")]
    [InlineData("--min-p", "-0.1")]
    [InlineData("--top-k", "-1")]
    [InlineData("--max-tokens", "0")]
    [InlineData("--max-tokens", "-5")]
    [InlineData("--max-tokens", "99999999999999")]
    [InlineData("--seed", "-1")]
    [InlineData("--seed", "1.5")]
    [InlineData("--threads", "100000")]
    [InlineData("--context", "-1")]
    [InlineData("--repetition-penalty", "0")]
    [InlineData("--stop", "")]
    [InlineData("--type", "q2_k")]
    [InlineData("--kv-type", "f64")]
    public void Bad_parameter_is_a_usage_error_that_names_the_flag_and_the_value(string flag, string value) =>
        Run(flag, value, "abc").FailsWith(ExitCode.Usage, flag, value.Length == 0 ? "empty" : value);

    [Theory]
    [InlineData("--kv-type", "fp8", "f32, bf16, f16, int8")]
    public void Contract_value_that_this_build_lacks_is_refused_with_the_available_ones(string flag, string value, string available) =>
        Run(flag, value, "abc").FailsWith(ExitCode.Usage, $"{flag} {value} is not available in this build", available);

    [Fact]
    public void Device_cuda_without_driver_says_why_and_what_to_do()
    {
        var host = new CliTestHost { BaseDirectory = _directory.Path, Cuda = CudaPlatform.Without("libcuda.so.1 and nvcuda.dll cannot be loaded") };
        host.Run("run", "--device", "cuda", "abc").FailsWith(
            ExitCode.RunError, "cuda is not available: libcuda.so.1 and nvcuda.dll cannot be loaded", "NVIDIA GPU", "driver", "foretoken doctor", "without --device");
    }

    [Fact]
    public void Missing_empty_and_double_prompts_are_refused()
    {
        Host().Run("run").FailsWith(ExitCode.Usage, "The prompt is empty");
        Run("").FailsWith(ExitCode.Usage, "The prompt is empty");
        Run("-f", "a", "b").FailsWith(ExitCode.Usage, "PROMPT and --file");
        Run("-f", _directory.File("missing.txt")).FailsWith(ExitCode.RunError, "missing.txt: no such file");
        Run("-f", _directory.Path).FailsWith(ExitCode.RunError, "is a folder");
        Host().RunWithInput([0xC3, 0x28], "run").FailsWith(ExitCode.RunError, "stdin is not UTF-8");
    }

    [Fact]
    public void A_prompt_silences_the_environments_file()
    {
        CliTestHost host = Host();
        host.Environment["FORETOKEN_FILE"] = _directory.File("missing.txt");
        Assert.Equal(ExitCode.Success, host.Run("run", "--max-tokens", "2", "abc").Code);
        host.Run("run").FailsWith(ExitCode.RunError, "missing.txt");
    }

    [Theory]
    [InlineData("none")]
    [InlineData("auto")]
    public void Available_values_of_the_contract_are_taken(string drafter)
    {
        string[] flags = ["--draft", drafter, "--kv", "dense", "--device", "cpu", "--threads", "1", "--max-tokens", "3", "abc"];
        Assert.Equal(Run("--max-tokens", "3", "abc").Output, Run(flags).Output);
        Assert.Equal(ExitCode.Success, Run(flags).Code);
    }

    [Fact]
    public void Prompt_longer_than_the_context_is_refused_with_both_lengths() =>
        Run(new string('é', Context)).FailsWith(ExitCode.RunError, "prompt", "128", "shorten the prompt");

    [Fact]
    public void Context_beyond_the_models_own_is_refused() => Run("--context", "129", "abc").FailsWith(ExitCode.Usage, "context", "129", "128");

    [Fact]
    public void Interrupt_before_the_answer_ends_with_130()
    {
        var host = new CliTestHost { BaseDirectory = _directory.Path, Interrupt = new CancellationToken(canceled: true) };
        Assert.Equal(ExitCode.Interrupted, host.Run("run", "abc").Code);
    }

    [Fact]
    public void Interrupt_in_the_middle_keeps_what_came_and_ends_with_130()
    {
        using var source = new CancellationTokenSource();
        using var writer = new InterruptingWriter(source, after: 5);
        var host = new CliTestHost { BaseDirectory = _directory.Path, Interrupt = source.Token, Output = writer };
        CliResult result = host.Run("run", "--temperature", "2", "abc");
        Assert.Equal(ExitCode.Interrupted, result.Code);
        Assert.NotEqual("", writer.ToString());
        Assert.Contains("interrupted", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Closed_pipe_ends_quietly()
    {
        using var writer = new ClosedWriter();
        CliResult result = new CliTestHost { BaseDirectory = _directory.Path, Output = writer }.Run("run", "abc");
        Assert.Equal((ExitCode.Success, ""), (result.Code, result.Error));
    }

    [Fact]
    public void Stop_string_ends_the_answer_before_it()
    {
        string whole = Run("--max-tokens", "40", "--temperature", "1", "abc").Output;
        string stop = whole.Substring(whole.Length / 2, 2);
        string cut = Run("--max-tokens", "40", "--temperature", "1", "--stop", stop, "--stop", "never", "abc").Output;
        Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], cut.TrimEnd('\n'));
    }

    [Fact]
    public void Chat_answers_each_line_and_forgets_on_reset()
    {
        CliResult result = Host().RunWithInput("abc\nxyz\n/reset\nabc\n/exit\nnever\n", "chat", "--json", "--max-tokens", "6");
        Assert.Equal(ExitCode.Success, result.Code);
        JsonElement[] answers = [.. result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal(3, answers.Length);
        Assert.Equal(answers[0].GetProperty("text").GetString(), answers[2].GetProperty("text").GetString());
        Assert.True(answers[1].GetProperty("prompt_tokens").GetInt32() > 2 * answers[0].GetProperty("prompt_tokens").GetInt32());
    }

    [Fact]
    public void Chat_drops_the_oldest_turns_when_the_context_is_full()
    {
        string input = string.Concat(Enumerable.Repeat("0123456789012345678901234567890123456789\n", 6));
        CliResult result = Host().RunWithInput(input, "chat", "--max-tokens", "10");
        Assert.Equal(ExitCode.Success, result.Code);
        Assert.Contains("oldest turn is left out", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Chat_refuses_a_message_beyond_the_context_and_a_person_may_go_on()
    {
        string input = $"abc\n{new string('x', 2 * Context)}\nabc\n";
        CliResult piped = Host().RunWithInput(input, "chat", "--max-tokens", "4", "--json");
        Assert.Equal(ExitCode.RunError, piped.Code);
        Assert.Equal(1, piped.Output.Count(c => c == '\n'));
        Assert.DoesNotContain("left out", piped.Error, StringComparison.Ordinal); // nothing is forgotten for a message that is refused

        CliResult typed = new CliTestHost { BaseDirectory = _directory.Path, InputIsTerminal = true }.RunWithInput(input, "chat", "--max-tokens", "4", "--json");
        Assert.Equal(ExitCode.Success, typed.Code);
        JsonElement[] answers = [.. typed.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal(2, answers.Length);
        Assert.True(answers[1].GetProperty("prompt_tokens").GetInt32() > 2 * answers[0].GetProperty("prompt_tokens").GetInt32());
        Assert.Contains("error: The prompt has", typed.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Chat_takes_no_misspelt_command_of_a_person_for_a_message()
    {
        const string input = "/help\n /help\n/etc/hosts is a file\n";
        CliResult typed = new CliTestHost { BaseDirectory = _directory.Path, InputIsTerminal = true }.RunWithInput(input, "chat", "--max-tokens", "4", "--json");
        Assert.Equal(2, typed.Output.Count(c => c == '\n'));
        Assert.Contains("[/help is no command: /reset forgets the conversation, /exit leaves; a message", typed.Error, StringComparison.Ordinal);
        Assert.EndsWith("> \n", typed.Error, StringComparison.Ordinal); // the end of input: the shell's prompt begins a line
        Assert.Equal(3, Host().RunWithInput(input, "chat", "--max-tokens", "4", "--json").Output.Count(c => c == '\n')); // whoever pipes has messages only
    }

    private CliTestHost Host() => new() { BaseDirectory = _directory.Path };

    private CliResult Run(params string[] args) => Host().Run(["run", .. args]);

    private sealed class InterruptingWriter(CancellationTokenSource source, int after) : StringWriter
    {
        private int _writes;

        public override void Write(string? value)
        {
            base.Write(value);
            if (++_writes == after) source.Cancel();
        }
    }

    private sealed class ClosedWriter : StringWriter
    {
        public override void Write(string? value) => throw new ClosedPipeException();
    }
}
