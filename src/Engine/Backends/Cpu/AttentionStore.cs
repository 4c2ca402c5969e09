namespace Foretoken.Backends.Cpu;

/// <summary>Writes keys and values of the running pass into their slots, rounded to the cache's type and laid out as <see cref="KvPageFormat"/> says.</summary>
internal static unsafe class AttentionStore
{
    /// <summary>Stores rows <paramref name="from"/>..<paramref name="to"/>−1 (indices in the segment) of one KV head.</summary>
    public static void Rows(
        TransformerShape shape, in RowSegment segment, int from, int to, HostKvView kv, KvHeadSlots* head, int kvHead, float* qkv)
    {
        KvPageFormat format = kv.Format;
        int headDim = shape.HeadDim;
        long stride = (long)(shape.HeadCount + 2 * shape.KvHeadCount) * headDim;
        if (((head->Committed + to - 1) >> format.PageShift) >= head->PageCount)
            throw new InvalidOperationException("The cache has not begun this pass: a row has no slot.");
        for (int i = from; i < to; i++)
        {
            int slot = head->Committed + i;
            byte* page = kv.PageOf(head, slot);
            int inPage = slot & (format.SlotsPerPage - 1);
            float* key = qkv + (segment.First + i) * stride + (long)(shape.HeadCount + kvHead) * headDim;
            float* value = key + (long)shape.KvHeadCount * headDim;
            byte* tile = page + (long)inPage / KvPageFormat.TileSlots * format.KeyTileBytes;
            byte* valueRow = page + format.ValueOffset + (long)inPage * format.ValueRowBytes;
            if (format.Type == KvType.F32)
            {
                WriteKey((float*)tile, inPage % KvPageFormat.TileSlots, key, headDim);
                new ReadOnlySpan<float>(value, headDim).CopyTo(new Span<float>(valueRow, format.ValueDim));
            }
            else
            {
                WriteKey((uint*)tile, inPage % KvPageFormat.TileSlots, key, headDim);
                WriteValue((uint*)valueRow, value, headDim, format.ValueDim);
            }
        }
    }

    private static void WriteKey(float* tile, int lane, float* key, int headDim)
    {
        for (int d = 0; d < headDim; d++) tile[d * KvPageFormat.TileSlots + lane] = key[d];
    }

    private static void WriteKey(uint* tile, int lane, float* key, int headDim)
    {
        for (int d = 0; d < headDim; d += 2) tile[d / 2 * KvPageFormat.TileSlots + lane] = BF16(key[d]) | BF16(key[d + 1]) << 16;
    }

    private static void WriteValue(uint* row, float* value, int headDim, int valueDim)
    {
        for (int block = 0; block < valueDim; block += KvPageFormat.ValueBlock)
        {
            for (int j = 0; j < 16; j++)
            {
                uint low = block + j < headDim ? BF16(value[block + j]) : 0;
                uint high = block + 16 + j < headDim ? BF16(value[block + 16 + j]) : 0;
                row[block / 2 + j] = low | high << 16;
            }
        }
    }

    /// <summary>Rounds to bfloat16, ties to even; NaN stays NaN.</summary>
    private static uint BF16(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        if ((bits & 0x7FFFFFFF) > 0x7F800000) return bits >> 16 | 0x40;
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    }
}

/// <summary>Stores all rows of a pass in one layer; one chunk is up to 64 rows of one segment and KV head.</summary>
internal readonly unsafe struct AttentionStoreJob : IParallelJob
{
    private const int RowsPerChunk = 64;
    private readonly TransformerShape _shape;
    private readonly int _layer;
    private readonly RowBatch _rows;
    private readonly HostKvView _kv;
    private readonly float* _qkv;

    public AttentionStoreJob(TransformerShape shape, int layer, RowBatch rows, HostKvView kv, float* qkv)
    {
        _shape = shape;
        _layer = layer;
        _rows = rows;
        _kv = kv;
        _qkv = qkv;
        Chunks = (rows.Count + RowsPerChunk - 1) / RowsPerChunk * shape.KvHeadCount;
    }

    public int Chunks { get; }

    public void Execute(int chunk, int thread)
    {
        int kvHead = chunk % _shape.KvHeadCount;
        int from = chunk / _shape.KvHeadCount * RowsPerChunk;
        int to = Math.Min(from + RowsPerChunk, _rows.Count);
        foreach (RowSegment segment in _rows.Segments)
        {
            int first = Math.Max(from, segment.First), last = Math.Min(to, segment.First + segment.Count);
            if (first >= last) continue;
            AttentionStore.Rows(
                _shape, segment, first - segment.First, last - segment.First, _kv, _kv.Head(segment.Sequence, _layer, kvHead), kvHead, _qkv);
        }
    }
}
