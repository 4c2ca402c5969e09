using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// 8-bit panels by AVX-VNNI: one instruction adds four products u8 · s8 to each of eight 32-bit lanes. A 64-byte line holds four elements of K for 16
/// features, so two registers; the activations' four bytes are broadcast. Contract of all 8-bit kernels, per step of 32 elements: the exact integer sum c,
/// then sum = fma(float(c), weight scale · activation scale, sum). Encoded with VEX there are 16 registers, which four rows just fill.
/// </summary>
internal readonly unsafe struct Int8VnniKernel : IPanelKernel
{
    public static int MaxRows => 4;

    public static int Run(in PanelTile tile, int rows)
    {
        switch (rows > MaxRows ? TileSplit.First(rows, MaxRows) : rows)
        {
            case 1: Rows1(tile); return 1;
            case 2: Rows2(tile); return 2;
            case 3: Rows3(tile); return 3;
            default: Rows4(tile); return 4;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1(in PanelTile tile)
    {
        byte* w = tile.Weights, s = tile.Scales, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations;
        int prefetchBytes = tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x0 = Vector256.Create(*(int*)(a0 + Int8Quantizer.CorrectionOffset)), y0 = x0;
            Line1(w, a0, ref x0, ref y0);
            Line1(w + 64, a0 + 4, ref x0, ref y0);
            Line1(w + 128, a0 + 8, ref x0, ref y0);
            Line1(w + 192, a0 + 12, ref x0, ref y0);
            Line1(w + 256, a0 + 16, ref x0, ref y0);
            Line1(w + 320, a0 + 20, ref x0, ref y0);
            Line1(w + 384, a0 + 24, ref x0, ref y0);
            Line1(w + 448, a0 + 28, ref x0, ref y0);
            HalfScales.Load(s, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            Accumulate(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            w += 512;
            s += 32;
            a0 += Int8Quantizer.ActivationBlockBytes;
        }

        low0.Store(sums);
        high0.Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Line1(
        byte* w, byte* a0,
        ref Vector256<int> x0, ref Vector256<int> y0)
    {
        Vector256<byte> left = Vector256.Load(w), right = Vector256.Load(w + 32);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)a0).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
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
            Line2(w, a0, a1, ref x0, ref y0, ref x1, ref y1);
            Line2(w + 64, a0 + 4, a1 + 4, ref x0, ref y0, ref x1, ref y1);
            Line2(w + 128, a0 + 8, a1 + 8, ref x0, ref y0, ref x1, ref y1);
            Line2(w + 192, a0 + 12, a1 + 12, ref x0, ref y0, ref x1, ref y1);
            Line2(w + 256, a0 + 16, a1 + 16, ref x0, ref y0, ref x1, ref y1);
            Line2(w + 320, a0 + 20, a1 + 20, ref x0, ref y0, ref x1, ref y1);
            Line2(w + 384, a0 + 24, a1 + 24, ref x0, ref y0, ref x1, ref y1);
            Line2(w + 448, a0 + 28, a1 + 28, ref x0, ref y0, ref x1, ref y1);
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Line2(
        byte* w, byte* a0, byte* a1,
        ref Vector256<int> x0, ref Vector256<int> y0, ref Vector256<int> x1, ref Vector256<int> y1)
    {
        Vector256<byte> left = Vector256.Load(w), right = Vector256.Load(w + 32);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)a0).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
        Vector256<sbyte> b1 = Vector256.Create(*(int*)a1).AsSByte();
        x1 = AvxVnni.MultiplyWideningAndAdd(x1, left, b1);
        y1 = AvxVnni.MultiplyWideningAndAdd(y1, right, b1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows3(in PanelTile tile)
    {
        byte* w = tile.Weights, s = tile.Scales, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations, a1 = a0 + tile.ActivationStride, a2 = a1 + tile.ActivationStride;
        int prefetchBytes = tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        Vector256<float> low1 = Vector256.Load(sums + 16), high1 = Vector256.Load(sums + 24);
        Vector256<float> low2 = Vector256.Load(sums + 32), high2 = Vector256.Load(sums + 40);
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x0 = Vector256.Create(*(int*)(a0 + Int8Quantizer.CorrectionOffset)), y0 = x0;
            Vector256<int> x1 = Vector256.Create(*(int*)(a1 + Int8Quantizer.CorrectionOffset)), y1 = x1;
            Vector256<int> x2 = Vector256.Create(*(int*)(a2 + Int8Quantizer.CorrectionOffset)), y2 = x2;
            Line3(w, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w + 64, a0 + 4, a1 + 4, a2 + 4, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w + 128, a0 + 8, a1 + 8, a2 + 8, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w + 192, a0 + 12, a1 + 12, a2 + 12, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w + 256, a0 + 16, a1 + 16, a2 + 16, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w + 320, a0 + 20, a1 + 20, a2 + 20, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w + 384, a0 + 24, a1 + 24, a2 + 24, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w + 448, a0 + 28, a1 + 28, a2 + 28, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            HalfScales.Load(s, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            Accumulate(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            Accumulate(a1, scaleLow, scaleHigh, x1, y1, ref low1, ref high1);
            Accumulate(a2, scaleLow, scaleHigh, x2, y2, ref low2, ref high2);
            w += 512;
            s += 32;
            a0 += Int8Quantizer.ActivationBlockBytes;
            a1 += Int8Quantizer.ActivationBlockBytes;
            a2 += Int8Quantizer.ActivationBlockBytes;
        }

        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
        low2.Store(sums + 32);
        high2.Store(sums + 40);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Line3(
        byte* w, byte* a0, byte* a1, byte* a2,
        ref Vector256<int> x0, ref Vector256<int> y0, ref Vector256<int> x1, ref Vector256<int> y1, ref Vector256<int> x2, ref Vector256<int> y2)
    {
        Vector256<byte> left = Vector256.Load(w), right = Vector256.Load(w + 32);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)a0).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
        Vector256<sbyte> b1 = Vector256.Create(*(int*)a1).AsSByte();
        x1 = AvxVnni.MultiplyWideningAndAdd(x1, left, b1);
        y1 = AvxVnni.MultiplyWideningAndAdd(y1, right, b1);
        Vector256<sbyte> b2 = Vector256.Create(*(int*)a2).AsSByte();
        x2 = AvxVnni.MultiplyWideningAndAdd(x2, left, b2);
        y2 = AvxVnni.MultiplyWideningAndAdd(y2, right, b2);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4(in PanelTile tile)
    {
        byte* w = tile.Weights, s = tile.Scales, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations, a1 = a0 + tile.ActivationStride, a2 = a1 + tile.ActivationStride, a3 = a2 + tile.ActivationStride;
        int prefetchBytes = tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        Vector256<float> low1 = Vector256.Load(sums + 16), high1 = Vector256.Load(sums + 24);
        Vector256<float> low2 = Vector256.Load(sums + 32), high2 = Vector256.Load(sums + 40);
        Vector256<float> low3 = Vector256.Load(sums + 48), high3 = Vector256.Load(sums + 56);
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x0 = Vector256.Create(*(int*)(a0 + Int8Quantizer.CorrectionOffset)), y0 = x0;
            Vector256<int> x1 = Vector256.Create(*(int*)(a1 + Int8Quantizer.CorrectionOffset)), y1 = x1;
            Vector256<int> x2 = Vector256.Create(*(int*)(a2 + Int8Quantizer.CorrectionOffset)), y2 = x2;
            Vector256<int> x3 = Vector256.Create(*(int*)(a3 + Int8Quantizer.CorrectionOffset)), y3 = x3;
            Line4(w, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w + 64, a0 + 4, a1 + 4, a2 + 4, a3 + 4, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w + 128, a0 + 8, a1 + 8, a2 + 8, a3 + 8, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w + 192, a0 + 12, a1 + 12, a2 + 12, a3 + 12, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w + 256, a0 + 16, a1 + 16, a2 + 16, a3 + 16, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w + 320, a0 + 20, a1 + 20, a2 + 20, a3 + 20, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w + 384, a0 + 24, a1 + 24, a2 + 24, a3 + 24, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w + 448, a0 + 28, a1 + 28, a2 + 28, a3 + 28, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            HalfScales.Load(s, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            Accumulate(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            Accumulate(a1, scaleLow, scaleHigh, x1, y1, ref low1, ref high1);
            Accumulate(a2, scaleLow, scaleHigh, x2, y2, ref low2, ref high2);
            Accumulate(a3, scaleLow, scaleHigh, x3, y3, ref low3, ref high3);
            w += 512;
            s += 32;
            a0 += Int8Quantizer.ActivationBlockBytes;
            a1 += Int8Quantizer.ActivationBlockBytes;
            a2 += Int8Quantizer.ActivationBlockBytes;
            a3 += Int8Quantizer.ActivationBlockBytes;
        }

        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
        low2.Store(sums + 32);
        high2.Store(sums + 40);
        low3.Store(sums + 48);
        high3.Store(sums + 56);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Line4(
        byte* w, byte* a0, byte* a1, byte* a2, byte* a3,
        ref Vector256<int> x0, ref Vector256<int> y0, ref Vector256<int> x1, ref Vector256<int> y1, ref Vector256<int> x2, ref Vector256<int> y2, ref Vector256<int> x3, ref Vector256<int> y3)
    {
        Vector256<byte> left = Vector256.Load(w), right = Vector256.Load(w + 32);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)a0).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
        Vector256<sbyte> b1 = Vector256.Create(*(int*)a1).AsSByte();
        x1 = AvxVnni.MultiplyWideningAndAdd(x1, left, b1);
        y1 = AvxVnni.MultiplyWideningAndAdd(y1, right, b1);
        Vector256<sbyte> b2 = Vector256.Create(*(int*)a2).AsSByte();
        x2 = AvxVnni.MultiplyWideningAndAdd(x2, left, b2);
        y2 = AvxVnni.MultiplyWideningAndAdd(y2, right, b2);
        Vector256<sbyte> b3 = Vector256.Create(*(int*)a3).AsSByte();
        x3 = AvxVnni.MultiplyWideningAndAdd(x3, left, b3);
        y3 = AvxVnni.MultiplyWideningAndAdd(y3, right, b3);
    }

    /// <summary>Converts one step's integer sums of a row and adds them to its float sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(
        byte* block, Vector256<float> scaleLow, Vector256<float> scaleHigh, Vector256<int> x, Vector256<int> y, ref Vector256<float> low, ref Vector256<float> high)
    {
        Vector256<float> scale = Vector256.Create(*(float*)(block + Int8Quantizer.ScaleOffset));
        low = Fma.MultiplyAdd(Avx.ConvertToVector256Single(x), scaleLow * scale, low);
        high = Fma.MultiplyAdd(Avx.ConvertToVector256Single(y), scaleHigh * scale, high);
    }
}
