using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.Memory;

namespace Foretoken.Models;

/// <summary>
/// Which hidden states of the target's passes are kept for drafters that read them (Medusa, EAGLE, MTP), and where: of every row of a pass, prompt rows
/// included, until the next pass that has taps. Points are registered while drafters are made; nothing grows afterwards.
/// </summary>
/// <param name="shape">Of the target.</param>
/// <param name="maxRows">Most rows of one pass.</param>
/// <param name="plan">Receives the buffers.</param>
public sealed class FeatureTaps(TransformerShape shape, int maxRows, MemoryPlan plan)
{
    /// <summary>The point behind the final norm: what the head multiplies.</summary>
    public const int Normed = -1;

    private readonly List<(int Point, float[] Rows)> _taps = []; // rows: [maxRows, hidden]

    /// <summary>Most rows of a pass.</summary>
    public int MaxRows => maxRows;

    /// <summary>Nothing is kept of the coming passes: nobody reads it.</summary>
    public bool Paused { get; set; }

    /// <summary>Ticks of <see cref="Stopwatch"/> that keeping the states of the last pass took.</summary>
    internal long LastTicks { get; private set; }

    /// <summary>Points that are kept.</summary>
    public int Count => _taps.Count;

    /// <summary>Asks for a point; a point that is kept already gets the same tap.</summary>
    /// <param name="point">
    /// i in 0..layers: the residual stream that enters layer i, or leaves the last layer where i is the number of layers; <see cref="Normed"/>: behind the final norm.
    /// </param>
    /// <returns>The tap, for <see cref="Of"/>.</returns>
    public int Tap(int point)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(point, Normed);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(point, shape.LayerCount);
        int known = _taps.FindIndex(t => t.Point == point);
        if (known >= 0) return known;
        var rows = new float[maxRows * shape.HiddenSize];
        string name = point == Normed ? "features behind the final norm" : $"features at layer {point}";
        plan.Add("speculation", name, $"[rows {maxRows}, hidden {shape.HiddenSize}] f32", rows.LongLength * sizeof(float));
        _taps.Add((point, rows));
        return _taps.Count - 1;
    }

    /// <summary>The features of a row of the last pass with taps. // [hidden]</summary>
    public ReadOnlySpan<float> Of(int tap, int row) => _taps[tap].Rows.AsSpan(row * shape.HiddenSize, shape.HiddenSize);

    /// <summary>Keeps the residual stream where it enters layer <paramref name="point"/>, if that is asked for.</summary>
    internal void Read(IBackend backend, int point)
    {
        if (point == 0) LastTicks = 0;
        if (Paused) return;
        foreach ((int asked, float[] rows) in _taps)
        {
            if (asked != point) continue;
            long start = Stopwatch.GetTimestamp();
            backend.ReadHidden(rows);
            LastTicks += Stopwatch.GetTimestamp() - start;
        }
    }

    /// <summary>Keeps what the final norm makes of the residual stream, if that is asked for.</summary>
    internal void ReadNormed(IBackend backend, TensorHandle finalNorm)
    {
        if (Paused) return;
        foreach ((int asked, float[] rows) in _taps)
        {
            if (asked != Normed) continue;
            long start = Stopwatch.GetTimestamp();
            backend.ReadNormed(finalNorm, rows);
            LastTicks += Stopwatch.GetTimestamp() - start;
        }
    }
}
