using Foretoken.Memory;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Attention of a pass over the paged cache: stores the rows' keys and values in their slots, then attends. Decode rows, prompt chunks and
/// token trees go through the same kernels.
/// <para>
/// The result of a row is a function of the keys that it sees and of nothing else, to the bit. Visible are the committed slots of its sequence,
/// its ancestors in the pass and itself, as far as the sliding window (position &gt; p − window) and the slot's expire (p ≤ expire) allow.
/// Contract, for a query row and head, with every product and sum rounded to f32 and fma rounding once:
/// </para>
/// <code>
/// s(k) = (Σ over even d of q[d]·scale·k[d], by fma in order of d) + (the same over odd d)
/// for each block of 256 absolute positions that holds a visible key, in order:
///     m' = max(m, largest s of the block);  if m' &gt; m: l, o *= exp(m − m');  m = m'
///     for each visible key in increasing position:  p = exp(s − m);  l += p;  o[d] = fma(p, v[d], o[d])
/// output[d] = o[d] / l
/// </code>
/// Keys and values are rounded to the cache's type before any use, so that a key of this pass counts as one of an earlier pass does.
/// For int8, k[d] and v[d] are the stored bytes, s(k) is multiplied by the key's scale, and p by the value's in the last fma only.
/// Masked keys take part with p = 0, which changes no sum (values must be finite).
/// </summary>
public sealed unsafe class CpuAttention : IDisposable
{
    /// <summary>Absolute positions that share one maximum: the unit of the online softmax.</summary>
    internal const int ChunkPositions = 256;

    /// <summary>Below this many multiply-adds a pass runs on the calling thread.</summary>
    private const long InlineWork = 32 * 1024;

    private readonly TransformerShape _shape;
    private readonly ThreadTeam _team;
    private readonly AttentionKernels[] _kernels; // by KvType
    private readonly AttentionTile[] _tiles; // [maxRows]
    private readonly AttentionScratch[] _scratch; // [threads]
    private readonly NativeBuffer _scratchMemory;
    private readonly int _rowsPerTile;

