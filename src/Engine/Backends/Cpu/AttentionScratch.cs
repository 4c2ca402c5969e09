using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Backends.Cpu;

/// <summary>Working memory of one thread. A column is one (row, query head) of the tile; columns are worked on in blocks of four.</summary>
internal readonly unsafe struct AttentionScratch
{
    /// <summary>Most rows of a tile, which read keys and values together: those of a large tree.</summary>
    public const int TileRows = 64;

    /// <summary>Most columns of a tile, where query groups are large.</summary>
    public const int Columns = 512;

    /// <summary>Columns of one block.</summary>
    public const int Block = 4;

    /// <summary>Most slots of one chunk, ends rounded out to whole tiles: 256 committed and 256 rows of a tree.</summary>
    public const int Slots = CpuAttention.ChunkPositions + RowBatch.MaxTreeRows + 2 * KvPageFormat.TileSlots;

    /// <summary>64-bit words of one row's mask over the slots of a chunk.</summary>
    public const int MaskWords = (Slots + 63) / 64;

    public AttentionScratch(byte* memory, int columns, int headDim)
    {
        int valueDim = Padded(headDim);
        float* p = (float*)memory;
        Weights = new AttentionWeights(p);
        Query = p + AttentionWeights.FloatCount;
        Chunk = AttentionPartial.At(Query + (long)columns * valueDim, Block, valueDim);
        Total = AttentionPartial.At(Query + (long)columns * valueDim + AttentionPartial.Floats(Block, valueDim), columns, valueDim);
        QueryScale = Query + (long)columns * valueDim + AttentionPartial.Floats(Block, valueDim) + AttentionPartial.Floats(columns, valueDim);
        Masks = (ulong*)(QueryScale + columns);
    }

    /// <summary>Scores and weights of a block.</summary>
    public AttentionWeights Weights { get; }

    /// <summary>Packed queries, by blocks of four columns. // [columns/4, headDim/2, 4, 2]</summary>
    public float* Query { get; }

    /// <summary>Factors of the columns' scores. // [columns]</summary>
    public float* QueryScale { get; }

    /// <summary>One block's result over one chunk. // [4]</summary>
    public AttentionPartial Chunk { get; }

    /// <summary>The result over all chunks so far. // [columns]</summary>
    public AttentionPartial Total { get; }

    /// <summary>Visible slots of the chunk. // [rows, MaskWords]</summary>
    public ulong* Masks { get; }

    public static long Bytes(int columns, int headDim)
    {
        int valueDim = Padded(headDim);
        long floats = AttentionWeights.FloatCount + (long)columns * valueDim + AttentionPartial.Floats(Block, valueDim)
            + AttentionPartial.Floats(columns, valueDim) + columns;
        return (floats * sizeof(float) + (long)columns * MaskWords * sizeof(ulong) + 63) / 64 * 64;
    }

    public static int Padded(int headDim) => (headDim + KvPageFormat.ValueBlock - 1) / KvPageFormat.ValueBlock * KvPageFormat.ValueBlock;
}

/// <summary>Scores of one block's columns over the slots of a chunk, which become weights in place.</summary>
internal readonly unsafe struct AttentionWeights(float* memory)
{
    /// <summary>Places behind the last tile's that emitted code may look at.</summary>
    public const int SparePlaces = AttentionCode.ScoreTiles;

    private const int WeightCount = AttentionScratch.Block * AttentionScratch.Slots * 3 / 2;

    /// <summary>Floats of all parts, whole cache lines.</summary>
    public static readonly int FloatCount =
        (WeightCount + 16 + (AttentionScratch.Slots / KvPageFormat.TileSlots + SparePlaces) * sizeof(AttentionPlace) / sizeof(float) + 15) / 16 * 16;

    /// <summary>Scores, then exp(s − m). // [4, Slots]</summary>
    public float* Floats => memory;

    /// <summary>Int8 values only: weights times the values' scales, in units of <see cref="Units"/>. // [4, Slots]</summary>
    public short* Words => (short*)(Floats + AttentionScratch.Block * AttentionScratch.Slots);

    /// <summary>Int8 values only: what a word of each column counts. // [4]</summary>
    public float* Units => Floats + WeightCount;

    /// <summary>Where the chunk's tiles lie (int8), or its rows of values (float types, whose runs are smaller). // [Slots/16 + SparePlaces]</summary>
    public AttentionPlace* Places => (AttentionPlace*)(Units + 16);
}

/// <summary>Where one tile of sixteen slots lies, and what to fetch from memory while it is worked on.</summary>
internal unsafe struct AttentionPlace
{
    /// <summary>Offsets of fields, for emitted code.</summary>
    public const int KeysOffset = 0, ValuesOffset = 8, KeyScalesOffset = 16, ValueScalesOffset = 24, AheadOfKeysOffset = 32, AheadOfWeightsOffset = 40, AheadOfValuesOffset = 48;

    public sbyte* Keys;        // [headDim/2 pairs, 16, 2]
    public sbyte* Values;      // [8 pairs of slots, ValueDim, 2]
    public float* KeyScales;   // [16]
    public float* ValueScales; // [16]

    /// <summary>What is fetched during the scores: the tile's values. // 16 lines at a head_dim of 64</summary>
    public byte* AheadOfKeys;

    /// <summary>During the softmax, and once more during the values: half of a key tile of the next chunk's first half. // 8 lines</summary>
    public byte* AheadOfWeights;

    /// <summary>During the values: likewise of its second half. // 8 lines</summary>
    public byte* AheadOfValues;
}
