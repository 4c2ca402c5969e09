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
/// for each chunk of 256 absolute positions that holds a visible key:
///     m = largest s of the chunk;  for each visible key in increasing position:  p = exp(s − m);  l += p;  o[d] = fma(p, v[d], o[d])
/// fold of the chunks in order into M, L, O:
///     M' = max(M, m);  L = fma(l, exp(m − M'), L·exp(M − M'));  O[d] likewise;  M = M'
/// output[d] = O[d] / L
/// </code>
/// Keys and values are rounded to the cache's type before any use, so that a key of this pass counts as one of an earlier pass does. Within a chunk
/// int8 keys and values are multiplied and summed as integers, as <see cref="Int8AttentionKernels{TLanes, TWords}"/> says; the fold is the same.
/// Masked keys take part with p = 0, which changes no sum (values of float types must be finite).
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
    private readonly AttentionPieces _pieces;
    private readonly AttentionScratch[] _scratch; // [threads]
    private readonly NativeBuffer _scratchMemory;
    private readonly int _maxRows;

    /// <param name="shape">Sizes of the model.</param>
    /// <param name="maxRows">Most rows of one pass.</param>
    /// <param name="team">Threads that share the work.</param>
    /// <param name="plan">Receives the scratch memory.</param>
    /// <param name="level">Instruction set to use; null = the best of the machine.</param>
    public CpuAttention(TransformerShape shape, int maxRows, ThreadTeam team, MemoryPlan plan, IsaLevel? level = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxRows, 1);
        _shape = shape;
        _maxRows = maxRows;
        _kernels = [.. Enum.GetValues<KvType>().Select(type => AttentionKernels.For(level ?? IsaLevels.Best, type))];
        _team = team;
        int rowsPerTile = Math.Clamp(AttentionScratch.Columns / shape.QueryGroup, 1, Math.Min(AttentionScratch.TileRows, maxRows));
        _pieces = new AttentionPieces(shape, maxRows, rowsPerTile, team.Threads, plan);
        int columns = (rowsPerTile * shape.QueryGroup + 3) / 4 * 4;
        long bytes = AttentionScratch.Bytes(columns, shape.HeadDim);
        _scratchMemory = plan.Allocate("activations", "attention scratch", $"[threads {team.Threads}, {bytes} bytes]", bytes * team.Threads);
        _scratch = new AttentionScratch[team.Threads];
        for (int t = 0; t < team.Threads; t++) _scratch[t] = new AttentionScratch(_scratchMemory.Pointer + bytes * t, columns, shape.HeadDim);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _scratchMemory.Dispose();
        _pieces.Dispose();
    }

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
        _pieces.Plan(rows, layer, host, slidingWindow);
        if (!_pieces.SingleTiles) // rows of one tile see keys of another: all are stored first
        {
            var store = new AttentionStoreJob(_shape, layer, rows, host, qkv);
            Fork(ref store, store.Chunks, _pieces.Work);
        }

        var pass = new AttentionPass(_shape, layer, rows, host, qkv, output, slidingWindow, _pieces, _kernels[(int)host.Layout.Type]);
        var attend = new AttendJob(pass, _scratch);
        Fork(ref attend, _pieces.PieceCount * _shape.KvHeadCount, _pieces.Work);
        if (_pieces.SplitCount > 0)
        {
            var fold = new FoldJob(pass, _scratch);
            Fork(ref fold, _pieces.SplitCount * _shape.KvHeadCount, _pieces.Work);
        }

        if (host.Observation is null) return;
        var observer = new AttentionObserver(_shape, layer, rows, host, qkv, slidingWindow, pass.Kernels, _scratch);
        Fork(ref observer, observer.Chunks, _pieces.Work);
        if (host.Observation.PerLayer) observer.ShareInLayer();
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
        if (kv is not HostKvView { Store: null } host) throw new ArgumentException("The CPU attends to a cache in host memory only.", nameof(kv));
        if (host.Layout.HeadDim != _shape.HeadDim || host.Layout.KvHeadCount != _shape.KvHeadCount)
            throw new ArgumentException($"The cache is laid out for {host.Layout}, the model has {_shape.KvHeadCount} KV heads of {_shape.HeadDim}.", nameof(kv));
        if (rows.Count > _maxRows) throw new ArgumentException($"A pass of {rows.Count} rows exceeds the {_maxRows} planned.", nameof(rows));
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

    /// <summary>One chunk is one piece of a tile of rows, with one KV head and its query group.</summary>
    private readonly struct AttendJob(AttentionPass pass, AttentionScratch[] scratch) : IParallelJob
    {
        public void Execute(int chunk, int thread)
        {
            AttentionPiece piece = pass.Pieces.Pieces[chunk / pass.Shape.KvHeadCount];
            int kvHead = chunk % pass.Shape.KvHeadCount;
            if (piece.IsLast && pass.Pieces.SingleTiles) // nobody else reads the rows' keys
            {
                RowSegment segment = pass.Rows.Segments[piece.Tile.Segment];
                AttentionStore.Rows(pass.Shape, segment, 0, segment.Count, pass.Kv, pass.Kv.Head(segment.Sequence, pass.Layer, kvHead), kvHead, pass.Qkv);
            }

            int next = (chunk + 1) / pass.Shape.KvHeadCount;
            new AttentionUnit(pass, piece, kvHead, scratch[thread]).Run(
                next < pass.Pieces.PieceCount ? pass.Pieces.Pieces[next] : null, (chunk + 1) % pass.Shape.KvHeadCount);
        }
    }

    /// <summary>One chunk folds the results of one tile's chunks of positions, for one KV head.</summary>
    private readonly struct FoldJob(AttentionPass pass, AttentionScratch[] scratch) : IParallelJob
    {
        public void Execute(int chunk, int thread)
        {
            AttentionPiece all = pass.Pieces.Splits[chunk / pass.Shape.KvHeadCount];
            new AttentionUnit(pass, all, chunk % pass.Shape.KvHeadCount, scratch[thread]).Fold();
        }
    }
}

/// <summary>What all units of one pass over a layer share.</summary>
internal readonly unsafe struct AttentionPass(
    TransformerShape shape, int layer, RowBatch rows, HostKvView kv, float* qkv, float* output, int window, AttentionPieces pieces, AttentionKernels kernels)
{
    public readonly TransformerShape Shape = shape;
    public readonly int Layer = layer;
    public readonly RowBatch Rows = rows;
    public readonly HostKvView Kv = kv;

    /// <summary>Rotated queries and keys, and values. // [rows, (heads + 2·kvHeads)·headDim]</summary>
    public readonly float* Qkv = qkv;

    /// <summary>Receives the attention output. // [rows, heads·headDim]</summary>
    public readonly float* Output = output;

    /// <summary>Sliding window; 0 = none.</summary>
    public readonly int Window = window;

    /// <summary>How the pass is cut.</summary>
    public readonly AttentionPieces Pieces = pieces;

    /// <summary>Kernels of the level and of the cache's type.</summary>
    public readonly AttentionKernels Kernels = kernels;
}
