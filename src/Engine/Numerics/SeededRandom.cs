namespace Foretoken.Numerics;

/// <summary>
/// A sequential generator over <see cref="CounterRandom"/>: (seed, stream) names a reproducible sequence, the n-th draw is
/// <c>CounterRandom.Bits(seed, stream, n)</c>. For data generation, initialisation and tests; sampling uses <see cref="CounterRandom"/> directly.
/// </summary>
public sealed class SeededRandom(ulong seed, ulong stream = 0)
{
    private uint _draw;

    /// <summary>64 random bits.</summary>
    public ulong NextBits() => CounterRandom.Bits(seed, stream, _draw++);

    /// <summary>A double in [0, 1).</summary>
    public double NextDouble() => (NextBits() >> 11) * (1.0 / (1UL << 53));

    /// <summary>An integer in [<paramref name="minimum"/>, <paramref name="maximumExclusive"/>).</summary>
    public int Next(int minimum, int maximumExclusive)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(maximumExclusive, minimum);
        return minimum + (int)Math.BigMul(NextBits(), (ulong)((long)maximumExclusive - minimum), out _);
    }

    /// <summary>An integer in [0, <paramref name="count"/>).</summary>
    public int Next(int count) => Next(0, count);

    /// <summary>True with probability <paramref name="probability"/>.</summary>
    public bool Chance(double probability) => NextDouble() < probability;

    /// <summary>One element, uniformly.</summary>
    public T Pick<T>(IReadOnlyList<T> items) => items[Next(items.Count)];

    /// <summary>Fisher–Yates shuffle in place.</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = Next(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }

    /// <summary>A standard normal number (Box–Muller).</summary>
    public double NextGaussian()
    {
        double u = 1.0 - NextDouble(), v = NextDouble();
        return Math.Sqrt(-2.0 * Math.Log(u)) * Math.Cos(2.0 * Math.PI * v);
    }
}
