namespace Foretoken.Backends.Cpu;

/// <summary>Working memory of one thread. A column is one (row, query head) of the tile; columns are worked on in blocks of four.</summary>
internal readonly unsafe struct AttentionScratch
{
    /// <summary>Columns that a tile aims at: enough that arithmetic, not memory, limits it.</summary>
    public const int Columns = 64;

    /// <summary>Columns of one block.</summary>
    public const int Block = 4;

    /// <summary>Most slots of one chunk, ends rounded out to whole tiles: 256 committed and 256 rows of a tree.</summary>
    public const int Slots = CpuAttention.ChunkPositions + RowBatch.MaxTreeRows + 2 * KvPageFormat.TileSlots;

    /// <summary>64-bit words of one row's mask over the slots of a chunk.</summary>
    public const int MaskWords = (Slots + 63) / 64;

    public AttentionScratch(byte* memory, int columns, int headDim)
    {
        float* p = (float*)memory;
        Scores = p;
        Query = Scores + 2 * Block * Slots;
        Output = Query + (long)columns * Padded(headDim);
        Maximum = Output + (long)columns * Padded(headDim);
        Sum = Maximum + columns;
        Masks = (ulong*)(Sum + columns);
    }

    /// <summary>Scores of a block, then its weights exp(s − m); behind them the weights times the values' scales. // [2, 4, Slots]</summary>
    public float* Scores { get; }

    /// <summary>Scaled queries. // [columns/4, headDim/2, 4, 2]</summary>
    public float* Query { get; }

    /// <summary>Sums of weighted values. // [columns, ValueDim]</summary>
    public float* Output { get; }

    /// <summary>Running maximum m. // [columns]</summary>
    public float* Maximum { get; }

    /// <summary>Running sum l. // [columns]</summary>
    public float* Sum { get; }

    /// <summary>Visible slots of the chunk. // [rows, MaskWords]</summary>
    public ulong* Masks { get; }

    public static long Bytes(int columns, int headDim)
    {
        long floats = 2L * Block * Slots + 2L * columns * Padded(headDim) + 2L * columns;
        return (floats * sizeof(float) + (long)columns * MaskWords * sizeof(ulong) + 63) / 64 * 64;
    }

    private static int Padded(int headDim) => (headDim + KvPageFormat.ValueBlock - 1) / KvPageFormat.ValueBlock * KvPageFormat.ValueBlock;
}