    /// <param name="shape">Sizes of the model.</param>
    /// <param name="maxRows">Most rows of one pass.</param>
    /// <param name="team">Threads that share the work.</param>
    /// <param name="plan">Receives the scratch memory.</param>
    /// <param name="level">Instruction set to use; null = the best of the machine.</param>
    public CpuAttention(TransformerShape shape, int maxRows, ThreadTeam team, MemoryPlan plan, IsaLevel? level = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxRows, 1);
        _shape = shape;
        _kernels = [.. Enum.GetValues<KvType>().Select(type => AttentionKernels.For(level ?? IsaLevels.Best, type))];
        _team = team;
        _tiles = new AttentionTile[maxRows];
        _rowsPerTile = Math.Max(1, AttentionScratch.Columns / shape.QueryGroup);
        int columns = (_rowsPerTile * shape.QueryGroup + 3) / 4 * 4;
        long bytes = AttentionScratch.Bytes(columns, shape.HeadDim);
        _scratchMemory = plan.Allocate("activations", "attention scratch", $"[threads {team.Threads}, {bytes} bytes]", bytes * team.Threads);
        _scratch = new AttentionScratch[team.Threads];
        for (int t = 0; t < team.Threads; t++) _scratch[t] = new AttentionScratch(_scratchMemory.Pointer + bytes * t, columns, shape.HeadDim);
    }

    public void Dispose() => _scratchMemory.Dispose();

    /// <summary>Stores the keys and values of the pass in layer <paramref name="layer"/> and attends.</summary>
    /// <param name="layer">Layer whose slot tables are used.</param>
    /// <param name="rows">Rows of the pass; the cache must have begun the pass for them.</param>
    /// <param name="kv">The cache; a <see cref="HostKvView"/>.</param>
    /// <param name="qkv">Rotated queries and keys, and values. // [rows, (heads + 2·kvHeads)·headDim]</param>
    /// <param name="output">Receives the attention output. // [rows, heads·headDim]</param>
    /// <param name="slidingWindow">A row at position p sees positions above p − slidingWindow; 0 = all.</param>
    public void Run(int layer, RowBatch rows, KvView kv, float* qkv, float* output, int slidingWindow)
    {
        HostKvView host = Check(rows, kv);
        int tiles = PlanTiles(rows, layer, host, out bool singleTiles, out long work);
        var job = new AttentionJob(this, layer, rows, host, qkv, output, slidingWindow, singleTiles);
        if (!singleTiles) // rows of one tile see keys of another: all are stored first
        {
            var store = new AttentionStoreJob(_shape, layer, rows, host, qkv);
            Fork(ref store, store.Chunks, work);
        }

        Fork(ref job, tiles * _shape.KvHeadCount, work);
    }

    /// <summary>Stores the keys and values of the pass in layer <paramref name="layer"/> without attending: for caches that are filled otherwise than by a model.</summary>
    /// <param name="layer">Layer whose slot tables are used.</param>
    /// <param name="rows">Rows of the pass; the cache must have begun the pass for them.</param>
    /// <param name="kv">The cache; a <see cref="HostKvView"/>.</param>
    /// <param name="qkv">Queries, which are not read, rotated keys, and values. // [rows, (heads + 2·kvHeads)·headDim]</param>
    public void Store(int layer, RowBatch rows, KvView kv, float* qkv)
    {
        var store = new AttentionStoreJob(_shape, layer, rows, Check(rows, kv), qkv);
        Fork(ref store, store.Chunks, (long)rows.Count * _shape.KvHeadCount * _shape.HeadDim * 2);
    }

    private HostKvView Check(RowBatch rows, KvView kv)
    {
        if (kv is not HostKvView host) throw new ArgumentException("The CPU attends to a cache in host memory only.", nameof(kv));
        if (host.Layout.HeadDim != _shape.HeadDim || host.Layout.KvHeadCount != _shape.KvHeadCount)
            throw new ArgumentException($"The cache is laid out for {host.Layout}, the model has {_shape.KvHeadCount} KV heads of {_shape.HeadDim}.", nameof(kv));
        if (rows.Count > _tiles.Length) throw new ArgumentException($"A pass of {rows.Count} rows exceeds the {_tiles.Length} planned.", nameof(rows));
        return host;
    }

    private void Fork<TJob>(ref TJob job, int chunks, long work)
        where TJob : struct, IParallelJob
    {
        if (work > InlineWork) _team.Run(ref job, chunks);
        else
        {
            for (int c = 0; c < chunks; c++) job.Execute(c, 0);
        }
    }

    /// <summary>Cuts the segments into tiles of rows that read keys and values together.</summary>
    private int PlanTiles(RowBatch rows, int layer, HostKvView kv, out bool singleTiles, out long work)
    {
        int count = 0;
        singleTiles = true;
        work = 0;
        ReadOnlySpan<RowSegment> segments = rows.Segments;
        for (int s = 0; s < segments.Length; s++)
        {
            RowSegment segment = segments[s];
            if (segment.Count > _rowsPerTile) singleTiles = false;
            for (int end = segment.Count; end > 0; end -= Math.Min(end, _rowsPerTile)) // the longest tiles first, for balance
            {
                int first = Math.Max(0, end - _rowsPerTile);
                _tiles[count++] = new AttentionTile(s, segment.First + first, end - first);
            }

            work += 2L * segment.Count * (kv.Head(segment.Sequence, layer, 0)->Committed + segment.Count) * _shape.HeadCount * _shape.HeadDim;
        }

        return count;
    }

    /// <summary>One chunk is one tile of rows with one KV head and its query group.</summary>
    private readonly struct AttentionJob(
        CpuAttention owner, int layer, RowBatch rows, HostKvView kv, float* qkv, float* output, int slidingWindow, bool storesKeys) : IParallelJob
    {
        public void Execute(int chunk, int thread)
        {
            TransformerShape shape = owner._shape;
            AttentionTile tile = owner._tiles[chunk / shape.KvHeadCount];
            int kvHead = chunk % shape.KvHeadCount;
            RowSegment segment = rows.Segments[tile.Segment];
            KvHeadSlots* head = kv.Head(segment.Sequence, layer, kvHead);
            if (storesKeys) AttentionStore.Rows(shape, segment, 0, segment.Count, kv, head, kvHead, qkv);
            var unit = new AttentionUnit(shape, rows, segment, tile, kv, head, kvHead, slidingWindow, owner._scratch[thread], owner._kernels[(int)kv.Layout.Type]);
            unit.Run(qkv, output);
        }
    }
}

/// <summary>Adjacent rows of one segment that are attended together.</summary>
internal readonly record struct AttentionTile(int Segment, int FirstRow, int RowCount);
