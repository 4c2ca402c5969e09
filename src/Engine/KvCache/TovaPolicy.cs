using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>
/// Keeps <paramref name="tokens"/> tokens per layer: over the budget, those go to which the last query gave the least attention, averaged over the layer's
/// heads (TOVA, Oren et al. 2024, arXiv 2401.06104). After a prompt chunk several go at once.
/// </summary>
public sealed class TovaPolicy(int tokens) : IEvictionPolicy
{
    /// <inheritdoc/>
    public string Name => "tova";

    /// <inheritdoc/>
    public bool Evicts => true;

    /// <inheritdoc/>
    public bool ActsAtCommit => true;

    /// <inheritdoc/>
    public AttentionObservation Observation { get; } = new(Rows: 1, Keeps: false, PerLayer: true);

    /// <summary>Tokens of a head that stay after a commit.</summary>
    public int Tokens { get; } = tokens >= 2 ? tokens : throw new ArgumentOutOfRangeException(nameof(tokens), tokens, "A budget holds at least 2 tokens.");

    /// <inheritdoc/>
    public void OnCommit(in CommittedHead head) => head.EvictLowest(Tokens, keptRecent: 1);
}
