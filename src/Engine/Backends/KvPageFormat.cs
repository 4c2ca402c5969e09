using System.Numerics;

namespace Foretoken.Backends;

/// <summary>
/// How a page of the KV cache is laid out in host memory. A page belongs to one (layer, KV head) and holds <see cref="SlotsPerPage"/> slots:
/// <code>
/// keys       [SlotsPerPage / 16 tiles]  f32: [HeadDim dims][16 slots]   bf16, f16, int8: [HeadDim/2 pairs][16 slots][2 dims]
/// values     [SlotsPerPage slots]       f32: [ValueDim dims]   bf16, f16: [ValueDim/32 blocks][16]{dim j, dim 16+j}
///            int8: [SlotsPerPage/2 pairs][ValueDim dims][2 slots]
/// scales     [2, SlotsPerPage] f32      int8 only: of each slot's key, then of each slot's value
/// positions  [SlotsPerPage] int         position in the sequence
/// expires    [SlotsPerPage] int         last position that sees the slot; int.MaxValue = every later one
/// decisions  [SlotsPerPage] byte        1 = the row in this slot evicts the token it decides about (delayed eviction only)
/// </code>
/// A vector lane of a key tile is a slot and a vector lane of a value row is a dim, so that neither score nor sum crosses lanes. A bf16 pair is
/// one 32-bit word: two shifts or masks make the two f32 vectors, without a shuffle. Pairs of bytes widen to the pairs of words that integer
/// multiply-adds take.
/// </summary>
public sealed class KvPageFormat
{
    /// <summary>Slots of one key tile.</summary>
    public const int TileSlots = 16;

    /// <summary>Dims of one block of a value row.</summary>
    public const int ValueBlock = 32;

    /// <param name="layout">Shape of the cache.</param>
    /// <param name="holdsData">False: keys and values are kept by an <see cref="IKvStore"/>, and pages hold positions, expires and decisions only.</param>
    public KvPageFormat(KvLayout layout, bool holdsData = true)
    {
        if (layout.LayerCount < 1 || layout.KvHeadCount < 1) throw new ArgumentException($"A cache needs layers and KV heads, not {layout}.", nameof(layout));
        if (layout.HeadDim < 2 || layout.HeadDim % 2 != 0) throw new ArgumentException($"head_dim must be even and positive, not {layout.HeadDim}.", nameof(layout));
        if (layout.SlotsPerPage < TileSlots || !BitOperations.IsPow2(layout.SlotsPerPage))
            throw new ArgumentException($"Slots per page must be a power of two of at least {TileSlots}, not {layout.SlotsPerPage}.", nameof(layout));
        Type = layout.Type;
        ElementBytes = layout.Type switch { KvType.F32 => 4, KvType.Int8 => 1, _ => 2 };
        HeadDim = layout.HeadDim;
        ValueDim = (layout.HeadDim + ValueBlock - 1) / ValueBlock * ValueBlock;
        SlotsPerPage = layout.SlotsPerPage;
        PageShift = BitOperations.Log2((uint)layout.SlotsPerPage);
        KeyTileBytes = holdsData ? TileSlots * HeadDim * ElementBytes : 0;
        ValueRowBytes = holdsData ? ValueDim * ElementBytes : 0;
        ValueOffset = SlotsPerPage / TileSlots * KeyTileBytes;
        KeyScaleOffset = ValueOffset + SlotsPerPage * ValueRowBytes;
        ScaleBytes = holdsData && Type == KvType.Int8 ? sizeof(float) : 0;
        ValueScaleOffset = KeyScaleOffset + SlotsPerPage * ScaleBytes;
        PositionOffset = ValueScaleOffset + SlotsPerPage * ScaleBytes;
        ExpireOffset = PositionOffset + SlotsPerPage * sizeof(int);
        DecisionOffset = ExpireOffset + SlotsPerPage * sizeof(int);
        PageBytes = (DecisionOffset + SlotsPerPage + 63) / 64 * 64;
    }

    /// <summary>How an element of a key or value is stored.</summary>
    public KvType Type { get; }

    /// <summary>Bytes of an element of a key or value.</summary>
    public int ElementBytes { get; }

    /// <summary>Elements of one key; even.</summary>
    public int HeadDim { get; }

    /// <summary>HeadDim rounded up to whole blocks; the padding is zero.</summary>
    public int ValueDim { get; }

    /// <summary>Tokens of one head that a page holds; a power of two.</summary>
    public int SlotsPerPage { get; }

    /// <summary>log2 of <see cref="SlotsPerPage"/>.</summary>
    public int PageShift { get; }

    /// <summary>Bytes of the keys of <see cref="TileSlots"/> slots; 0 where an <see cref="IKvStore"/> keeps them.</summary>
    public int KeyTileBytes { get; }

    /// <summary>Bytes of one slot's value, padding included; 0 where an <see cref="IKvStore"/> keeps them.</summary>
    public int ValueRowBytes { get; }

    /// <summary>Bytes from the page's beginning to its first value.</summary>
    public int ValueOffset { get; }

    /// <summary>Bytes of a slot's key scale, and of its value scale.</summary>
    public int ScaleBytes { get; }

    /// <summary>Equal to <see cref="ValueScaleOffset"/> where keys and values have no scales.</summary>
    public int KeyScaleOffset { get; }

    /// <summary>Bytes from the page's beginning to the scale of its first value.</summary>
    public int ValueScaleOffset { get; }

    /// <summary>Also the bytes of a page's keys, values and scales: what attention reads.</summary>
    public int PositionOffset { get; }

    /// <summary>Bytes from the page's beginning to the expire of its first slot.</summary>
    public int ExpireOffset { get; }

    /// <summary>Bytes from the page's beginning to the decision of its first slot.</summary>
    public int DecisionOffset { get; }

    /// <summary>Bytes of a page, rounded up to whole cache lines of 64.</summary>
    public int PageBytes { get; }

    /// <summary>Bytes of one slot that attention reads: key, value and scales.</summary>
    public int SlotBytes => PositionOffset / SlotsPerPage;

    /// <summary>Int8 only: offset in the page of a slot's first value; the next ones follow two bytes apart.</summary>
    public int ValueByteOffset(int slotInPage) => ValueOffset + slotInPage / 2 * 2 * ValueRowBytes + slotInPage % 2;
}
