namespace Foretoken.Cli.Output;

/// <summary>A line on stderr that is redrawn in place; nothing is written where stderr is no terminal.</summary>
internal sealed class ProgressLine(CliHost host) : IProgress<(string Text, double Fraction)>, IDisposable
{
    private const int MinimumMilliseconds = 50; // terminals are slow, and nobody reads faster
    private const int BarCells = 20;
    private const string EraseLine = "\r\u001b[K";
    private long _lastDrawn = long.MinValue / 2;
    private bool _drawn;

    /// <summary>Draws <c>text  [########............]  42 %</c>; a fraction outside 0..1 leaves bar and percentage out.</summary>
    public void Report((string Text, double Fraction) value)
    {
        long now = Environment.TickCount64;
        if (!host.ShowsProgress || now - _lastDrawn < MinimumMilliseconds) return;
        _lastDrawn = now;
        _drawn = true;
        host.Error.Write($"{EraseLine}{value.Text}{Bar(value.Fraction)}");
        host.Error.Flush();
    }

    public void Dispose()
    {
        if (!_drawn) return;
        host.Error.Write(EraseLine);
        host.Error.Flush();
        _drawn = false;
    }

    private static string Bar(double fraction)
    {
        if (fraction is not (>= 0 and <= 1)) return "";
        int full = (int)(fraction * BarCells);
        return $"  [{new string('#', full)}{new string('.', BarCells - full)}]  {(int)(fraction * 100)} %";
    }
}
