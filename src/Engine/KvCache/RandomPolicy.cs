using Foretoken.Numerics;

namespace Foretoken.KvCache;

/// <summary>
/// The floor that other policies are measured against: every token outlives a window with a fixed chance, drawn from (seed, layer, KV head, position).
/// </summary>
/// <param name="keep">Share of tokens that stay for ever, 0..1.</param>
/// <param name="window">Positions that every token stays visible behind itself, as in <see cref="DmsPolicy"/>.</param>
/// <param name="seed">Seed.</param>
public sealed class RandomPolicy(double keep, int window, ulong seed) : IEvictionPolicy
{
    /// <inheritdoc/>
    public string Name => "random";

    /// <inheritdoc/>
    public bool Evicts => true;

    /// <summary>Share of tokens that stay for ever, 0..1.</summary>
    public double Keep { get; } = keep is >= 0 and <= 1 ? keep : throw new ArgumentOutOfRangeException(nameof(keep), keep, "A share lies between 0 and 1.");

    /// <summary>Positions that every token stays visible behind itself.</summary>
    public int Window { get; } = window >= 1 ? window : throw new ArgumentOutOfRangeException(nameof(window), window, "The window is at least 1.");

    /// <inheritdoc/>
    public int ExpireOf(int layer, int kvHead, int position) =>
        CounterRandom.Uniform(seed, (ulong)position, (uint)(layer << 16 | kvHead)) < Keep ? int.MaxValue : (int)Math.Min((long)position + Window, int.MaxValue);
}
