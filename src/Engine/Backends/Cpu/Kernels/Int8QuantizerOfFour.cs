using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// <see cref="Int8Quantizer.QuantizeActivations"/> for four blocks of activations at a time, with 512-bit vectors: reductions, divisions and corrections of the four
/// share their instructions, so that none waits for the chain of another. The operations on each element are the same, and so are the bits.
/// </summary>
internal static unsafe class Int8QuantizerOfFour
{
    private const byte LowerHalves = 0b01_00_01_00, UpperHalves = 0b11_10_11_10; // 128-bit parts 0, 1 or 2, 3 of both sources
    private const byte EvenParts = 0b10_00_10_00, OddParts = 0b11_01_11_01;      // parts 0, 2 or 1, 3

    /// <param name="row">[128]</param>
    /// <param name="factor">See <see cref="Int8Quantizer.QuantizeActivations"/>.</param>
    /// <param name="offset">Multiplied with the sums of bytes.</param>
    /// <param name="halves">Whether the corrections count the halves of a block apart.</param>
    /// <param name="minimum">Whether the corrections are floats: the negated sums times the scale.</param>
    /// <param name="blocks">[4, <paramref name="blockBytes"/>]</param>
    /// <param name="blockBytes">Bytes from block to block.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Quantize(float* row, float factor, int offset, bool halves, bool minimum, byte* blocks, int blockBytes)
    {
        Vector512<float> a0 = Vector512.Load(row), b0 = Vector512.Load(row + 16), a1 = Vector512.Load(row + 32), b1 = Vector512.Load(row + 48);
        Vector512<float> a2 = Vector512.Load(row + 64), b2 = Vector512.Load(row + 80), a3 = Vector512.Load(row + 96), b3 = Vector512.Load(row + 112);
        Vector512<float> largest = Largest(Magnitude(a0, b0), Magnitude(a1, b1), Magnitude(a2, b2), Magnitude(a3, b3)); // a block in each part
        Vector512<float> counts = ~Vector512.LessThan(largest, Vector512.Create(Int8Quantizer.ZeroBelow)), limit = Vector512.Create(127f);
        Vector512<float> inverse = limit / largest & counts, scale = largest / limit * Vector512.Create(factor) & counts;
        Round(ref a0, ref b0, Avx512F.Shuffle4x128(inverse, inverse, 0b00_00_00_00), blocks);
        Round(ref a1, ref b1, Avx512F.Shuffle4x128(inverse, inverse, 0b01_01_01_01), blocks + blockBytes);
        Round(ref a2, ref b2, Avx512F.Shuffle4x128(inverse, inverse, 0b10_10_10_10), blocks + 2 * blockBytes);
        Round(ref a3, ref b3, Avx512F.Shuffle4x128(inverse, inverse, 0b11_11_11_11), blocks + 3 * blockBytes);
        Store(scale.AsInt32(), blocks + ActivationBlock.ScaleOffset, blockBytes);
        if (halves)
        {
            StoreSums(Sums(a0, a1, a2, a3), offset, blocks + ActivationBlock.CorrectionOffset, blockBytes);
            StoreSums(Sums(b0, b1, b2, b3), offset, blocks + ActivationBlock.CorrectionOffset + sizeof(int), blockBytes);
            return;
        }

        Vector512<float> sums = Sums(a0 + b0, a1 + b1, a2 + b2, a3 + b3); // small integers: exact in any order
        if (minimum) Store((scale * sums ^ Vector512.Create(-0f)).AsInt32(), blocks + ActivationBlock.CorrectionOffset, blockBytes);
        else StoreSums(sums, offset, blocks + ActivationBlock.CorrectionOffset, blockBytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Magnitude(Vector512<float> a, Vector512<float> b) => Avx512F.Max(Vector512.Abs(a), Vector512.Abs(b));

    /// <summary>The largest lane of each of four vectors, in all lanes of a 128-bit part, by halving; what is not a number wins where <see cref="Lanes.Lanes512.Max"/> says so.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Largest(Vector512<float> m0, Vector512<float> m1, Vector512<float> m2, Vector512<float> m3)
    {
        Vector512<float> m01 = Avx512F.Max(Avx512F.Shuffle4x128(m0, m1, LowerHalves), Avx512F.Shuffle4x128(m0, m1, UpperHalves));
        Vector512<float> m23 = Avx512F.Max(Avx512F.Shuffle4x128(m2, m3, LowerHalves), Avx512F.Shuffle4x128(m2, m3, UpperHalves));
        Vector512<int> m = Avx512F.Max(Avx512F.Shuffle4x128(m01, m23, EvenParts), Avx512F.Shuffle4x128(m01, m23, OddParts)).AsInt32();
        m = Avx512F.Max(m, Avx512F.Shuffle(m, 0b01_00_11_10)); // magnitudes compare as integers, NaN above all
        return Avx512F.Max(m, Avx512F.Shuffle(m, 0b10_11_00_01)).AsSingle();
    }

    /// <summary>The sums of the lanes of four vectors, laid out likewise.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Sums(Vector512<float> s0, Vector512<float> s1, Vector512<float> s2, Vector512<float> s3)
    {
        Vector512<float> s01 = Avx512F.Shuffle4x128(s0, s1, LowerHalves) + Avx512F.Shuffle4x128(s0, s1, UpperHalves);
        Vector512<float> s23 = Avx512F.Shuffle4x128(s2, s3, LowerHalves) + Avx512F.Shuffle4x128(s2, s3, UpperHalves);
        Vector512<float> s = Avx512F.Shuffle4x128(s01, s23, EvenParts) + Avx512F.Shuffle4x128(s01, s23, OddParts);
        s += Avx512F.Shuffle(s.AsInt32(), 0b01_00_11_10).AsSingle();
        return s + Avx512F.Shuffle(s.AsInt32(), 0b10_11_00_01).AsSingle();
    }

    /// <summary>Rounds a block to integers and stores them as bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Round(ref Vector512<float> a, ref Vector512<float> b, Vector512<float> inverse, byte* bytes)
    {
        Vector512<float> rounder = Vector512.Create(Int8Quantizer.Rounder);
        a = (a * inverse + rounder) - rounder;
        b = (b * inverse + rounder) - rounder;
        Avx512F.ConvertToVector128SByte(Avx512F.ConvertToVector512Int32(a)).Store((sbyte*)bytes);
        Avx512F.ConvertToVector128SByte(Avx512F.ConvertToVector512Int32(b)).Store((sbyte*)bytes + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreSums(Vector512<float> sums, int offset, byte* to, int step) =>
        Store(Vector512.ConvertToInt32(sums) * Vector512.Create(offset), to, step);

    /// <summary>Stores a lane of each 128-bit part.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<int> v, byte* to, int step)
    {
        *(int*)to = v.ToScalar();
        *(int*)(to + step) = Avx512F.ExtractVector128(v, 1).ToScalar();
        *(int*)(to + 2 * step) = Avx512F.ExtractVector128(v, 2).ToScalar();
        *(int*)(to + 3 * step) = Avx512F.ExtractVector128(v, 3).ToScalar();
    }
}
