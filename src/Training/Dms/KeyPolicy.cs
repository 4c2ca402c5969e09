using Foretoken.Numerics;

namespace Foretoken.Training;

/// <summary>Untrained ways to hold every KV head to a number of keys, as baselines of learned eviction.</summary>
public enum KeyPolicyKind
{
    /// <summary>The latest keys.</summary>
    Window,

    /// <summary>The first four keys and the latest ones (StreamingLLM).</summary>
    Sinks,

    /// <summary>The key with the least attention of the latest query, averaged over the layer's heads, goes (TOVA).</summary>
    Tova,

    /// <summary>The latest half, and of the others those with the most attention so far, summed over the group (H2O).</summary>
    H2O,

    /// <summary>Any key but the latest goes.</summary>
    Random,

    /// <summary>
    /// The prompt is read with all its keys; then the latest ones stay (64, or half of the budget) and of the others those with the most attention of as many
    /// last queries, averaged over five neighbours (SnapKV). What comes after the prompt stays.
    /// </summary>
    SnapKv,
}

/// <summary>
/// Attention token by token in which a policy keeps at most <c>budget</c> keys per KV head, the newest included, from the first row on (SnapKV: of the prompt, from
/// its end on): what a cache with that policy would do in prompt and answer alike. For measuring only; it has no backward pass.
/// </summary>
public sealed unsafe class KeyPolicy(KeyPolicyKind kind, int budget, TransformerShape shape)
{
    private const int Sinks = 4, SnapWindow = 64, SnapPool = 5;
    private readonly List<int>[] _live = [.. Enumerable.Range(0, shape.KeyValueHeads).Select(_ => new List<int>(budget + 1))]; // ascending positions
    private readonly double[] _attention = new double[shape.KeyValueHeads * shape.MaxPositions]; // [KV heads, positions], by the latest query, summed over the group
    private readonly double[] _total = new double[shape.KeyValueHeads * shape.MaxPositions];     // [KV heads, positions], over all queries (SnapKV: those that count)
    private readonly float[] _scores = new float[shape.MaxPositions];

    /// <summary>Tokens of the prompt with which a sequence begins; SnapKV acts at its end.</summary>
    public int PromptLength { get; set; } = int.MaxValue;

    /// <summary>Keys that the rows of a sequence see, summed over rows, layers and KV heads.</summary>
    public long VisibleKeys(int length) => Enumerable.Range(1, length).Sum(Visible) * shape.Layers * shape.KeyValueHeads;

    private long Visible(int rows) =>
        kind != KeyPolicyKind.SnapKv ? Math.Min(rows, budget) : rows <= PromptLength ? rows : Math.Min(PromptLength, budget) + rows - PromptLength;

    /// <summary>Output of one layer for one sequence; layouts as in <see cref="CausalAttention.Forward"/>.</summary>
    internal void Attend(int layer, float* q, float* k, long qkStride, float* v, long vStride, float* output, long outputStride, int length)
    {
        int dim = shape.HeadDim, group = shape.QueryHeads / shape.KeyValueHeads;
        foreach (List<int> live in _live) live.Clear();
        Array.Clear(_total);
        for (int row = 0; row < length; row++)
        {
            for (int kvHead = 0; kvHead < shape.KeyValueHeads; kvHead++)
            {
                _live[kvHead].Add(row);
                _attention.AsSpan(kvHead * shape.MaxPositions, row + 1).Clear();
                for (int head = kvHead * group; head < (kvHead + 1) * group; head++)
                {
                    AttendRow(q + row * qkStride + head * dim, k + kvHead * dim, qkStride, v + kvHead * dim, vStride, output + row * outputStride + head * dim, kvHead);
                }
            }
            if (kind == KeyPolicyKind.SnapKv)
            {
                if (row < PromptLength - SnapQueries) Array.Clear(_total); // the last queries alone count
                if (row == PromptLength - 1 && row >= budget)
                    for (int kvHead = 0; kvHead < shape.KeyValueHeads; kvHead++) Snap(kvHead);
                continue;
            }
            if (row + 1 < budget) continue;
            for (int kvHead = 0; kvHead < shape.KeyValueHeads; kvHead++) _live[kvHead].RemoveAt(Victim(layer, kvHead, row));
        }
    }

    /// <summary>One query over the live keys of its KV head.</summary>
    private void AttendRow(float* q, float* k, long kStride, float* v, long vStride, float* output, int kvHead)
    {
        int dim = shape.HeadDim;
        List<int> live = _live[kvHead];
        float scale = 1f / MathF.Sqrt(dim), maximum = float.NegativeInfinity, sum = 0;
        for (int i = 0; i < live.Count; i++) maximum = Math.Max(maximum, _scores[i] = RowMath.Dot(q, k + live[i] * kStride, dim) * scale);
        for (int i = 0; i < live.Count; i++) sum += _scores[i] = MathF.Exp(_scores[i] - maximum);
        new Span<float>(output, dim).Clear();
        for (int i = 0; i < live.Count; i++)
        {
            float probability = _scores[i] / sum;
            RowMath.AddScaled(output, v + live[i] * vStride, probability, dim);
            _attention[kvHead * shape.MaxPositions + live[i]] += probability;
            _total[kvHead * shape.MaxPositions + live[i]] += probability;
        }
    }

    private int SnapQueries => Math.Min(SnapWindow, budget - budget / 2);

    /// <summary>Keeps the budget's keys of the prompt.</summary>
    private void Snap(int kvHead)
    {
        List<int> live = _live[kvHead];
        int others = live.Count - SnapQueries, half = SnapPool / 2;
        double[] pooled = [.. Enumerable.Range(0, others).Select(i => Enumerable.Range(Math.Max(0, i - half), Math.Min(others, i + half + 1) - Math.Max(0, i - half))
            .Average(position => _total[kvHead * shape.MaxPositions + position]))];
        HashSet<int> kept = [.. Enumerable.Range(0, others).OrderByDescending(i => pooled[i]).Take(budget - SnapQueries)];
        live.RemoveAll(position => position < others && !kept.Contains(position));
    }

    /// <summary>Index in the live keys of the one that goes, now that as many live as may.</summary>
    private int Victim(int layer, int kvHead, int row)
    {
        List<int> live = _live[kvHead];
        return kind switch
        {
            KeyPolicyKind.Window => 0,
            KeyPolicyKind.Sinks => Math.Min(Sinks, live.Count - 1),
            KeyPolicyKind.Random => live.Count == 1 ? 0 : (int)(CounterRandom.Uniform(0x52414E44, (ulong)row, (uint)(layer * shape.KeyValueHeads + kvHead)) * (live.Count - 1)),
            KeyPolicyKind.Tova => Least(live, live.Count, position => Enumerable.Range(0, shape.KeyValueHeads).Sum(head => _attention[head * shape.MaxPositions + position])),
            _ => Least(live, Math.Max(1, live.Count - budget / 2), position => _total[kvHead * shape.MaxPositions + position]),
        };
    }

    private static int Least(List<int> live, int count, Func<int, double> value)
    {
        int least = 0;
        for (int i = 1; i < count; i++)
            if (value(live[i]) < value(live[least])) least = i;
        return least;
    }
}
