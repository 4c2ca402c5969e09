namespace Foretoken.KvCache;

/// <summary>
/// Keeps the first four tokens and the last <paramref name="tokens"/> − 4, a row's own among them; keys keep their positions
/// (StreamingLLM, Xiao et al. 2023, arXiv 2309.17453).
/// </summary>
public sealed class SinksPolicy(int tokens) : IEvictionPolicy
{
    /// <summary>Tokens at the beginning that stay.</summary>
    public const int Sinks = 4;

    /// <inheritdoc/>
    public string Name => "sinks";

    /// <inheritdoc/>
    public bool Evicts => true;

    /// <summary>Tokens that are seen: the first ones of the sequence and the newest.</summary>
    public int Tokens { get; } = tokens > Sinks
        ? tokens
        : throw new ArgumentOutOfRangeException(nameof(tokens), tokens, $"A budget with sinks holds more than {Sinks} tokens.");

    /// <inheritdoc/>
    public int ExpireOf(int layer, int kvHead, int position) =>
        position < Sinks ? int.MaxValue : (int)Math.Min((long)position + Tokens - Sinks - 1, int.MaxValue);
}
