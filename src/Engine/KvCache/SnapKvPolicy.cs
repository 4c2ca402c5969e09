using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>
/// At the end of a prompt keeps per KV head <paramref name="tokens"/> tokens: the last 64 (half of the budget if that is less) and, of the others, those that the
/// last queries gave most attention, pooled over five neighbours (SnapKV, Li et al. 2024, arXiv 2404.14469). What is generated stays. The queries are the last
/// 64; where the prompt's last pass is shorter, those of the pass before it join.
/// </summary>
public sealed class SnapKvPolicy(int tokens) : IEvictionPolicy
{
    /// <summary>Queries whose attention counts, and last tokens that stay.</summary>
    public const int Window = 64;

    /// <summary>Neighbours over which attention is averaged.</summary>
    public const int Pool = 5;

    /// <inheritdoc/>
    public string Name => "snapkv";

    /// <inheritdoc/>
    public bool Evicts => true;

    /// <inheritdoc/>
    public bool ActsAtCommit => true;

    /// <inheritdoc/>
    public AttentionObservation Observation { get; } = new(Rows: Window, Keeps: false, PerLayer: false);

    /// <summary>Tokens of a head that stay of a prompt, the last <see cref="Window"/> among them.</summary>
    public int Tokens { get; } = tokens >= 2 ? tokens : throw new ArgumentOutOfRangeException(nameof(tokens), tokens, "A budget holds at least 2 tokens.");

    /// <inheritdoc/>
    public void OnCommit(in CommittedHead head)
    {
        if (!head.EndsPrompt || head.Count <= Tokens) return;
        head.PoolScores(Pool);
        head.EvictLowest(Tokens, keptRecent: Math.Min(Window, Tokens - Tokens / 2));
    }
}
