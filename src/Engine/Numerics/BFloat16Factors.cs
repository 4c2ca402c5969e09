using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Numerics;

/// <summary>
/// Values rounded to bfloat16 whose products can be summed in f32 without ever meeting a denormal number: magnitudes below 2^−50 become zero. What is
/// left is a multiple of 2^−57, products are multiples of 2^−114, and so is every sum of them. So instructions that flush denormals give the bits of those that do not.
/// </summary>
internal static class BFloat16Factors
{
    /// <summary>2^−50 as bfloat16.</summary>
    private const ushort Least = (127 - 50) << 7;

    /// <summary>Rounds elementwise to nearest, ties to even; <paramref name="destination"/> is at least as long.</summary>
    public static void Round(ReadOnlySpan<float> source, Span<ushort> destination)
    {
        destination = destination[..source.Length];
        BFloat16Bits.FromSingle(source, destination);
        Span<Vector256<ushort>> vectors = MemoryMarshal.Cast<ushort, Vector256<ushort>>(destination);
        Vector256<ushort> magnitude = Vector256.Create((ushort)0x7FFF), least = Vector256.Create(Least);
        foreach (ref Vector256<ushort> v in vectors) v = Vector256.AndNot(v, Vector256.LessThan(v & magnitude, least));
        foreach (ref ushort bits in destination[(vectors.Length * Vector256<ushort>.Count)..])
        {
            if ((bits & 0x7FFF) < Least) bits = 0;
        }
    }
}
