namespace Foretoken.Numerics;

/// <summary>
/// Counter-based random numbers: every draw is a pure function of (seed, position, draw index), so that sampling does not depend on
/// how tokens were batched, drafted or recomputed. Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
/// </summary>
public static class CounterRandom
{
    private const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57;
    private const uint Weyl0 = 0x9E3779B9, Weyl1 = 0xBB67AE85;

    /// <summary>64 uniformly distributed bits for (<paramref name="seed"/>, <paramref name="position"/>, <paramref name="draw"/>).</summary>
    public static ulong Bits(ulong seed, ulong position, uint draw = 0)
    {
        uint c0 = (uint)position, c1 = (uint)(position >> 32), c2 = draw, c3 = 0;
        uint k0 = (uint)seed, k1 = (uint)(seed >> 32);
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = (ulong)Multiplier0 * c0, p1 = (ulong)Multiplier1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += Weyl0;
            k1 += Weyl1;
        }
        return c0 | (ulong)c1 << 32;
    }

    /// <summary>A double in [0, 1) with 53 random bits.</summary>
    public static double Uniform(ulong seed, ulong position, uint draw = 0) => (Bits(seed, position, draw) >> 11) * (1.0 / (1UL << 53));
}
