using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Figures of one case over its repeats.</summary>
/// <param name="Case">What was timed.</param>
/// <param name="Seconds">Per repeat, ascending.</param>
/// <param name="ProbeGigabytesPerSecond">Median of the roofline probes around the case's repeats.</param>
/// <param name="ShareOfProbe">Median over repeats of (bytes per second) / (probe around that repeat).</param>
/// <param name="ProbeGigaops">Median of the arithmetic probes before the repeats, or 0.</param>
/// <param name="ShareOfRoofline">Median over repeats of (least time by either probe) / time, or 0 where arithmetic is not probed.</param>
/// <param name="PlainSteps">Cost of a pass in passes of one row (median over repeats), or 0.</param>
/// <param name="Passes">Medians over repeats of what single passes show, or null where no whole model runs.</param>
internal sealed record BenchResult(
    BenchCase Case, double[] Seconds, double ProbeGigabytesPerSecond, double ShareOfProbe, double ProbeGigaops, double ShareOfRoofline, double PlainSteps, PassFigures? Passes)
{
    public double MedianSeconds => BenchRunner.Median(Seconds);

    public double TokensPerSecond => Case.Tokens / MedianSeconds;

    public double MillisecondsPerPass => MedianSeconds * 1000 / Case.Passes;

    public double GigabytesPerSecond => Case.Bytes / MedianSeconds / 1e9;

    /// <summary>10^9 multiplications and additions per second.</summary>
    public double Gigaops => Case.Operations / MedianSeconds / 1e9;

    /// <summary>(slowest − fastest) / median.</summary>
    public double Spread => (Seconds[^1] - Seconds[0]) / MedianSeconds;
}

/// <summary>
/// Alternates the cases with the roofline probe, repeat by repeat: shared machines change from minute to minute, and only figures of the same
/// moments may be compared.
/// </summary>
internal sealed class BenchRunner(ThreadTeam team, int repeats, CancellationToken cancel, PassClock? clock = null)
{
    private const double WarmUpSeconds = 0.5;
    private const int ArithmeticProbes = 3; // the fastest counts: a milliseconds' run is easily disturbed

    /// <summary>Runs every case <c>repeats</c> times.</summary>
    /// <param name="cases">At least one.</param>
    /// <param name="report">Receives the case's name and the share of all work done before each run.</param>
    public IReadOnlyList<BenchResult> Run(IReadOnlyList<BenchCase> cases, Action<string, double> report)
    {
        var seconds = new double[cases.Count, repeats];
        var probes = new double[cases.Count, repeats];
        var arithmetic = new double[cases.Count, repeats];
        var passes = new List<PassFigures>[cases.Count];
        for (int i = 0; i < passes.Length; i++) passes[i] = [];
        using var probe = new MemoryProbe(team);
        var multiply = new ArithmeticProbe(team);
        probe.Run();
        foreach (BenchCase c in cases) WarmUp(c, report);
        for (int r = 0; r < repeats; r++)
        {
            for (int i = 0; i < cases.Count; i++)
            {
                cancel.ThrowIfCancellationRequested();
                report($"{cases[i].Name}, repeat {r + 1} of {repeats}", ((double)r * cases.Count + i) / (repeats * cases.Count));
                cases[i].Prepare();
                clock?.Take();
                if (cases[i].Operations > 0) arithmetic[i, r] = Enumerable.Range(0, ArithmeticProbes).Max(_ => multiply.Run(cases[i].Kv ?? KvType.F32));
                double before = probe.Run();
                long start = Stopwatch.GetTimestamp();
                cases[i].Run();
                seconds[i, r] = Stopwatch.GetElapsedTime(start).TotalSeconds;
                probes[i, r] = (before + probe.Run()) / 2;
                if (clock?.Take() is { } figures) passes[i].Add(figures);
            }
        }

        int plain = -1;
        for (int i = 0; i < cases.Count && plain < 0; i++) plain = cases[i].Rows == 1 ? i : -1;
        return [.. cases.Select((c, i) => Summarise(c, Row(seconds, i), Row(probes, i), Row(arithmetic, i), plain < 0 || c.Rows == 0 ? null : Row(seconds, plain), passes[i]))];
    }

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }

    private static BenchResult Summarise(BenchCase c, double[] seconds, double[] probes, double[] arithmetic, double[]? plain, List<PassFigures> passes)
    {
        double share = Median(seconds.Select((s, r) => c.Bytes / s / 1e9 / probes[r]));
        double roofline = c.Operations == 0 ? 0 : Median(seconds.Select((s, r) => Math.Max(c.Bytes / probes[r], c.Operations / arithmetic[r]) / 1e9 / s));
        double steps = plain is null ? 0 : Median(seconds.Select((s, r) => s / plain[r]));
        PassFigures? figures = passes.Count == 0 ? null : new PassFigures(
            Median(passes.Select(p => p.MatrixShare)), Median(passes.Select(p => p.AttentionShare)), Median(passes.Select(p => p.MedianMilliseconds)),
            Median(passes.Select(p => p.SlowMilliseconds)));
        return new BenchResult(c, [.. seconds.Order()], Median(probes), share, Median(arithmetic), roofline, steps, figures);
    }

    /// <summary>Runs a case until the compiler's tiers have settled: at least once, and for at least half a second.</summary>
    private void WarmUp(BenchCase c, Action<string, double> report)
    {
        report($"{c.Name}, warming up", -1);
        long start = Stopwatch.GetTimestamp();
        do
        {
            cancel.ThrowIfCancellationRequested();
            c.Prepare();
            c.Run();
        }
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < WarmUpSeconds);
    }

    private static double[] Row(double[,] values, int i) => [.. Enumerable.Range(0, values.GetLength(1)).Select(r => values[i, r])];
}
