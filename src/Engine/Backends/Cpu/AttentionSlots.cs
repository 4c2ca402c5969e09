namespace Foretoken.Backends.Cpu;

/// <summary>A run of slots of one head, as the kernels see it.</summary>
internal readonly unsafe struct AttentionSlots(byte* pool, int* pages, KvPageFormat format, int first, int end, int prefetchEnd)
{
    public KvPageFormat Format => format;

    public int First => first;

    public int End => end;

    /// <summary>First slot rounded down to a key tile: index 0 of scores, weights and masks.</summary>
    public int Aligned => first & -KvPageFormat.TileSlots;

    /// <summary>Slots from <see cref="Aligned"/> on, rounded up to whole tiles.</summary>
    public int AlignedCount => (end - Aligned + KvPageFormat.TileSlots - 1) & -KvPageFormat.TileSlots;

    /// <summary>
    /// Bytes of keys and values to fetch while this run is worked on, as one stream that goes through the pages one chunk further on in the order of
    /// memory: long sequential streams are what the machine's own prefetchers follow. Null behind the last page.
    /// </summary>
    /// <param name="offset">Offset in the stream.</param>
    public byte* Ahead(int offset)
    {
        int slot = Aligned + CpuAttention.ChunkPositions + offset / format.PositionOffset * format.SlotsPerPage;
        return slot < prefetchEnd ? Page(slot) + offset % format.PositionOffset : null;
    }

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
