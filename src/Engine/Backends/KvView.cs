namespace Foretoken.Backends;

/// <summary>How keys and values are stored.</summary>
public enum KvType
{
    F32,
    BF16,
}

/// <summary>Shape of the cache: one slot table per (sequence, layer, KV head) over one pool of pages.</summary>
/// <param name="LayerCount">Layers.</param>
/// <param name="KvHeadCount">KV heads per layer.</param>
/// <param name="HeadDim">Elements of one key or value.</param>
/// <param name="Type">Storage type of keys and values.</param>
/// <param name="SlotsPerPage">Tokens of one head that a page holds; a multiple of 16.</param>
public readonly record struct KvLayout(int LayerCount, int KvHeadCount, int HeadDim, KvType Type, int SlotsPerPage);

/// <summary>What a backend sees of the KV cache: where the rows of this pass store their keys and values, and which slots they attend to.</summary>
public abstract class KvView
{
    public abstract KvLayout Layout { get; }
}
