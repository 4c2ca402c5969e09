namespace Foretoken.Backends;

/// <summary>The slots of one (sequence, layer, KV head), in increasing position. The rows of a running pass follow at Committed, Committed+1, ….</summary>
public unsafe struct KvHeadSlots
{
    /// <summary>Page numbers of the head's slots. // [PageCount]</summary>
    public int* Pages;

    /// <summary>Pages that the head holds, those of the running pass included.</summary>
    public int PageCount;

    /// <summary>Slots that later passes see.</summary>
    public int Committed;

    /// <summary>The committed slots hold exactly the last <see cref="Committed"/> positions, without gaps: the slot tells the position.</summary>
    public bool Contiguous;

    /// <summary>Slots below this one have no end: their <c>expire</c> is int.MaxValue. int.MaxValue where that holds for all slots.</summary>
    public int FirstMortal;
}

/// <summary>
/// The KV cache in host memory: a pool of pages and one slot table per (sequence, layer, KV head). The row at index i of its segment stores its
/// key and value in slot Committed + i of every head. The memory belongs to the cache that made the view and lives as long as it.
/// </summary>
public sealed unsafe class HostKvView : KvView
{
    private readonly KvHeadSlots* _heads; // [sequences, layers, kvHeads]
    private readonly int _sequences;
    private readonly float* _scores; // [pages, SlotsPerPage], or null

    /// <param name="layout">Shape of the cache.</param>
    /// <param name="pool">First page. // [pages, PageBytes]</param>
    /// <param name="heads">Slot tables. // [sequences, layers, kvHeads]</param>
    /// <param name="sequences">Sequences that <paramref name="heads"/> holds tables for.</param>
    /// <param name="decisionWindow">See <see cref="DecisionWindow"/>.</param>
    /// <param name="store">See <see cref="Store"/>.</param>
    /// <param name="decisionShift">See <see cref="DecisionShift"/>.</param>
    /// <param name="modelDecides">See <see cref="ModelDecides"/>.</param>
    /// <param name="observation">See <see cref="Observation"/>.</param>
    /// <param name="scores">Where it is noted, or null. // [pages, SlotsPerPage]</param>
    public HostKvView(KvLayout layout, byte* pool, KvHeadSlots* heads, int sequences, int decisionWindow = 0, IKvStore? store = null,
        int decisionShift = 1, bool modelDecides = false, AttentionObservation? observation = null, float* scores = null)
    {
        Observation = observation;
        _scores = scores;
        DecisionWindow = decisionWindow;
        DecisionShift = decisionShift;
        ModelDecides = modelDecides;
        Store = store;
        Layout = layout;
        Format = new KvPageFormat(layout, holdsData: store is null);
        Pool = pool;
        _heads = heads;
        _sequences = sequences;
    }

    /// <inheritdoc/>
    public override KvLayout Layout { get; }

    /// <summary>Where keys, values and marks lie within a page.</summary>
    public KvPageFormat Format { get; }

    /// <summary>First byte of page 0; pages follow each other, <see cref="KvPageFormat.PageBytes"/> each.</summary>
    public byte* Pool { get; }

    /// <summary>Holds keys and values where they are not in the pages, which then have marks only; null = the pages hold all.</summary>
    public IKvStore? Store { get; }

    /// <summary>
    /// W of delayed eviction: a row whose decision is 1 lets rows more than W positions behind the token that it decides about forget that token.
    /// Decisions stand in the rows' slots before the pass attends. 0 = rows decide nothing.
    /// </summary>
    public int DecisionWindow { get; }

    /// <summary>A row decides about the token this many positions before it, at most W: those between have their fate still before them.</summary>
    public int DecisionShift { get; }

    /// <summary>The backend writes the decisions, by <see cref="LayerWeights.Decision"/>; otherwise they stand there when the pass begins.</summary>
    public bool ModelDecides { get; }

    /// <summary>What backends note of attention in the slots (<see cref="ScoreOf"/>); null = nothing.</summary>
    public AttentionObservation? Observation { get; }

    /// <summary>Attention that the key in <paramref name="slot"/> was given, where <see cref="Observation"/> asks for it, to read or write.</summary>
    public float* ScoreOf(KvHeadSlots* head, int slot) =>
        _scores + ((long)head->Pages[slot >> Format.PageShift] << Format.PageShift) + (slot & (Format.SlotsPerPage - 1));

    /// <summary>The slot table of one head.</summary>
    public KvHeadSlots* Head(int sequence, int layer, int kvHead)
    {
        if ((uint)sequence >= (uint)_sequences || (uint)layer >= (uint)Layout.LayerCount || (uint)kvHead >= (uint)Layout.KvHeadCount)
            throw new ArgumentOutOfRangeException(nameof(sequence), $"No slot table for sequence {sequence}, layer {layer}, KV head {kvHead}.");
        return _heads + ((long)sequence * Layout.LayerCount + layer) * Layout.KvHeadCount + kvHead;
    }

    /// <summary>The page that holds <paramref name="slot"/>.</summary>
    public byte* PageOf(KvHeadSlots* head, int slot) => Pool + (long)head->Pages[slot >> Format.PageShift] * Format.PageBytes;

    /// <summary>Position of <paramref name="slot"/>, to read or write.</summary>
    public int* PositionOf(KvHeadSlots* head, int slot) => (int*)(PageOf(head, slot) + Format.PositionOffset) + (slot & (Format.SlotsPerPage - 1));

    /// <summary>Last position that sees <paramref name="slot"/>, to read or write.</summary>
    public int* ExpireOf(KvHeadSlots* head, int slot) => (int*)(PageOf(head, slot) + Format.ExpireOffset) + (slot & (Format.SlotsPerPage - 1));

    /// <summary>Sets the last position that sees <paramref name="slot"/>, in the store too.</summary>
    public void SetExpire(KvHeadSlots* head, int slot, int expire)
    {
        *ExpireOf(head, slot) = expire;
        Store?.SetExpire(head - _heads, head->Pages[slot >> Format.PageShift], slot & (Format.SlotsPerPage - 1), expire);
    }

    /// <summary>The number of a slot table: (sequence · layers + layer) · KV heads + KV head.</summary>
    public long NumberOf(KvHeadSlots* head) => head - _heads;

    /// <summary>Whether the row in <paramref name="slot"/> evicts the token that it decides about (1) or not (0), to read or write.</summary>
    public byte* DecisionOf(KvHeadSlots* head, int slot) => PageOf(head, slot) + Format.DecisionOffset + (slot & (Format.SlotsPerPage - 1));
}
