using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>
/// Keeps per KV head the most recent half of <paramref name="tokens"/> tokens and, of the others, those that all queries so far together gave most
/// attention (H2O, Zhang et al. 2023, arXiv 2306.14048).
/// </summary>
public sealed class H2oPolicy(int tokens) : IEvictionPolicy
{
    /// <inheritdoc/>
    public string Name => "h2o";

    /// <inheritdoc/>
    public bool Evicts => true;

    /// <inheritdoc/>
    public bool ActsAtCommit => true;

    /// <inheritdoc/>
    public AttentionObservation Observation { get; } = new(Rows: 0, Keeps: true, PerLayer: false);

    /// <summary>Tokens of a head that stay after a commit, half of them the newest.</summary>
    public int Tokens { get; } = tokens >= 2 ? tokens : throw new ArgumentOutOfRangeException(nameof(tokens), tokens, "A budget holds at least 2 tokens.");

    /// <inheritdoc/>
    public void OnCommit(in CommittedHead head) => head.EvictLowest(Tokens, keptRecent: Tokens - Tokens / 2);
}
