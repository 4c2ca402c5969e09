using System.Runtime.CompilerServices;

namespace Foretoken.Backends.Cpu;

/// <summary>A run of slots of one head, as the kernels see it.</summary>
internal readonly unsafe struct AttentionSlots(byte* pool, int* pages, KvPageFormat format, int first, int end, AttentionReach reach)
{
    public KvPageFormat Format => format;

    public int First => first;

    public int End => end;

    /// <summary>Whether this is the block of columns that fetches what comes next.</summary>
    public bool Prefetches => reach.End != 0;

    /// <summary>First slot rounded down to a key tile: index 0 of scores, weights and masks.</summary>
    public int Aligned => first & -KvPageFormat.TileSlots;

    /// <summary>Slots from <see cref="Aligned"/> on, rounded up to whole tiles.</summary>
    public int AlignedCount => (end - Aligned + KvPageFormat.TileSlots - 1) & -KvPageFormat.TileSlots;

    /// <summary>What to fetch from memory while this run is worked on, from <paramref name="offset"/> bytes on.</summary>
    public AttentionAhead Ahead(int offset) => new(pool, pages, format, Aligned + CpuAttention.ChunkPositions, offset, reach);

    /// <summary>Slot behind the last of the run in the page of <paramref name="slot"/>.</summary>
    public int PageEnd(int slot) => Math.Min(end, (slot | (format.SlotsPerPage - 1)) + 1);

    /// <summary>Pages that the run touches.</summary>
    public int PageCount => ((end - 1) >> format.PageShift) - (first >> format.PageShift) + 1;

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

/// <summary>How far a unit of work fetches ahead: to the end of its own slots, then into those of the unit that its thread will most likely take next.</summary>
/// <param name="end">Slot behind the unit's last; 0: nothing is fetched.</param>
/// <param name="nextPages">Pages of the next unit, or null.</param>
/// <param name="nextSlot">Its first slot.</param>
/// <param name="nextEnd">Slot behind its last.</param>
internal readonly unsafe struct AttentionReach(int end, int* nextPages, int nextSlot, int nextEnd)
{
    public int End => end;

    public int* NextPages => nextPages;

    public int NextSlot => nextSlot;

    public int NextEnd => nextEnd;
}

/// <summary>
/// Bytes of keys and values to fetch while a run is worked on, as one stream that goes through the pages one chunk further on in the order of memory:
/// long sequential streams are what the machine's own prefetchers follow.
/// </summary>
internal unsafe ref struct AttentionAhead
{
    private readonly byte* _pool;
    private readonly KvPageFormat _format;
    private AttentionReach _reach;
    private int* _pages;
    private int _slot;     // first of the page
    private byte* _at;     // in the page
    private byte* _end;    // of the page's keys, values and scales

    public AttentionAhead(byte* pool, int* pages, KvPageFormat format, int slot, int offset, AttentionReach reach)
    {
        _pool = pool;
        _format = format;
        _reach = reach;
        _pages = pages;
        if (reach.End == 0) return;
        int page = offset / format.PositionOffset;
        _slot = (slot & -format.SlotsPerPage) + page * format.SlotsPerPage;
        Open(offset - page * format.PositionOffset);
    }

    /// <summary>Where the stream stands, or null behind the last page; then moves on by <paramref name="bytes"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* Next(int bytes)
    {
        byte* at = _at;
        _at += bytes;
        if (_at >= _end) Turn();
        return at;
    }

    /// <summary>Goes on in the page in which the stream now stands.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Turn()
    {
        if (_end is null)
        {
            _at = null;
            return;
        }

        int offset = (int)(_at - _end);
        for (_slot += _format.SlotsPerPage; offset >= _format.PositionOffset; offset -= _format.PositionOffset) _slot += _format.SlotsPerPage;
        Open(offset);
    }

    private void Open(int offset)
    {
        _at = _end = null;
        if (_slot >= _reach.End)
        {
            if (_reach.NextPages is null) return;
            int behind = _slot - ((_reach.End + _format.SlotsPerPage - 1) & -_format.SlotsPerPage);
            _slot = (_reach.NextSlot & -_format.SlotsPerPage) + behind;
            _pages = _reach.NextPages;
            _reach = new AttentionReach(_reach.NextEnd, null, 0, 0);
            if (_slot >= _reach.End) return;
        }

        byte* page = _pool + (long)_pages[_slot >> _format.PageShift] * _format.PageBytes;
        _at = page + offset;
        _end = page + _format.PositionOffset;
    }
}
