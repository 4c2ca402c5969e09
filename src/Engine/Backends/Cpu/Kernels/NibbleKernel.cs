using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// 4-bit panels by 512-bit <c>vpmaddubsw</c>, which multiplies u8 · s8 and adds neighbours in 16 bits. For 4-bit weights that is exact: two products are at most
/// 2 · 15 · 127 = 3,810, and eight lines of them at most 30,480, so that the sums of a whole step fit 16 bits; one <c>vpmaddwd</c> by ones widens them then.
/// The eight lines of a step stay in registers while the rows take their turns.
/// </summary>
internal readonly unsafe struct NibbleKernel<TFormat> : IPanelKernel
    where TFormat : struct, IIntegerFormat
{
    private const int LineBytes = 64;

    public static int MaxRows => 8;

    public static int Run(in PanelTile tile, int rows)
    {
        switch (rows)
        {
            case >= 8: Rows8(tile); return 8;
            case >= 4: Rows4(tile); return 4;
            case >= 2: Rows2(tile); return 2;
            default: Rows1(tile); return 1;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1(in PanelTile tile)
    {
        byte* prefetch = tile.Prefetch, a0 = tile.Activations;
        int prefetchBytes = (int)tile.PrefetchBytes;
        Vector512<float> f0 = Vector512.Load(tile.Sums);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            var w = new Step(tile, step);
            f0 = Row(w, a0, f0);
            a0 += ActivationBlock.BytesOf(false);
        }

        f0.Store(tile.Sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2(in PanelTile tile)
    {
        byte* prefetch = tile.Prefetch, a0 = tile.Activations, a1 = a0 + tile.ActivationStride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector512<float> f0 = Vector512.Load(sums), f1 = Vector512.Load(sums + 16);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            var w = new Step(tile, step);
            f0 = Row(w, a0, f0);
            f1 = Row(w, a1, f1);
            a0 += ActivationBlock.BytesOf(false);
            a1 += ActivationBlock.BytesOf(false);
        }

        f0.Store(sums);
        f1.Store(sums + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4(in PanelTile tile)
    {
        nint stride = (nint)tile.ActivationStride;
        byte* prefetch = tile.Prefetch, a0 = tile.Activations, a2 = a0 + 2 * stride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector512<float> f0 = Vector512.Load(sums), f1 = Vector512.Load(sums + 16), f2 = Vector512.Load(sums + 32), f3 = Vector512.Load(sums + 48);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            var w = new Step(tile, step);
            f0 = Row(w, a0, f0);
            f1 = Row(w, a0 + stride, f1);
            f2 = Row(w, a2, f2);
            f3 = Row(w, a2 + stride, f3);
            a0 += ActivationBlock.BytesOf(false);
            a2 += ActivationBlock.BytesOf(false);
        }

        f0.Store(sums);
        f1.Store(sums + 16);
        f2.Store(sums + 32);
        f3.Store(sums + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows8(in PanelTile tile)
    {
        nint stride = (nint)tile.ActivationStride;
        byte* prefetch = tile.Prefetch, a0 = tile.Activations, a2 = a0 + 2 * stride, a4 = a2 + 2 * stride, a6 = a4 + 2 * stride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        Vector512<float> f0 = Vector512.Load(sums), f1 = Vector512.Load(sums + 16), f2 = Vector512.Load(sums + 32), f3 = Vector512.Load(sums + 48);
        Vector512<float> f4 = Vector512.Load(sums + 64), f5 = Vector512.Load(sums + 80), f6 = Vector512.Load(sums + 96), f7 = Vector512.Load(sums + 112);
        for (int step = 0; step < tile.Steps; step++)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            var w = new Step(tile, step);
            f0 = Row(w, a0, f0);
            f1 = Row(w, a0 + stride, f1);
            f2 = Row(w, a2, f2);
            f3 = Row(w, a2 + stride, f3);
            f4 = Row(w, a4, f4);
            f5 = Row(w, a4 + stride, f5);
            f6 = Row(w, a6, f6);
            f7 = Row(w, a6 + stride, f7);
            a0 += ActivationBlock.BytesOf(false);
            a2 += ActivationBlock.BytesOf(false);
            a4 += ActivationBlock.BytesOf(false);
            a6 += ActivationBlock.BytesOf(false);
        }

        f0.Store(sums);
        f1.Store(sums + 16);
        f2.Store(sums + 32);
        f3.Store(sums + 48);
        f4.Store(sums + 64);
        f5.Store(sums + 80);
        f6.Store(sums + 96);
        f7.Store(sums + 112);
    }

    /// <summary>Adds a step of one row to its sums, by the contract of <see cref="IIntegerFormat"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Row(in Step w, byte* a, Vector512<float> sum)
    {
        Vector512<short> words = Line(w.L0, a) + Line(w.L1, a + 4) + Line(w.L2, a + 8) + Line(w.L3, a + 12)
            + Line(w.L4, a + 16) + Line(w.L5, a + 20) + Line(w.L6, a + 24) + Line(w.L7, a + 28);
        Vector512<int> c = Avx512BW.MultiplyAddAdjacent(words, Vector512<short>.One);
        if (!TFormat.HasMinimum) c += Vector512.Create(*(int*)(a + ActivationBlock.CorrectionOffset));
        Vector512<float> scale = w.Scales * Vector512.Create(*(float*)(a + ActivationBlock.ScaleOffset));
        sum = Avx512F.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(c), scale, sum);
        return TFormat.HasMinimum ? Avx512F.FusedMultiplyAdd(w.Minimums, Vector512.Create(*(float*)(a + ActivationBlock.CorrectionOffset)), sum) : sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Line(Vector512<byte> weights, byte* a) => Avx512BW.MultiplyAddAdjacent(weights, Vector512.Create(*(int*)a).AsSByte());

    /// <summary>The weights of a step: eight lines of four elements for 16 features, their scales and minimums.</summary>
    private readonly ref struct Step
    {
        public readonly Vector512<byte> L0, L1, L2, L3, L4, L5, L6, L7;
        public readonly Vector512<float> Scales, Minimums;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Step(in PanelTile tile, int step)
        {
            byte* w = tile.Weights + (long)step * TFormat.StepBytes;
            Unpack(w, out L0, out L4);
            Unpack(w + LineBytes, out L1, out L5);
            Unpack(w + 2 * LineBytes, out L2, out L6);
            Unpack(w + 3 * LineBytes, out L3, out L7);
            TFormat.LoadScales(tile.Scales, step, 1, out Vector256<float> low, out Vector256<float> high);
            Scales = Vector512.Create(low, high);
            TFormat.LoadMinimums(tile.Scales, step, out low, out high);
            Minimums = Vector512.Create(low, high);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Unpack(byte* stored, out Vector512<byte> low, out Vector512<byte> high)
        {
            Vector512<uint> both = Vector512.Load((uint*)stored), mask = Vector512.Create(0x0F0F0F0Fu);
            low = (both & mask).AsByte();
            high = (both >>> 4 & mask).AsByte();
        }
    }
}
