using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Integer panels on 256-bit machines without VNNI. <c>vpmaddubsw</c> would saturate for 8-bit weights, so bytes are widened to 16 bits first: in the
/// 32-bit lane of a feature, elements 0 and 2 are masked out as one pair and 1 and 3 shifted down as another, and <c>vpmaddwd</c> multiplies and
/// adds each pair exactly.
/// </summary>
internal readonly unsafe struct IntegerAvx2Kernel<TFormat> : IPanelKernel
    where TFormat : struct, IIntegerFormat
{
    public static int MaxRows => 2;

    public static int Run(in PanelTile tile, int rows)
    {
        if (rows >= 2)
        {
            Rows2(tile);
            return 2;
        }

        Rows1(tile);
        return 1;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch, a = tile.Activations;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low = Vector256.Load(sums), high = Vector256.Load(sums + 8);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (int half = TFormat.HasHalves ? 0 : 1; half < 2; half++) // without halves all lines belong to the second
            {
                Vector256<int> x = IntegerSums<TFormat>.Start(a, TFormat.HasHalves ? half : 0), y = x;
                for (int line = TFormat.HasHalves ? 4 * half : 0; line < 4 * half + 4; line++)
                {
                    LoadLine(w, line, out Vector256<short> xEven, out Vector256<short> xOdd, out Vector256<short> yEven, out Vector256<short> yOdd);
                    MultiplyLine(a + 4 * line, xEven, xOdd, yEven, yOdd, ref x, ref y);
                }

                TFormat.LoadScales(tile.Scales, step, half, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
                IntegerSums<TFormat>.Add(a, scaleLow, scaleHigh, x, y, ref low, ref high);
            }

            if (TFormat.HasMinimum)
            {
                TFormat.LoadMinimums(tile.Scales, step, out Vector256<float> minimumLow, out Vector256<float> minimumHigh);
                IntegerSums<TFormat>.AddMinimum(a, minimumLow, minimumHigh, ref low, ref high);
            }

            w += TFormat.StepBytes;
            a += ActivationBlock.BytesOf(TFormat.HasHalves);
        }

        low.Store(sums);
        high.Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations, a1 = a0 + tile.ActivationStride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        Vector256<float> low1 = Vector256.Load(sums + 16), high1 = Vector256.Load(sums + 24);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (int half = TFormat.HasHalves ? 0 : 1; half < 2; half++)
            {
                Vector256<int> x0 = IntegerSums<TFormat>.Start(a0, TFormat.HasHalves ? half : 0), y0 = x0;
                Vector256<int> x1 = IntegerSums<TFormat>.Start(a1, TFormat.HasHalves ? half : 0), y1 = x1;
                for (int line = TFormat.HasHalves ? 4 * half : 0; line < 4 * half + 4; line++)
                {
                    LoadLine(w, line, out Vector256<short> xEven, out Vector256<short> xOdd, out Vector256<short> yEven, out Vector256<short> yOdd);
                    MultiplyLine(a0 + 4 * line, xEven, xOdd, yEven, yOdd, ref x0, ref y0);
                    MultiplyLine(a1 + 4 * line, xEven, xOdd, yEven, yOdd, ref x1, ref y1);
                }

                TFormat.LoadScales(tile.Scales, step, half, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
                IntegerSums<TFormat>.Add(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
                IntegerSums<TFormat>.Add(a1, scaleLow, scaleHigh, x1, y1, ref low1, ref high1);
            }

            if (TFormat.HasMinimum)
            {
                TFormat.LoadMinimums(tile.Scales, step, out Vector256<float> minimumLow, out Vector256<float> minimumHigh);
                IntegerSums<TFormat>.AddMinimum(a0, minimumLow, minimumHigh, ref low0, ref high0);
                IntegerSums<TFormat>.AddMinimum(a1, minimumLow, minimumHigh, ref low1, ref high1);
            }

            w += TFormat.StepBytes;
            a0 += ActivationBlock.BytesOf(TFormat.HasHalves);
            a1 += ActivationBlock.BytesOf(TFormat.HasHalves);
        }

        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
    }

    /// <summary>Sixteen features of one line (x: 0..7, y: 8..15) as 16-bit pairs of elements (0, 2) and (1, 3).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadLine(
        byte* w, int line, out Vector256<short> xEven, out Vector256<short> xOdd, out Vector256<short> yEven, out Vector256<short> yOdd)
    {
        TFormat.LoadLine(w, line, out Vector256<byte> left, out Vector256<byte> right);
        Vector256<ushort> l = left.AsUInt16(), r = right.AsUInt16(), mask = Vector256.Create((ushort)0xFF);
        xEven = (l & mask).AsInt16();
        xOdd = (l >>> 8).AsInt16();
        yEven = (r & mask).AsInt16();
        yOdd = (r >>> 8).AsInt16();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyLine(
        byte* a, Vector256<short> xEven, Vector256<short> xOdd, Vector256<short> yEven, Vector256<short> yOdd, ref Vector256<int> x, ref Vector256<int> y)
    {
        Vector256<short> bytes = Vector256.Create(*(int*)a).AsInt16();
        Vector256<short> even = (bytes << 8) >> 8, odd = bytes >> 8; // sign-extended elements (0, 2) and (1, 3)
        x += Avx2.MultiplyAddAdjacent(xEven, even) + Avx2.MultiplyAddAdjacent(xOdd, odd);
        y += Avx2.MultiplyAddAdjacent(yEven, even) + Avx2.MultiplyAddAdjacent(yOdd, odd);
    }
}
