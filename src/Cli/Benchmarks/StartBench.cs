using System.ComponentModel;
using System.Diagnostics;
using Foretoken.Cli.Output;

namespace Foretoken.Cli.Benchmarks;

/// <summary>
/// How long a process of this program takes until its first byte of output: <c>--version</c>, which shows the runtime's start, and runs that load
/// the model and answer with one token: without drafters, with those that are loaded when they are wanted, and with all of them loaded at the start.
/// </summary>
internal sealed class StartBench(string model, int threads, int repeats, CliHost host)
{
    private const int Context = 64;

    /// <summary>Seconds to the first byte, the median of the repeats, per test.</summary>
    public IReadOnlyList<(string Test, double Seconds)> Run()
    {
        return [("version", Median(["--version"])), ("first-token", First("none")), ("first-token-auto", First("auto")), ("first-token-eager", First("auto=eager"))];
    }

    private double First(string draft) =>
        Median(["run", "--model", model, "--max-tokens", "1", "--context", $"{Context}", "--draft", draft, "--temperature", "0", "--threads", $"{threads}", "1"]);

    public int Report(TableFormat? format)
    {
        IReadOnlyList<(string Test, double Seconds)> results = Run();
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(model));
        if (format is { } f)
        {
            var table = new Table("test", "model", "ms to first byte");
            foreach ((string test, double seconds) in results) table.Add(test, name, (seconds * 1e3).ToString("F1", System.Globalization.CultureInfo.InvariantCulture));
            table.Write(host.Output, f);
        }
        else
        {
            host.Output.WriteLine(JsonText.Object(w =>
            {
                w.WriteString("model", name);
                w.WriteNumber("repeats", repeats);
                foreach ((string test, double seconds) in results) w.WriteRounded($"{test.Replace('-', '_')}_seconds", seconds, 6);
            }));
        }

        return ExitCode.Success;
    }

    private double Median(string[] arguments) => BenchRunner.Median(Enumerable.Range(0, repeats).Select(_ => Seconds(arguments)).ToArray());

    private double Seconds(string[] arguments)
    {
        host.Interrupt.ThrowIfCancellationRequested();
        long start = Stopwatch.GetTimestamp();
        using Process process = Start(arguments);
        int first = process.StandardOutput.BaseStream.ReadByte();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.StandardOutput.ReadToEnd();
        string error = process.StandardError.ReadToEnd().Trim(); // a few lines: they fit the pipe meanwhile
        process.WaitForExit();
        if (first < 0 || process.ExitCode != 0) throw new RunException($"'foretoken {string.Join(' ', arguments)}' ended with {process.ExitCode}: {error}");
        return seconds;
    }

    private static Process Start(string[] arguments)
    {
        string executable = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "foretoken.exe" : "foretoken");
        try
        {
            return Process.Start(new ProcessStartInfo(executable, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false })!;
        }
        catch (Win32Exception e)
        {
            throw new RunException($"{executable} does not start ({e.Message}): startup needs the executable beside the program.", e);
        }
    }
}
