using Foretoken.Cli;
using Foretoken.Cli.Commands;
using Foretoken.Cli.Options;

namespace Foretoken.Tests.Cli;

public sealed class CommandLineTests
{
    [Fact]
    public void Without_a_command_help_goes_to_stderr_and_the_exit_code_is_usage()
    {
        CliResult result = new CliTestHost().Run();
        Assert.Equal(ExitCode.Usage, result.Code);
        Assert.Equal("", result.Output);
        Assert.Contains("tokenize", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Help_and_version_are_results()
    {
        CliResult help = new CliTestHost().Run("tokenize", "--help");
        Assert.Equal(ExitCode.Success, help.Code);
        Assert.Contains("--add-bos", help.Output, StringComparison.Ordinal);
        Assert.Contains("FORETOKEN_ADD_BOS", help.Output, StringComparison.Ordinal);
        Assert.Equal("", help.Error);

        CliResult version = new CliTestHost().Run("--version");
        Assert.Equal(ExitCode.Success, version.Code);
        Assert.StartsWith("0.1.0", version.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Unknown_command_is_refused_with_the_list_of_commands() =>
        new CliTestHost().Run("serve-me").FailsWith(ExitCode.Usage, "'serve-me' is not a command: use one of run, ", "tokenize");

    [Fact]
    public void Misspelt_command_is_refused_with_the_one_that_was_meant() =>
        new CliTestHost().Run("runn", "hi").FailsWith(ExitCode.Usage, "'runn' is not a command (did you mean run?): ");

    [Theory]
    [InlineData("tokenize", "--jsnl", "did you mean --jsonl?")]
    [InlineData("tokenize", "-x", "-x is not a flag")]
    [InlineData("detokenize", "--add-bos", "--add-bos is not a flag of 'foretoken detokenize'")]
    [InlineData("tokenize", "--plain=1", "--plain takes no value")]
    public void Unknown_or_misused_flag_is_refused(string command, string flag, string message) =>
        new CliTestHost().Run(command, flag).FailsWith(ExitCode.Usage, message);

    [Fact]
    public void Second_argument_is_refused_with_advice_to_quote() =>
        new CliTestHost().Run("tokenize", "two", "words").FailsWith(ExitCode.Usage, "one argument too many: 'foretoken tokenize' takes TEXT", "'words'", "quotes");

    [Fact]
    public void Missing_and_repeated_values_are_refused()
    {
        new CliTestHost().Run("tokenize", "--tokenizer").FailsWith(ExitCode.Usage, "--tokenizer");
        new CliTestHost().Run("tokenize", "--tokenizer", "a", "--tokenizer", "b").FailsWith(ExitCode.Usage, "--tokenizer", "single");
        new CliTestHost().Run("tokenize", "--tokenizer", "", "text").FailsWith(ExitCode.Usage, "--tokenizer is empty");
    }

    [Fact]
    public void Every_flag_has_an_environment_twin_of_its_own_name()
    {
        foreach (Flag flag in CliApplication.Commands().SelectMany(c => c.Flags))
        {
            Assert.Equal("FORETOKEN_" + flag.Name[2..].Replace('-', '_').ToUpperInvariant(), flag.EnvironmentName);
            Assert.Contains(flag.EnvironmentName, flag.Definition.Description, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Switch_in_the_environment_must_be_0_or_1()
    {
        var host = new CliTestHost { Environment = { ["FORETOKEN_JSONL"] = "maybe" } };
        host.Run("tokenize", "text").FailsWith(ExitCode.Usage, "FORETOKEN_JSONL must be 1 or 0, not 'maybe'");
    }

    [Theory]
    [InlineData("FORETOKEN_EMITTER", "off")]
    [InlineData("FORETOKEN_EMITTER", "01")]
    [InlineData("FORETOKEN_EMITTER", " 0")]
    [InlineData("FORETOKEN_DEBUG", "yes")]
    [InlineData("FORETOKEN_DEBUG", "2")]
    public void Variables_that_are_no_flag_must_be_0_or_1_too(string name, string value)
    {
        var host = new CliTestHost { Environment = { [name] = value } };
        host.Run("tokenize", "text").FailsWith(ExitCode.Usage, $"{name} must be 1 or 0, not '{value}': set it to 1 (on) or 0 (off), or unset it.");
        Assert.Equal(ExitCode.Success, host.Run("tokenize", "--help").Code);
        host.Environment[name] = ""; // as if not set
        Assert.DoesNotContain(name, host.Run("tokenize", "--tokenizer", "no-such-folder", "text").Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("FORETOKEN_MAXTOKENS", "warning: no command reads FORETOKEN_MAXTOKENS (did you mean FORETOKEN_MAX_TOKENS?): ")]
    [InlineData("FORETOKEN_EMITER", "warning: no command reads FORETOKEN_EMITER (did you mean FORETOKEN_EMITTER?): ")]
    [InlineData("FORETOKEN_NOTHING_AT_ALL", "warning: no command reads FORETOKEN_NOTHING_AT_ALL: ")]
    public void Variables_of_our_prefix_that_nothing_reads_are_said_aloud(string name, string warning)
    {
        var host = new CliTestHost { Environment = { [name] = "1", ["FORETOKEN_MAX_TOKENS"] = "3", ["FORETOKEN_EQUALITY"] = "0/1", ["PATH"] = "x" } };
        CliResult result = host.Run("inspect", "--model", "no-such-model");
        Assert.StartsWith(warning, result.Error, StringComparison.Ordinal);
        Assert.Equal(2, result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length); // the other line is the error
    }

    [Fact]
    public void Debug_variable_adds_the_trace()
    {
        var host = new CliTestHost { Environment = { ["FORETOKEN_DEBUG"] = "1" } };
        Assert.Contains("   at ", host.Run("tokenize", "--tokenizer", "no-such-folder", "text").Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("1.5")]
    [InlineData("")]
    [InlineData("99999999999999999999")]
    [InlineData("NaN")]
    public void Integers_outside_their_range_are_refused(string text)
    {
        var e = Assert.Throws<UsageException>(() => Parse.Integer(1, 10, "use fewer.")(text, "--max-tokens"));
        Assert.Equal($"--max-tokens must be an integer from 1 to 10, not '{text}': use fewer.", e.Message);
    }

    [Theory]
    [InlineData("NaN")]
    [InlineData("-0.5")]
    [InlineData("Infinity")]
    [InlineData("1e30")]
    [InlineData("one")]
    [InlineData("1,5")]
    public void Numbers_outside_their_range_are_refused(string text)
    {
        var e = Assert.Throws<UsageException>(() => Parse.Number(0, 1.5f, "use 1.")(text, "--top-p"));
        Assert.Equal($"--top-p must be a number from 0 to 1.5, not '{text}': use 1.", e.Message);
    }

    [Fact]
    public void Values_that_this_build_does_not_offer_are_told_from_unknown_ones()
    {
        FlagParser<int> parse = Parse.Choice(new Dictionary<string, int> { ["none"] = 0 }, "ngram", "medusa");
        Assert.Equal(0, parse("none", "--draft"));
        Assert.Equal("--draft medusa=x is not available in this build: available is none.", Assert.Throws<UsageException>(() => parse("medusa=x", "--draft")).Message);
        Assert.Equal("--draft does not know 'magic': available is none.", Assert.Throws<UsageException>(() => parse("magic", "--draft")).Message);
    }
}
