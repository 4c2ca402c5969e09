namespace Foretoken.Backends;

/// <summary>How keys and values are stored.</summary>
public enum KvType
{
    /// <summary>Single precision: as computed.</summary>
    F32,
    /// <summary>The upper half of an f32, rounded to nearest even: 8 significant bits, the range of f32.</summary>
    BF16,

    /// <summary>IEEE half. Magnitudes beyond 65504 are stored as 65504.</summary>
    F16,

    /// <summary>Signed bytes with one f32 scale per slot and head, for keys and values each: scale = largest magnitude / 127.</summary>
    Int8,
}

/// <summary>Shape of the cache: one slot table per (sequence, layer, KV head) over one pool of pages.</summary>
/// <param name="LayerCount">Layers.</param>
/// <param name="KvHeadCount">KV heads per layer.</param>
/// <param name="HeadDim">Elements of one key or value; even.</param>
/// <param name="Type">Storage type of keys and values.</param>
/// <param name="SlotsPerPage">Tokens of one head that a page holds: 16, 32, 64, …</param>
public readonly record struct KvLayout(int LayerCount, int KvHeadCount, int HeadDim, KvType Type, int SlotsPerPage = KvLayout.DefaultSlotsPerPage)
{
    /// <summary>Small pages let per-head eviction give memory back; large ones save table entries.</summary>
    public const int DefaultSlotsPerPage = 32;
}

/// <summary>
/// What a backend sees of the KV cache: where the rows of this pass store their keys and values, and which slots they attend to.
/// A cache in host memory is a <see cref="HostKvView"/>.
/// </summary>
public abstract class KvView
{
    /// <summary>Shape of the cache.</summary>
    public abstract KvLayout Layout { get; }
}
