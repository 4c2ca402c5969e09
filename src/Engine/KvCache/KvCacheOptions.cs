using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>What a <see cref="PagedKvCache"/> is built for; everything is allocated from it at load.</summary>
public sealed record KvCacheOptions
{
    /// <summary>Layers, heads and type of keys and values, and the size of pages.</summary>
    public required KvLayout Layout { get; init; }

    /// <summary>Sequences that live at a time.</summary>
    public required int MaxSequences { get; init; }

    /// <summary>Longest sequence, in committed tokens.</summary>
    public required int MaxTokensPerSequence { get; init; }

    /// <summary>Most rows that one sequence brings to a pass (its slack slots): a prompt chunk or a tree.</summary>
    public required int MaxRowsPerSequence { get; init; }

    /// <summary>Bytes of the page pool. <see cref="PagedKvCache.BytesFor"/> tells what a number of sequences and tokens needs.</summary>
    public required long BudgetBytes { get; init; }

    /// <summary>How long tokens are seen; dense unless set.</summary>
    public IEvictionPolicy Policy { get; init; } = new DensePolicy();

    /// <summary>Holds keys and values outside host memory, where the backend computes; null = the cache holds them itself.</summary>
    public IKvStore? Store { get; init; }

    /// <summary>
    /// Expired slots of a head that wait at least before its survivors are moved together. Waiting saves moves and holds memory; it changes no result.
    /// Pages of expired slots only go back at once.
    /// </summary>
    public int ReclaimBatch { get; init; } = 8;

    /// <summary>Most prefixes that are stored for later requests; 0 = none.</summary>
    public int MaxPrefixes { get; init; }
}
