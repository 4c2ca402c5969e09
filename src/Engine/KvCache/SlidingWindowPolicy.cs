namespace Foretoken.KvCache;

/// <summary>Keeps the last <paramref name="tokens"/> tokens, a row's own among them.</summary>
public sealed class SlidingWindowPolicy(int tokens) : IEvictionPolicy
{
    /// <inheritdoc/>
    public string Name => "window";

    /// <inheritdoc/>
    public bool Evicts => true;

    /// <summary>Newest tokens that are seen.</summary>
    public int Tokens { get; } = tokens >= 1 ? tokens : throw new ArgumentOutOfRangeException(nameof(tokens), tokens, "A window holds at least one token.");

    /// <inheritdoc/>
    public int ExpireOf(int layer, int kvHead, int position) => (int)Math.Min((long)position + Tokens - 1, int.MaxValue);
}
