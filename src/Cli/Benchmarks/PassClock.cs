using System.Diagnostics;
using Foretoken.Backends.Cpu;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Where the time of passes goes, and how long each takes.</summary>
/// <param name="MatrixShare">Matrix products as a share of the passes' time.</param>
/// <param name="AttentionShare">Attention as a share of the passes' time.</param>
/// <param name="MedianMilliseconds">Of one pass.</param>
/// <param name="SlowMilliseconds">The 99th percentile of passes (the slowest where there are fewer than a hundred).</param>
internal sealed record PassFigures(double MatrixShare, double AttentionShare, double MedianMilliseconds, double SlowMilliseconds);

/// <summary>Measures single passes beside the total that a case reports.</summary>
internal sealed class PassClock(CpuBackend backend)
{
    private readonly List<double> _seconds = [];
    private long _matrices;
    private long _attention;

    /// <summary>Times one pass.</summary>
    public void Run(Action pass)
    {
        (long matrices, long attention, long start) = (backend.MatrixTicks, backend.AttentionTicks, Stopwatch.GetTimestamp());
        pass();
        _seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
        _matrices += backend.MatrixTicks - matrices;
        _attention += backend.AttentionTicks - attention;
    }

    /// <summary>Figures of the passes since the last call, which are forgotten; null if there were none.</summary>
    public PassFigures? Take()
    {
        if (_seconds.Count == 0) return null;
        _seconds.Sort();
        double ticks = _seconds.Sum() * Stopwatch.Frequency;
        int slow = Math.Max(0, (int)Math.Ceiling(0.99 * _seconds.Count) - 1);
        var figures = new PassFigures(_matrices / ticks, _attention / ticks, 1e3 * BenchRunner.Median(_seconds), 1e3 * _seconds[slow]);
        _seconds.Clear();
        _matrices = _attention = 0;
        return figures;
    }
}
