using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// 8-bit panels on 256-bit machines without VNNI. <c>vpmaddubsw</c> would saturate for 8-bit weights, so bytes are widened to 16 bits first: in the
/// 32-bit lane of a feature, elements 0 and 2 are masked out as one pair and 1 and 3 shifted down as another, and <c>vpmaddwd</c> multiplies and
/// adds each pair exactly. Same contract as <see cref="Int8VnniKernel"/>, so the same bits.
/// </summary>
internal readonly unsafe struct Int8Avx2Kernel : IPanelKernel
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
        byte* w = tile.Weights, s = tile.Scales, prefetch = tile.Prefetch, a = tile.Activations;
        int prefetchBytes = tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low = Vector256.Load(sums), high = Vector256.Load(sums + 8);
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x = Vector256.Create(*(int*)(a + Int8Quantizer.CorrectionOffset)), y = x;
            for (int line = 0; line < 8; line++)
            {
                LoadLine(w + 64 * line, out Vector256<short> xEven, out Vector256<short> xOdd, out Vector256<short> yEven, out Vector256<short> yOdd);
                MultiplyLine(a + 4 * line, xEven, xOdd, yEven, yOdd, ref x, ref y);
            }

            HalfScales.Load(s, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            Accumulate(a, scaleLow, scaleHigh, x, y, ref low, ref high);
            w += 512;
            s += 32;
            a += Int8Quantizer.ActivationBlockBytes;
        }

        low.Store(sums);
        high.Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2(in PanelTile tile)
    {
        byte* w = tile.Weights, s = tile.Scales, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations, a1 = a0 + tile.ActivationStride;
        int prefetchBytes = tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        Vector256<float> low1 = Vector256.Load(sums + 16), high1 = Vector256.Load(sums + 24);
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x0 = Vector256.Create(*(int*)(a0 + Int8Quantizer.CorrectionOffset)), y0 = x0;
            Vector256<int> x1 = Vector256.Create(*(int*)(a1 + Int8Quantizer.CorrectionOffset)), y1 = x1;
            for (int line = 0; line < 8; line++)
            {
                LoadLine(w + 64 * line, out Vector256<short> xEven, out Vector256<short> xOdd, out Vector256<short> yEven, out Vector256<short> yOdd);
                MultiplyLine(a0 + 4 * line, xEven, xOdd, yEven, yOdd, ref x0, ref y0);
                MultiplyLine(a1 + 4 * line, xEven, xOdd, yEven, yOdd, ref x1, ref y1);
            }

            HalfScales.Load(s, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            Accumulate(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            Accumulate(a1, scaleLow, scaleHigh, x1, y1, ref low1, ref high1);
            w += 512;
            s += 32;
            a0 += Int8Quantizer.ActivationBlockBytes;
            a1 += Int8Quantizer.ActivationBlockBytes;
        }

        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
    }

    /// <summary>Sixteen features of one line (x: 0..7, y: 8..15) as 16-bit pairs of elements (0, 2) and (1, 3).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadLine(byte* w, out Vector256<short> xEven, out Vector256<short> xOdd, out Vector256<short> yEven, out Vector256<short> yOdd)
    {
        Vector256<ushort> left = Vector256.Load((ushort*)w), right = Vector256.Load((ushort*)w + 16), mask = Vector256.Create((ushort)0xFF);
        xEven = (left & mask).AsInt16();
        xOdd = (left >>> 8).AsInt16();
        yEven = (right & mask).AsInt16();
        yOdd = (right >>> 8).AsInt16();
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(
        byte* block, Vector256<float> scaleLow, Vector256<float> scaleHigh, Vector256<int> x, Vector256<int> y, ref Vector256<float> low, ref Vector256<float> high)
    {
        Vector256<float> scale = Vector256.Create(*(float*)(block + Int8Quantizer.ScaleOffset));
        low = Fma.MultiplyAdd(Avx.ConvertToVector256Single(x), scaleLow * scale, low);
        high = Fma.MultiplyAdd(Avx.ConvertToVector256Single(y), scaleHigh * scale, high);
    }
}
