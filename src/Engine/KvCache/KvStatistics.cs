namespace Foretoken.KvCache;

/// <summary>What the cache holds at this moment, and what it has done so far.</summary>
public readonly record struct KvStatistics
{
    /// <summary>Name of the eviction policy.</summary>
    public required string Policy { get; init; }

    /// <summary>Sequences that are acquired.</summary>
    public required int Sequences { get; init; }

    /// <summary>Bytes of a page.</summary>
    public required int PageBytes { get; init; }

    /// <summary>Pages of the pool.</summary>
    public required int PagesTotal { get; init; }

    /// <summary>Pages that no slot table holds.</summary>
    public required int PagesFree { get; init; }

    /// <summary>Pages that running sequences hold; shared ones count once.</summary>
    public required int PagesHeld { get; init; }

    /// <summary>Pages that running sequences may come to hold by their reservations; those they hold are among them.</summary>
    public required int PagesReserved { get; init; }

    /// <summary>Most bytes that running sequences held at a time since the cache was made.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>Committed tokens of all sequences.</summary>
    public required long Tokens { get; init; }

    /// <summary>Slots over all sequences, layers and KV heads that the next rows see: what is left of the tokens after eviction.</summary>
    public required long LiveSlots { get; init; }

    /// <summary>Slots that expired and still wait to be reclaimed.</summary>
    public required long DeadSlots { get; init; }

    /// <summary>(layer, KV head) pairs of one sequence.</summary>
    public required int Heads { get; init; }

    /// <summary>Passes so far.</summary>
    public required long Passes { get; init; }

    /// <summary>Commits so far: one per pass and sequence.</summary>
    public required long Commits { get; init; }

    /// <summary>
    /// Bytes of keys and values that the passes so far attended to, each read once per pass and sequence: by up to 64 rows of a sequence, the whole query group
    /// included. Prompt chunks and trees of more rows read them again for every further 64, which is not counted.
    /// </summary>
    public required long BytesRead { get; init; }

    /// <summary>Tokens that a dense cache would have shown, summed over the commits so far and all heads.</summary>
    public required long DenseVisible { get; init; }

    /// <summary>Tokens that were visible, summed likewise.</summary>
    public required long LiveVisible { get; init; }

    /// <summary>Stored prefixes and what they saved.</summary>
    public required PrefixStatistics Prefixes { get; init; }

    /// <summary>Bytes of the pages that running sequences hold.</summary>
    public long BytesHeld => (long)PagesHeld * PageBytes;

    /// <summary>Bytes of the pages that only stored prefixes hold: they give way when a sequence needs them.</summary>
    public long BytesCached => (long)(PagesTotal - PagesFree - PagesHeld) * PageBytes;

    /// <summary>Live tokens of the mean (sequence, layer, KV head).</summary>
    public double LiveTokensPerHead => Sequences == 0 ? 0 : (double)LiveSlots / ((long)Sequences * Heads);

    /// <summary>Live tokens of the mean KV head after the mean commit so far.</summary>
    public double MeanLiveTokens => Commits == 0 ? 0 : (double)LiveVisible / (Commits * Heads);

    /// <summary>Tokens per live slot at this moment; 1 = nothing evicted.</summary>
    public double PresentCompression => LiveSlots == 0 ? 1 : (double)Tokens * Heads / LiveSlots;

    /// <summary>Σ visible in a dense cache / Σ visible here, over all commits so far: what compression is worth to whole generations.</summary>
    public double EffectiveCompression => LiveVisible == 0 ? 1 : (double)DenseVisible / LiveVisible;
}

/// <summary>What became of prefix reuse so far.</summary>
public readonly record struct PrefixStatistics
{
    /// <summary>Prefixes stored at this moment.</summary>
    public required int Stored { get; init; }

    /// <summary>Prefixes dropped so far, for want of pages or places, or because a longer one served them too.</summary>
    public required long Dropped { get; init; }

    /// <summary>Sequences that began with a stored prefix.</summary>
    public required long Hits { get; init; }

    /// <summary>Tokens that need not be computed.</summary>
    public required long ReusedTokens { get; init; }

    /// <summary>Misses because nothing was stored.</summary>
    public required long MissesEmpty { get; init; }

    /// <summary>Misses because the prompt is not longer than one block.</summary>
    public required long MissesTooShort { get; init; }

    /// <summary>Misses because no stored prefix has the same first block.</summary>
    public required long MissesOtherTokens { get; init; }

    /// <summary>Misses because the tokens do not agree up to a place at which the evicting cache was stored.</summary>
    public required long MissesNoSnapshot { get; init; }

    /// <summary>Misses because the pool had not enough unreserved pages.</summary>
    public required long MissesNoRoom { get; init; }
}
