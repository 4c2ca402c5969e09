using System.Text;
using Foretoken.Backends.Cuda;
using Foretoken.Cli;

namespace Foretoken.Tests.Cli;

/// <summary>Runs a command line inside the test process, as a shell without a terminal would.</summary>
internal sealed class CliTestHost
{
    public Dictionary<string, string> Environment { get; } = [];

    public string BaseDirectory { get; init; } = AppContext.BaseDirectory;

    public CancellationToken Interrupt { get; init; }

    public bool InputIsTerminal { get; init; }

    public bool OutputIsTerminal { get; init; }

    public bool ErrorIsTerminal { get; init; }

    /// <summary>What the command sees of CUDA; by default what this machine has.</summary>
    public CudaPlatform? Cuda { get; init; }

    /// <summary>Replaces the writer of stdout, for outputs that fail.</summary>
    public TextWriter? Output { get; init; }

    /// <summary>Replaces the writer of stderr.</summary>
    public TextWriter? Error { get; init; }

    public CliResult Run(params string[] args) => RunWithInput([], args);

    public CliResult RunWithInput(string input, params string[] args) => RunWithInput(Encoding.UTF8.GetBytes(input), args);

    public CliResult RunWithInput(byte[] input, params string[] args)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        using var host = new CliHost
        {
            Input = new MemoryStream(input),
            Output = Output ?? output,
            Error = Error ?? error,
            InputIsTerminal = InputIsTerminal,
            OutputIsTerminal = OutputIsTerminal,
            ErrorIsTerminal = ErrorIsTerminal,
            Environment = name => Environment.GetValueOrDefault(name),
            EnvironmentNames = () => Environment.Keys,
            BaseDirectory = BaseDirectory,
            Interrupt = Interrupt,
            Cuda = Cuda,
        };
        int code = CliApplication.Run(args, host);
        return new CliResult(code, output.ToString(), error.ToString());
    }
}

internal sealed record CliResult(int Code, string Output, string Error)
{
    /// <summary>Asserts that the command failed with one readable line on stderr that contains all of <paramref name="parts"/>, and printed no result.</summary>
    public void FailsWith(int code, params string[] parts)
    {
        Assert.Equal(code, Code);
        Assert.Equal("", Output);
        string message = Assert.Single(Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("error: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", message, StringComparison.Ordinal);
        foreach (string part in parts) Assert.Contains(part, message, StringComparison.Ordinal);
    }
}
