using System.Diagnostics;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>What only a real process shows: signals, pipes, and that the executable starts from any working directory.</summary>
public sealed class ChildProcessTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60); // loaded machines; a pass takes well under a second
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task Interrupt_ends_a_waiting_command_with_130_and_no_trace()
    {
        if (OperatingSystem.IsWindows()) return;
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        using Process process = Start("tokenize", "--jsonl", "--tokenizer", model);
        await process.StandardInput.WriteAsync("{\"text\": \"a\"}\n");
        await process.StandardInput.FlushAsync();
        Assert.Equal("{\"ids\":[97]}", await process.StandardOutput.ReadLineAsync().WaitAsync(s_patience)); // so the handler stands, and the command now waits for more input

        Assert.Equal(0, RunTool("kill", "-INT", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        Assert.Equal(("error: interrupted.\n", ExitCode.Interrupted), End(process));
    }

    [Fact]
    public void Closed_pipe_ends_the_command_quietly()
    {
        if (OperatingSystem.IsWindows()) return;
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        string lines = _directory.File("lines.jsonl");
        File.WriteAllLines(lines, Enumerable.Repeat("{\"text\": \"one line of many\"}", 20_000));
        string executable = Executable();
        using Process shell = Start(new ProcessStartInfo("bash")
        {
            ArgumentList = { "-c", "\"$0\" tokenize --jsonl --tokenizer \"$1\" < \"$2\" | head -n 1; echo ${PIPESTATUS[0]}", executable, model, lines },
        });
        string output = shell.StandardOutput.ReadToEnd();
        Assert.Equal(("", 0), End(shell));
        string[] parts = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.StartsWith("{\"ids\":[", parts[0], StringComparison.Ordinal);
        Assert.Equal("0", parts[1]);
    }

    [Fact]
    public async Task Interrupt_in_the_middle_of_an_answer_keeps_what_came_and_ends_with_130()
    {
        if (OperatingSystem.IsWindows()) return;
        using Process process = Start("run", "--model", EndlessModel(), "--context", "1000000", "--raw", "--temperature", "1", "abc");
        char[] first = new char[40];
        Assert.True(await process.StandardOutput.ReadBlockAsync(first).AsTask().WaitAsync(s_patience) == first.Length);
        Assert.Equal(0, RunTool("kill", "-INT", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        Task<string> rest = process.StandardOutput.ReadToEndAsync();
        (string error, int code) = End(process);
        Assert.Equal(ExitCode.Interrupted, code);
        Assert.EndsWith("\n", await rest, StringComparison.Ordinal);
        Assert.Contains("interrupted", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Closed_pipe_ends_an_endless_answer_quietly()
    {
        if (OperatingSystem.IsWindows()) return;
        using Process shell = Start(new ProcessStartInfo("bash")
        {
            ArgumentList = { "-c", "\"$0\" run --model \"$1\" --context 1000000 --raw --temperature 1 abc | head -c 20 > /dev/null; echo ${PIPESTATUS[0]}", Executable(), EndlessModel() },
        });
        Assert.Equal("0\n", shell.StandardOutput.ReadToEnd());
        Assert.Equal(("", 0), End(shell));
    }

    [Theory]
    [InlineData("2>&-", "{\"ids\":[97]}\n0\n")]
    [InlineData("2>/dev/full", "{\"ids\":[97]}\n0\n")]
    [InlineData(">&-", "1\n")]
    [InlineData(">/dev/full", "1\n")]
    public void Output_that_cannot_be_written_is_an_error_and_lost_messages_are_none(string redirection, string expected)
    {
        if (!OperatingSystem.IsLinux()) return;
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        using Process shell = Start(new ProcessStartInfo("bash")
        {
            ArgumentList = { "-c", $"(\"$0\" tokenize --tokenizer \"$1\" a {redirection}); echo $?", Executable(), model },
        });
        string output = shell.StandardOutput.ReadToEnd();
        (string error, int code) = End(shell);
        Assert.Equal((expected, 0), (output, code));
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
        Assert.Equal(expected == "1\n", error.StartsWith("error: ", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("run")]
    [InlineData("chat")]
    [InlineData("tokenize")]
    public void Closed_stdin_is_an_error_where_it_is_needed(string command)
    {
        if (!OperatingSystem.IsLinux()) return;
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        using Process shell = Start(new ProcessStartInfo("bash")
        {
            ArgumentList = { "-c", "\"$0\" $1 $2 \"$3\" <&-; echo $?", Executable(), command, command == "tokenize" ? "--tokenizer" : "--model", model },
        });
        Assert.Equal("1\n", shell.StandardOutput.ReadToEnd());
        (string error, int code) = End(shell);
        Assert.Equal(0, code);
        Assert.Contains("error: stdin is closed", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Closed_stdin_does_not_matter_where_nothing_is_read()
    {
        if (OperatingSystem.IsWindows()) return;
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        using Process shell = Start(new ProcessStartInfo("bash") { ArgumentList = { "-c", "\"$0\" tokenize --tokenizer \"$1\" a <&-", Executable(), model } });
        Assert.Equal("{\"ids\":[97]}\n", shell.StandardOutput.ReadToEnd());
        Assert.Equal(("", 0), End(shell));
    }

    [Fact]
    public void An_error_without_stderr_is_still_an_exit_code()
    {
        if (OperatingSystem.IsWindows()) return;
        using Process shell = Start(new ProcessStartInfo("bash") { ArgumentList = { "-c", "\"$0\" tokenize --tokenizer none a 2>&-; echo $?", Executable() } });
        Assert.Equal("1\n", shell.StandardOutput.ReadToEnd());
        Assert.Equal(("", 0), End(shell));
    }

    [Fact]
    public void Logits_go_from_pipe_to_pipe_and_leave_the_pipe_a_pipe()
    {
        if (OperatingSystem.IsWindows()) return;
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        using Process shell = Start(new ProcessStartInfo("bash")
        {
            ArgumentList = { "-c", "mkfifo p && (cat p | wc -c & printf '\\1\\0\\0\\0' | \"$0\" logits --model \"$1\" --ids /dev/stdin --out p 2>/dev/null && wait) && test -p p && echo pipe", Executable(), model },
        });
        string[] lines = shell.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(("", 0), End(shell));
        Assert.Equal([(277 * sizeof(float)).ToString(System.Globalization.CultureInfo.InvariantCulture), "pipe"], lines);
    }

    /// <summary>A model without end token and with room for more tokens than it makes within the tests' patience.</summary>
    private string EndlessModel()
    {
        string model = new TinyModel { MaxPositions = 1 << 20, Config = [("eos_token_id", null)] }.Write(_directory.File("endless"));
        File.Delete(Path.Combine(model, "generation_config.json"));
        File.Delete(Path.Combine(model, "tokenizer_config.json"));
        return model;
    }

    private static (string Error, int Code) End(Process process)
    {
        Task<string> error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail("The process did not end.");
        }

        return (error.Result, process.ExitCode);
    }

    private static int RunTool(string file, params string[] arguments)
    {
        using Process tool = Process.Start(file, arguments);
        tool.WaitForExit();
        return tool.ExitCode;
    }

    private Process Start(params string[] arguments)
    {
        var start = new ProcessStartInfo(Executable());
        foreach (string a in arguments) start.ArgumentList.Add(a);
        return Start(start);
    }

    private Process Start(ProcessStartInfo start)
    {
        start.WorkingDirectory = _directory.Path;
        start.RedirectStandardInput = start.RedirectStandardOutput = start.RedirectStandardError = true;
        foreach (string name in start.Environment.Keys.Where(k => k.StartsWith("FORETOKEN_", StringComparison.Ordinal)).ToArray()) start.Environment.Remove(name);
        return Process.Start(start)!;
    }

    private static string Executable() => Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "foretoken.exe" : "foretoken");
}
