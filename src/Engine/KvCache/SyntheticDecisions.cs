using Foretoken.Numerics;

namespace Foretoken.KvCache;

/// <summary>Decisions drawn at a set rate, each a function of (seed, layer, KV head, position, token): for tests and for measuring speed and memory.</summary>
/// <param name="seed">Seed.</param>
/// <param name="rate">Share of tokens that are evicted, 0..1. A compression of c takes 1 − 1/c.</param>
public sealed class SyntheticDecisions(ulong seed, double rate) : IDmsDecisionSource
{
    /// <summary>Share of tokens that are evicted, 0..1.</summary>
    public double Rate { get; } = rate is >= 0 and <= 1 ? rate : throw new ArgumentOutOfRangeException(nameof(rate), rate, "A rate lies between 0 and 1.");

    /// <inheritdoc/>
    public string PolicyName => "dms-random";

    /// <summary>The decisions whose survivors are one in <paramref name="compression"/> tokens.</summary>
    public static SyntheticDecisions ForCompression(ulong seed, double compression) => new(seed, 1 - 1 / compression);

    /// <inheritdoc/>
    public bool Evicts(int layer, int kvHead, int position, int token) =>
        CounterRandom.Uniform(seed, (ulong)(uint)token << 32 | (uint)position, (uint)(layer << 16 | kvHead)) < Rate;
}
