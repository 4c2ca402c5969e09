namespace Foretoken.Backends.Cpu;

/// <summary>A run of slots of one head, as the kernels see it.</summary>
internal readonly unsafe struct AttentionSlots(byte* pool, int* pages, KvPageFormat format, int first, int end, int prefetchEnd)
{
    public KvPageFormat Format => format;

    public int First => first;

    public int End => end;

    /// <summary>Whether this is the block of columns that fetches what comes next.</summary>
    public bool Prefetches => prefetchEnd != 0;

    /// <summary>First slot rounded down to a key tile: index 0 of scores, weights and masks.</summary>
    public int Aligned => first & -KvPageFormat.TileSlots;

    /// <summary>Slots from <see cref="Aligned"/> on, rounded up to whole tiles.</summary>
    public int AlignedCount => (end - Aligned + KvPageFormat.TileSlots - 1) & -KvPageFormat.TileSlots;

    /// <summary>What to fetch from memory while this run is worked on, from <paramref name="offset"/> bytes on.</summary>
    public AttentionAhead Ahead(int offset) => new(this, offset, prefetchEnd);

    /// <summary>Slot behind the last of the run in the page of <paramref name="slot"/>.</summary>
    public int PageEnd(int slot) => Math.Min(end, (slot | (format.SlotsPerPage - 1)) + 1);

    public byte* Page(int slot) => pool + (long)pages[slot >> format.PageShift] * format.PageBytes;

    /// <summary>The key tile that holds <paramref name="slot"/>.</summary>
    public byte* KeyTile(int slot) => Page(slot) + (long)((slot & (format.SlotsPerPage - 1)) / KvPageFormat.TileSlots) * format.KeyTileBytes;

    /// <summary>Scales of the keys from <paramref name="slot"/>, the first of a tile, on. // [16]</summary>
    public float* KeyScales(int slot) => (float*)(Page(slot) + format.KeyScaleOffset) + (slot & (format.SlotsPerPage - 1));

    /// <summary>Scales of the values, likewise. // [16]</summary>
    public float* ValueScales(int slot) => (float*)(Page(slot) + format.ValueScaleOffset) + (slot & (format.SlotsPerPage - 1));

    /// <summary>The value row of <paramref name="slot"/>.</summary>
    public byte* ValueRow(int slot) => Page(slot) + format.ValueOffset + (long)(slot & (format.SlotsPerPage - 1)) * format.ValueRowBytes;
}

/// <summary>
/// Bytes of keys and values to fetch while a run is worked on, as one stream that goes through the pages one chunk further on in the order of memory:
/// long sequential streams are what the machine's own prefetchers follow.
/// </summary>
internal unsafe ref struct AttentionAhead
{
    private readonly AttentionSlots _slots;
    private readonly int _end; // slot behind the last that is worth fetching
    private int _slot;         // first of the page
    private int _offset;       // in the page

    public AttentionAhead(scoped in AttentionSlots slots, int offset, int end)
    {
        _slots = slots;
        _end = end;
        _slot = slots.Aligned + CpuAttention.ChunkPositions;
        if (_slot >= end) return;
        int page = offset / slots.Format.PositionOffset;
        _slot += page * slots.Format.SlotsPerPage;
        _offset = offset - page * slots.Format.PositionOffset;
    }

    /// <summary>Where the stream stands, or null behind the last page; then moves on by <paramref name="bytes"/>.</summary>
    public byte* Next(int bytes)
    {
        if (_slot >= _end) return null;
        byte* ahead = _slots.Page(_slot) + _offset;
        _offset += bytes;
        while (_offset >= _slots.Format.PositionOffset)
        {
            _offset -= _slots.Format.PositionOffset;
            _slot += _slots.Format.SlotsPerPage;
        }

        return ahead;
    }
}
