using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Integer panels by AVX-VNNI: one instruction adds four products u8 · s8 to each of eight 32-bit lanes. A line holds four elements of K for 16 features, so
/// two registers; the activations' four bytes are broadcast. Encoded with VEX there are 16 registers, which four rows just fill.
/// </summary>
internal readonly unsafe struct VnniKernel<TFormat> : IPanelKernel
    where TFormat : struct, IIntegerFormat
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
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x0 = IntegerSums<TFormat>.Start(a0, 0), y0 = x0;
            Line1(w, 0, a0, ref x0, ref y0);
            Line1(w, 1, a0, ref x0, ref y0);
            Line1(w, 2, a0, ref x0, ref y0);
            Line1(w, 3, a0, ref x0, ref y0);
            if (TFormat.HasHalves)
            {
                TFormat.LoadScales(tile.Scales, step, 0, out Vector256<float> firstLow, out Vector256<float> firstHigh);
                IntegerSums<TFormat>.Add(a0, firstLow, firstHigh, x0, y0, ref low0, ref high0);
                x0 = y0 = IntegerSums<TFormat>.Start(a0, 1);
            }

            Line1(w, 4, a0, ref x0, ref y0);
            Line1(w, 5, a0, ref x0, ref y0);
            Line1(w, 6, a0, ref x0, ref y0);
            Line1(w, 7, a0, ref x0, ref y0);
            TFormat.LoadScales(tile.Scales, step, 1, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            IntegerSums<TFormat>.Add(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            if (TFormat.HasMinimum)
            {
                TFormat.LoadMinimums(tile.Scales, step, out Vector256<float> minimumLow, out Vector256<float> minimumHigh);
                IntegerSums<TFormat>.AddMinimum(a0, minimumLow, minimumHigh, ref low0, ref high0);
            }

            w += TFormat.StepBytes;
            a0 += ActivationBlock.BytesOf(TFormat.HasHalves);
        }

        low0.Store(sums);
        high0.Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Line1(
        byte* w, int line, byte* a0,
        ref Vector256<int> x0, ref Vector256<int> y0)
    {
        TFormat.LoadLine(w, line, out Vector256<byte> left, out Vector256<byte> right);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)(a0 + 4 * line)).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
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
            Vector256<int> x0 = IntegerSums<TFormat>.Start(a0, 0), y0 = x0;
            Vector256<int> x1 = IntegerSums<TFormat>.Start(a1, 0), y1 = x1;
            Line2(w, 0, a0, a1, ref x0, ref y0, ref x1, ref y1);
            Line2(w, 1, a0, a1, ref x0, ref y0, ref x1, ref y1);
            Line2(w, 2, a0, a1, ref x0, ref y0, ref x1, ref y1);
            Line2(w, 3, a0, a1, ref x0, ref y0, ref x1, ref y1);
            if (TFormat.HasHalves)
            {
                TFormat.LoadScales(tile.Scales, step, 0, out Vector256<float> firstLow, out Vector256<float> firstHigh);
                IntegerSums<TFormat>.Add(a0, firstLow, firstHigh, x0, y0, ref low0, ref high0);
                IntegerSums<TFormat>.Add(a1, firstLow, firstHigh, x1, y1, ref low1, ref high1);
                x0 = y0 = IntegerSums<TFormat>.Start(a0, 1);
                x1 = y1 = IntegerSums<TFormat>.Start(a1, 1);
            }

            Line2(w, 4, a0, a1, ref x0, ref y0, ref x1, ref y1);
            Line2(w, 5, a0, a1, ref x0, ref y0, ref x1, ref y1);
            Line2(w, 6, a0, a1, ref x0, ref y0, ref x1, ref y1);
            Line2(w, 7, a0, a1, ref x0, ref y0, ref x1, ref y1);
            TFormat.LoadScales(tile.Scales, step, 1, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            IntegerSums<TFormat>.Add(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            IntegerSums<TFormat>.Add(a1, scaleLow, scaleHigh, x1, y1, ref low1, ref high1);
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Line2(
        byte* w, int line, byte* a0, byte* a1,
        ref Vector256<int> x0, ref Vector256<int> y0, ref Vector256<int> x1, ref Vector256<int> y1)
    {
        TFormat.LoadLine(w, line, out Vector256<byte> left, out Vector256<byte> right);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)(a0 + 4 * line)).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
        Vector256<sbyte> b1 = Vector256.Create(*(int*)(a1 + 4 * line)).AsSByte();
        x1 = AvxVnni.MultiplyWideningAndAdd(x1, left, b1);
        y1 = AvxVnni.MultiplyWideningAndAdd(y1, right, b1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows3(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations, a1 = a0 + tile.ActivationStride, a2 = a1 + tile.ActivationStride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        Vector256<float> low1 = Vector256.Load(sums + 16), high1 = Vector256.Load(sums + 24);
        Vector256<float> low2 = Vector256.Load(sums + 32), high2 = Vector256.Load(sums + 40);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x0 = IntegerSums<TFormat>.Start(a0, 0), y0 = x0;
            Vector256<int> x1 = IntegerSums<TFormat>.Start(a1, 0), y1 = x1;
            Vector256<int> x2 = IntegerSums<TFormat>.Start(a2, 0), y2 = x2;
            Line3(w, 0, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w, 1, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w, 2, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w, 3, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            if (TFormat.HasHalves)
            {
                TFormat.LoadScales(tile.Scales, step, 0, out Vector256<float> firstLow, out Vector256<float> firstHigh);
                IntegerSums<TFormat>.Add(a0, firstLow, firstHigh, x0, y0, ref low0, ref high0);
                IntegerSums<TFormat>.Add(a1, firstLow, firstHigh, x1, y1, ref low1, ref high1);
                IntegerSums<TFormat>.Add(a2, firstLow, firstHigh, x2, y2, ref low2, ref high2);
                x0 = y0 = IntegerSums<TFormat>.Start(a0, 1);
                x1 = y1 = IntegerSums<TFormat>.Start(a1, 1);
                x2 = y2 = IntegerSums<TFormat>.Start(a2, 1);
            }

            Line3(w, 4, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w, 5, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w, 6, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            Line3(w, 7, a0, a1, a2, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2);
            TFormat.LoadScales(tile.Scales, step, 1, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            IntegerSums<TFormat>.Add(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            IntegerSums<TFormat>.Add(a1, scaleLow, scaleHigh, x1, y1, ref low1, ref high1);
            IntegerSums<TFormat>.Add(a2, scaleLow, scaleHigh, x2, y2, ref low2, ref high2);
            if (TFormat.HasMinimum)
            {
                TFormat.LoadMinimums(tile.Scales, step, out Vector256<float> minimumLow, out Vector256<float> minimumHigh);
                IntegerSums<TFormat>.AddMinimum(a0, minimumLow, minimumHigh, ref low0, ref high0);
                IntegerSums<TFormat>.AddMinimum(a1, minimumLow, minimumHigh, ref low1, ref high1);
                IntegerSums<TFormat>.AddMinimum(a2, minimumLow, minimumHigh, ref low2, ref high2);
            }

            w += TFormat.StepBytes;
            a0 += ActivationBlock.BytesOf(TFormat.HasHalves);
            a1 += ActivationBlock.BytesOf(TFormat.HasHalves);
            a2 += ActivationBlock.BytesOf(TFormat.HasHalves);
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
        byte* w, int line, byte* a0, byte* a1, byte* a2,
        ref Vector256<int> x0, ref Vector256<int> y0, ref Vector256<int> x1, ref Vector256<int> y1, ref Vector256<int> x2, ref Vector256<int> y2)
    {
        TFormat.LoadLine(w, line, out Vector256<byte> left, out Vector256<byte> right);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)(a0 + 4 * line)).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
        Vector256<sbyte> b1 = Vector256.Create(*(int*)(a1 + 4 * line)).AsSByte();
        x1 = AvxVnni.MultiplyWideningAndAdd(x1, left, b1);
        y1 = AvxVnni.MultiplyWideningAndAdd(y1, right, b1);
        Vector256<sbyte> b2 = Vector256.Create(*(int*)(a2 + 4 * line)).AsSByte();
        x2 = AvxVnni.MultiplyWideningAndAdd(x2, left, b2);
        y2 = AvxVnni.MultiplyWideningAndAdd(y2, right, b2);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        byte* a0 = tile.Activations, a1 = a0 + tile.ActivationStride, a2 = a1 + tile.ActivationStride, a3 = a2 + tile.ActivationStride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector256<float> low0 = Vector256.Load(sums), high0 = Vector256.Load(sums + 8);
        Vector256<float> low1 = Vector256.Load(sums + 16), high1 = Vector256.Load(sums + 24);
        Vector256<float> low2 = Vector256.Load(sums + 32), high2 = Vector256.Load(sums + 40);
        Vector256<float> low3 = Vector256.Load(sums + 48), high3 = Vector256.Load(sums + 56);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            Vector256<int> x0 = IntegerSums<TFormat>.Start(a0, 0), y0 = x0;
            Vector256<int> x1 = IntegerSums<TFormat>.Start(a1, 0), y1 = x1;
            Vector256<int> x2 = IntegerSums<TFormat>.Start(a2, 0), y2 = x2;
            Vector256<int> x3 = IntegerSums<TFormat>.Start(a3, 0), y3 = x3;
            Line4(w, 0, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w, 1, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w, 2, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w, 3, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            if (TFormat.HasHalves)
            {
                TFormat.LoadScales(tile.Scales, step, 0, out Vector256<float> firstLow, out Vector256<float> firstHigh);
                IntegerSums<TFormat>.Add(a0, firstLow, firstHigh, x0, y0, ref low0, ref high0);
                IntegerSums<TFormat>.Add(a1, firstLow, firstHigh, x1, y1, ref low1, ref high1);
                IntegerSums<TFormat>.Add(a2, firstLow, firstHigh, x2, y2, ref low2, ref high2);
                IntegerSums<TFormat>.Add(a3, firstLow, firstHigh, x3, y3, ref low3, ref high3);
                x0 = y0 = IntegerSums<TFormat>.Start(a0, 1);
                x1 = y1 = IntegerSums<TFormat>.Start(a1, 1);
                x2 = y2 = IntegerSums<TFormat>.Start(a2, 1);
                x3 = y3 = IntegerSums<TFormat>.Start(a3, 1);
            }

            Line4(w, 4, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w, 5, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w, 6, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            Line4(w, 7, a0, a1, a2, a3, ref x0, ref y0, ref x1, ref y1, ref x2, ref y2, ref x3, ref y3);
            TFormat.LoadScales(tile.Scales, step, 1, out Vector256<float> scaleLow, out Vector256<float> scaleHigh);
            IntegerSums<TFormat>.Add(a0, scaleLow, scaleHigh, x0, y0, ref low0, ref high0);
            IntegerSums<TFormat>.Add(a1, scaleLow, scaleHigh, x1, y1, ref low1, ref high1);
            IntegerSums<TFormat>.Add(a2, scaleLow, scaleHigh, x2, y2, ref low2, ref high2);
            IntegerSums<TFormat>.Add(a3, scaleLow, scaleHigh, x3, y3, ref low3, ref high3);
            if (TFormat.HasMinimum)
            {
                TFormat.LoadMinimums(tile.Scales, step, out Vector256<float> minimumLow, out Vector256<float> minimumHigh);
                IntegerSums<TFormat>.AddMinimum(a0, minimumLow, minimumHigh, ref low0, ref high0);
                IntegerSums<TFormat>.AddMinimum(a1, minimumLow, minimumHigh, ref low1, ref high1);
                IntegerSums<TFormat>.AddMinimum(a2, minimumLow, minimumHigh, ref low2, ref high2);
                IntegerSums<TFormat>.AddMinimum(a3, minimumLow, minimumHigh, ref low3, ref high3);
            }

            w += TFormat.StepBytes;
            a0 += ActivationBlock.BytesOf(TFormat.HasHalves);
            a1 += ActivationBlock.BytesOf(TFormat.HasHalves);
            a2 += ActivationBlock.BytesOf(TFormat.HasHalves);
            a3 += ActivationBlock.BytesOf(TFormat.HasHalves);
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
        byte* w, int line, byte* a0, byte* a1, byte* a2, byte* a3,
        ref Vector256<int> x0, ref Vector256<int> y0, ref Vector256<int> x1, ref Vector256<int> y1, ref Vector256<int> x2, ref Vector256<int> y2, ref Vector256<int> x3, ref Vector256<int> y3)
    {
        TFormat.LoadLine(w, line, out Vector256<byte> left, out Vector256<byte> right);
        Vector256<sbyte> b0 = Vector256.Create(*(int*)(a0 + 4 * line)).AsSByte();
        x0 = AvxVnni.MultiplyWideningAndAdd(x0, left, b0);
        y0 = AvxVnni.MultiplyWideningAndAdd(y0, right, b0);
        Vector256<sbyte> b1 = Vector256.Create(*(int*)(a1 + 4 * line)).AsSByte();
        x1 = AvxVnni.MultiplyWideningAndAdd(x1, left, b1);
        y1 = AvxVnni.MultiplyWideningAndAdd(y1, right, b1);
        Vector256<sbyte> b2 = Vector256.Create(*(int*)(a2 + 4 * line)).AsSByte();
        x2 = AvxVnni.MultiplyWideningAndAdd(x2, left, b2);
        y2 = AvxVnni.MultiplyWideningAndAdd(y2, right, b2);
        Vector256<sbyte> b3 = Vector256.Create(*(int*)(a3 + 4 * line)).AsSByte();
        x3 = AvxVnni.MultiplyWideningAndAdd(x3, left, b3);
        y3 = AvxVnni.MultiplyWideningAndAdd(y3, right, b3);
    }
}
