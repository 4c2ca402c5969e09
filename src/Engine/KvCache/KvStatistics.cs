namespace Foretoken.KvCache;

/// <summary>What the cache holds at this moment.</summary>
public readonly record struct KvStatistics
{
    /// <summary>Sequences that are acquired.</summary>
    public required int Sequences { get; init; }

    public required int PageBytes { get; init; }

    public required int PagesTotal { get; init; }

    /// <summary>Pages that no slot table holds.</summary>
    public required int PagesFree { get; init; }

    /// <summary>Pages that sequences may come to hold by their reservations; those they hold are among them.</summary>
    public required int PagesReserved { get; init; }

    /// <summary>Most bytes held at a time since the cache was made.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>Committed tokens of all sequences.</summary>
    public required long Tokens { get; init; }

    /// <summary>Committed slots over all sequences, layers and KV heads: what is left of the tokens after eviction.</summary>
    public required long LiveSlots { get; init; }

    /// <summary>(layer, KV head) pairs of one sequence.</summary>
    public required int Heads { get; init; }

    /// <summary>Bytes of the pages that slot tables hold.</summary>
    public long BytesHeld => (long)(PagesTotal - PagesFree) * PageBytes;

    /// <summary>Live tokens of the mean (sequence, layer, KV head).</summary>
    public double LiveTokensPerHead => Sequences == 0 ? 0 : (double)LiveSlots / ((long)Sequences * Heads);

    /// <summary>Tokens per live slot; 1 = nothing evicted.</summary>
    public double EffectiveCompression => LiveSlots == 0 ? 1 : (double)Tokens * Heads / LiveSlots;
}
