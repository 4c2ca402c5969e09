using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Integer panels by portable 128-bit operations. A product u8 · s8 with |s8| ≤ 127 fits 16 bits (at most 32,385), so pairs are multiplied in 16-bit lanes
/// and then widened and added in the 32-bit lane of their feature.
/// </summary>
internal readonly unsafe struct IntegerPortableKernel<TFormat> : IPanelKernel
    where TFormat : struct, IIntegerFormat
{
    public static int MaxRows => 1;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Run(in PanelTile tile, int rows)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch, a = tile.Activations;
        float* sums = tile.Sums;
        Vector128<float> f0 = Vector128.Load(sums), f1 = Vector128.Load(sums + 4), f2 = Vector128.Load(sums + 8), f3 = Vector128.Load(sums + 12);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, (int)tile.PrefetchBytes);
            prefetch += tile.PrefetchBytes;
            for (int half = TFormat.HasHalves ? 0 : 1; half < 2; half++) // without halves all lines belong to the second
            {
                Vector128<int> c0 = Start(a, TFormat.HasHalves ? half : 0), c1 = c0, c2 = c0, c3 = c0;
                for (int line = TFormat.HasHalves ? 4 * half : 0; line < 4 * half + 4; line++)
                {
                    Vector128<short> bytes = Vector128.Create(*(int*)(a + 4 * line)).AsInt16();
                    Vector128<short> even = (bytes << 8) >> 8, odd = bytes >> 8; // sign-extended elements (0, 2) and (1, 3)
                    c0 += Multiply(TFormat.LoadQuarter(w, line, 0), even, odd);
                    c1 += Multiply(TFormat.LoadQuarter(w, line, 1), even, odd);
                    c2 += Multiply(TFormat.LoadQuarter(w, line, 2), even, odd);
                    c3 += Multiply(TFormat.LoadQuarter(w, line, 3), even, odd);
                }

                Vector128<float> scale = Vector128.Create(*(float*)(a + ActivationBlock.ScaleOffset));
                f0 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c0), TFormat.LoadScales(tile.Scales, step, half, 0) * scale, f0);
                f1 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c1), TFormat.LoadScales(tile.Scales, step, half, 1) * scale, f1);
                f2 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c2), TFormat.LoadScales(tile.Scales, step, half, 2) * scale, f2);
                f3 = Vector128.FusedMultiplyAdd(Vector128.ConvertToSingle(c3), TFormat.LoadScales(tile.Scales, step, half, 3) * scale, f3);
            }

            if (TFormat.HasMinimum)
            {
                Vector128<float> sum = Vector128.Create(*(float*)(a + ActivationBlock.CorrectionOffset));
                f0 = Vector128.FusedMultiplyAdd(TFormat.LoadMinimums(tile.Scales, step, 0), sum, f0);
                f1 = Vector128.FusedMultiplyAdd(TFormat.LoadMinimums(tile.Scales, step, 1), sum, f1);
                f2 = Vector128.FusedMultiplyAdd(TFormat.LoadMinimums(tile.Scales, step, 2), sum, f2);
                f3 = Vector128.FusedMultiplyAdd(TFormat.LoadMinimums(tile.Scales, step, 3), sum, f3);
            }

            w += TFormat.StepBytes;
            a += ActivationBlock.BytesOf(TFormat.HasHalves);
        }

        f0.Store(sums);
        f1.Store(sums + 4);
        f2.Store(sums + 8);
        f3.Store(sums + 12);
        return 1;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Start(byte* block, int half) =>
        TFormat.HasMinimum ? Vector128<int>.Zero : Vector128.Create(*(int*)(block + ActivationBlock.CorrectionOffset + 4 * half));

    /// <summary>Sums of four products for each of four features.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Multiply(Vector128<byte> w, Vector128<short> even, Vector128<short> odd)
    {
        Vector128<ushort> bytes = w.AsUInt16();
        Vector128<int> p = ((bytes & Vector128.Create((ushort)0xFF)).AsInt16() * even).AsInt32();
        Vector128<int> q = ((bytes >>> 8).AsInt16() * odd).AsInt32();
        return (((p << 16) >> 16) + (p >> 16)) + (((q << 16) >> 16) + (q >> 16));
    }
}
