using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// 8-bit panels by portable 128-bit operations. A product u8 · s8 with |s8| ≤ 127 fits 16 bits (at most 32,385), so pairs are multiplied in 16-bit lanes
/// and then widened and added in the 32-bit lane of their feature. Same contract as <see cref="Int8VnniKernel"/>, so the same bits.
/// </summary>
internal readonly unsafe struct Int8PortableKernel : IPanelKernel
{
    public static int MaxRows => 1;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Run(in PanelTile tile, int rows)
    {
        byte* w = tile.Weights, s = tile.Scales, prefetch = tile.Prefetch, a = tile.Activations;
        int prefetchBytes = tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector128<float> f0 = Vector128.Load(sums), f1 = Vector128.Load(sums + 4), f2 = Vector128.Load(sums + 8), f3 = Vector128.Load(sums + 12);
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector128<int> c0 = Vector128.Create(*(int*)(a + Int8Quantizer.CorrectionOffset)), c1 = c0, c2 = c0, c3 = c0;
            for (int line = 0; line < 8; line++)
            {
                Vector128<short> bytes = Vector128.Create(*(int*)(a + 4 * line)).AsInt16();
                Vector128<short> even = (bytes << 8) >> 8, odd = bytes >> 8; // sign-extended elements (0, 2) and (1, 3)
                byte* l = w + 64 * line;
                c0 += Multiply(l, even, odd);
                c1 += Multiply(l + 16, even, odd);
                c2 += Multiply(l + 32, even, odd);
                c3 += Multiply(l + 48, even, odd);
            }

            Vector128<float> scale = Vector128.Create(*(float*)(a + Int8Quantizer.ScaleOffset));
            f0 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c0), HalfScales.LoadFour(s, 0) * scale, f0);
            f1 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c1), HalfScales.LoadFour(s, 4) * scale, f1);
            f2 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c2), HalfScales.LoadFour(s, 8) * scale, f2);
            f3 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c3), HalfScales.LoadFour(s, 12) * scale, f3);
            w += 512;
            s += 32;
            a += Int8Quantizer.ActivationBlockBytes;
        }

        f0.Store(sums);
        f1.Store(sums + 4);
        f2.Store(sums + 8);
        f3.Store(sums + 12);
        return 1;
    }

    /// <summary>Sums of four products for each of four features.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Multiply(byte* w, Vector128<short> even, Vector128<short> odd)
    {
        Vector128<ushort> bytes = Vector128.Load((ushort*)w);
        Vector128<int> p = ((bytes & Vector128.Create((ushort)0xFF)).AsInt16() * even).AsInt32();
        Vector128<int> q = ((bytes >>> 8).AsInt16() * odd).AsInt32();
        return (((p << 16) >> 16) + (p >> 16)) + (((q << 16) >> 16) + (q >> 16));
    }
}
