using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Cli.Benchmarks;

/// <summary>
/// Brings sequences to a depth without forward passes: random keys and values are stored by the very code that stores a pass's, rounded and laid out
/// the same, so that what reads them costs what it would cost behind a real prompt. Their values mean nothing.
/// </summary>
internal sealed unsafe class SyntheticKv : IDisposable
{
    private readonly NativeBuffer _qkv; // [maxRows, (heads + 2·kvHeads)·headDim], uniform in −1..1
    private readonly RowBatch _rows;
    private readonly int[] _path; // [maxRows] 0, 1, 2, …
    private readonly TransformerShape _shape;

    /// <param name="shape">Sizes of the model.</param>
    /// <param name="maxRows">Most rows of one pass; no more than the cache allows.</param>
    /// <param name="team">Threads that store and attend.</param>
    public SyntheticKv(TransformerShape shape, int maxRows, ThreadTeam team)
    {
        _shape = shape;
        _rows = new RowBatch(maxRows);
        _path = [.. Enumerable.Range(0, maxRows)];
        int width = (shape.HeadCount + 2 * shape.KvHeadCount) * shape.HeadDim;
        _qkv = NativeBuffer.Allocate((long)maxRows * width * sizeof(float), "synthetic keys and values");
        for (int r = 0; r < maxRows; r++)
        {
            Span<float> row = _qkv.Span<float>((long)r * width * sizeof(float), width);
            for (int i = 0; i < width; i++) row[i] = (float)(CounterRandom.Uniform(1, (ulong)r, (uint)i) * 2 - 1);
        }

        Attention = new CpuAttention(shape, maxRows, team, new MemoryPlan());
    }

    /// <summary>The attention that stores; it may also attend.</summary>
    public CpuAttention Attention { get; }

    /// <summary>Random queries, keys and values of a pass.</summary>
    public float* Qkv => (float*)_qkv.Pointer;

    /// <summary>Appends random tokens to a sequence until it holds <paramref name="depth"/>.</summary>
    public void Fill(PagedKvCache cache, int sequence, int depth)
    {
        int position = cache.Length(sequence);
        for (int count; position < depth; position += count)
        {
            count = Math.Min(depth - position, _rows.Capacity);
            _rows.Clear();
            for (int i = 0; i < count; i++) _rows.Add(0, position + i, sequence, i - 1, wantsLogits: false);
            cache.BeginPass(_rows);
            for (int layer = 0; layer < _shape.LayerCount; layer++) Attention.Store(layer, _rows, cache.View, Qkv);
            cache.Commit(sequence, _path.AsSpan(0, count));
        }
    }

    public void Dispose()
    {
        Attention.Dispose();
        _qkv.Dispose();
    }
}
