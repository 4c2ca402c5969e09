using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Numerics;

/// <summary>IEEE halves as bits: 1 sign, 5 exponent, 10 mantissa bits.</summary>
internal static class HalfBits
{
    private const float Largest = 65504f;

    /// <summary>1/2 as bits: a magnitude below 2^−14 added to it is rounded to the multiples of 2^−24 that denormal halves are.</summary>
    private const uint DenormalRounder = 126u << 23;

    /// <summary>2^−14, the least half that is not denormal, as the bits of an f32.</summary>
    private const uint LeastNormal = 113u << 23;

    /// <summary>Rounds elementwise to nearest, ties to even, what is beyond the largest half to that one; NaN stays NaN. <paramref name="destination"/> is at least as long.</summary>
    public static void FromSingle(ReadOnlySpan<float> source, Span<ushort> destination)
    {
        destination = destination[..source.Length];
        int i = 0;
        for (; i + Vector256<ushort>.Count <= source.Length; i += Vector256<ushort>.Count)
        {
            Vector256<float> low = Vector256.Create(source[i..]), high = Vector256.Create(source[(i + Vector256<float>.Count)..]);
            if (!Vector256.EqualsAll(low, low) || !Vector256.EqualsAll(high, high)) break;
            Vector256.Narrow(Round(low), Round(high)).CopyTo(destination[i..]);
        }

        for (; i < source.Length; i++) destination[i] = BitConverter.HalfToUInt16Bits((Half)Math.Clamp(source[i], -Largest, Largest));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> Round(Vector256<float> x)
    {
        Vector256<uint> sign = x.AsUInt32() & Vector256.Create(0x80000000u);
        Vector256<uint> magnitude = Vector256.MinNative(Vector256.Abs(x), Vector256.Create(Largest)).AsUInt32(), odd = (magnitude >>> 13) & Vector256<uint>.One;
        Vector256<uint> normal = (magnitude + Vector256.Create(unchecked(0xFFFu - ((127u - 15u) << 23))) + odd) >>> 13; // the exponent's bias is smaller by 112
        Vector256<uint> denormal = (magnitude.AsSingle() + Vector256.Create(DenormalRounder).AsSingle()).AsUInt32() - Vector256.Create(DenormalRounder);
        return Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(LeastNormal)), denormal, normal) | (sign >>> 16);
    }
}
