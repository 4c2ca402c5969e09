using System.Numerics;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Memory;

namespace Foretoken.Cli.Benchmarks;

/// <summary>
/// Attention alone, of all layers, over synthetic keys and values of one type. Passes rotate over copies of the sequence, so that what one pass has
/// read is no longer in the processor's caches when the next one reads.
/// </summary>
internal sealed unsafe class AttentionBench : IDisposable
{
    private const double RotatedBytes = 256e6; // several times the last-level cache of a small server
    private const double BytesPerRepeat = 3e9;
    private readonly TransformerShape _shape;
    private readonly int _maxRows;
    private readonly PagedKvCache _cache;
    private readonly SyntheticKv _synthetic;
    private readonly NativeBuffer _output; // [maxRows, heads·headDim]
    private readonly RowBatch _rows;
    private readonly CancellationToken _cancel;
    private readonly KvType _type;
    private readonly int _slotBytes;
    private readonly List<(int Depth, int[] Sequences)> _filled = [];

    public AttentionBench(TransformerShape shape, KvType type, IReadOnlyList<int> depths, int maxRows, ThreadTeam team, CancellationToken cancel)
    {
        (_shape, _type, _cancel) = (shape, type, cancel);
        _maxRows = Math.Max(maxRows, 256);
        var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, type);
        _slotBytes = new KvPageFormat(layout).SlotBytes;
        int[] each = [.. depths.Distinct()];
        _cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout,
                MaxSequences = each.Sum(Copies),
                MaxTokensPerSequence = Math.Max(each.Max(), 1),
                MaxRowsPerSequence = _maxRows,
                BudgetBytes = each.Sum(depth => PagedKvCache.BytesFor(layout, Copies(depth), depth + _maxRows)),
            },
            new MemoryPlan());
        _synthetic = new SyntheticKv(shape, _maxRows, team);
        _output = NativeBuffer.Allocate((long)_maxRows * shape.HeadCount * shape.HeadDim * sizeof(float), "attention output");
        _rows = new RowBatch(_maxRows);
        foreach (int depth in each) _filled.Add((depth, [.. Enumerable.Range(0, Copies(depth)).Select(_ => NewSequence(depth))]));
    }

    /// <summary>One case per depth and number of rows: trees, and chunks of a prompt.</summary>
    public IEnumerable<BenchCase> Cases(IReadOnlyList<int> trees, IReadOnlyList<int> chunks) => _filled.SelectMany(filled => trees
        .Select(rows => Case(filled.Depth, filled.Sequences, rows, chain: false))
        .Concat(chunks.Select(rows => Case(filled.Depth, filled.Sequences, rows, chain: true))));

    public void Dispose()
    {
        _cache.Dispose();
        _synthetic.Dispose();
        _output.Dispose();
    }

    private BenchCase Case(int depth, int[] sequences, int rows, bool chain)
    {
        double bytes = PassBytes(depth + rows);
        double keys = Enumerable.Range(0, rows).Sum(i => depth + 1.0 + (chain ? i : BitOperations.Log2((uint)i + 1))); // visible ones, over all rows
        int passes = (int)Math.Clamp(BytesPerRepeat / bytes, 1, 1000);
        return new BenchCase(rows == 1 ? $"attention@{depth}" : $"{(chain ? "chunk" : "tree")}{rows}@{depth}", passes, passes * rows, passes * bytes, () => { }, () =>
        {
            for (int i = 0; i < passes; i++) Pass(sequences[i % sequences.Length], rows, chain);
        })
        {
            Operations = passes * keys * _shape.LayerCount * _shape.HeadCount * _shape.HeadDim * 4, // scores and values, a multiplication and an addition each
            Kv = _type,
            WholeModel = false,
        };
    }

    /// <summary>All layers attend with a chain or a binary tree of rows behind the committed tokens; then the rows are taken back.</summary>
    private void Pass(int sequence, int rows, bool chain)
    {
        _cancel.ThrowIfCancellationRequested();
        _rows.Clear();
        int position = _cache.Length(sequence);
        for (int i = 0; i < rows; i++)
        {
            int parent = chain ? i - 1 : i == 0 ? -1 : (i - 1) / 2;
            _rows.Add(0, parent < 0 ? position : _rows.Positions[parent] + 1, sequence, parent, wantsLogits: false);
        }

        _cache.BeginPass(_rows);
        for (int layer = 0; layer < _shape.LayerCount; layer++) _synthetic.Attention.Run(layer, _rows, _cache.View, _synthetic.Qkv, (float*)_output.Pointer, 0);
        _cache.Commit(sequence, []);
    }

    private int NewSequence(int depth)
    {
        int sequence = _cache.TryAcquire();
        if (sequence < 0 || !_cache.TryReserve(sequence, depth + _maxRows))
            throw new OutOfMemoryBudgetException($"The cache does not hold {depth} tokens: lower --depths.");
        _synthetic.Fill(_cache, sequence, depth);
        return sequence;
    }

    private int Copies(int depth) => (int)Math.Clamp(Math.Ceiling(RotatedBytes / PassBytes(Math.Max(depth, 1))), 1, 64);

    /// <summary>Keys, values and scales that a pass reads once.</summary>
    private double PassBytes(int tokens) => (double)tokens * _shape.LayerCount * _shape.KvHeadCount * _slotBytes;
}
