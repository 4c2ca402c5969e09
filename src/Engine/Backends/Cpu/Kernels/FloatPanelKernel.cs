using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Panels of f32 or bfloat16 weights times f32 activations. Contract, per call: even elements of K are added to the incoming sum one after the other,
/// odd ones to a second sum that starts at zero, each by a fused multiply-add; both are added at the end. The caller cuts K at fixed places.
/// <c>vdpbf16ps</c>, twice as fast in prefill, takes activations rounded to bfloat16: that is a weight type of its own (<see cref="RoundedPanelKernel{TLanes}"/>).
/// </summary>
internal readonly unsafe struct FloatPanelKernel<TLanes, TWeights> : IPanelKernel
    where TLanes : struct, ILanes<TLanes>
    where TWeights : struct, IFloatWeights
{
    // Two accumulators per row: 512-bit machines have 32 registers, of which one holds all lanes; 256-bit machines need two of their 16 per value.
    public static int MaxRows => typeof(TLanes) == typeof(Lanes512) ? 8 : typeof(TLanes) == typeof(Lanes256) ? 2 : 1;

    public static int Run(in PanelTile tile, int rows)
    {
        if (rows >= 8 && MaxRows >= 8)
        {
            Rows8(tile);
            return 8;
        }

        if (MaxRows >= 4 && rows is (3 or 5))
        {
            Rows3(tile); // one row alone waits for its own sums: 3 and 2 are faster than 4 and 1
            return 3;
        }

        if (rows >= 4 && MaxRows >= 4)
        {
            Rows4(tile);
            return 4;
        }

        if (rows >= 2 && MaxRows >= 2)
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
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        float* a = (float*)tile.Activations;
        int prefetchBytes = (int)tile.PrefetchBytes;
        TLanes even = TLanes.Load(tile.Sums), odd = TLanes.Zero;
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (int k = 0; k < PanelMatrix.StepLength; k += 4)
            {
                TWeights.LoadPair(w, out TLanes w0, out TLanes w1);
                TWeights.LoadPair(w + TWeights.PairBytes, out TLanes w2, out TLanes w3);
                even = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a[k]), even);
                odd = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a[k + 1]), odd);
                even = TLanes.MultiplyAdd(w2, TLanes.Broadcast(a[k + 2]), even);
                odd = TLanes.MultiplyAdd(w3, TLanes.Broadcast(a[k + 3]), odd);
                w += 2 * TWeights.PairBytes;
            }

            a += PanelMatrix.StepLength;
        }

        (even + odd).Store(tile.Sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        float* a0 = (float*)tile.Activations, a1 = (float*)(tile.Activations + tile.ActivationStride);
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        TLanes even0 = TLanes.Load(sums), even1 = TLanes.Load(sums + 16);
        TLanes odd0 = TLanes.Zero, odd1 = TLanes.Zero;
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (int k = 0; k < PanelMatrix.StepLength; k += 2)
            {
                TWeights.LoadPair(w, out TLanes w0, out TLanes w1);
                w += TWeights.PairBytes;
                even0 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a0[k]), even0);
                odd0 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a0[k + 1]), odd0);
                even1 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a1[k]), even1);
                odd1 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a1[k + 1]), odd1);
            }

            a0 += PanelMatrix.StepLength;
            a1 += PanelMatrix.StepLength;
        }

        (even0 + odd0).Store(sums);
        (even1 + odd1).Store(sums + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows3(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        long stride = tile.ActivationStride / sizeof(float);
        float* a0 = (float*)tile.Activations, a1 = a0 + stride, a2 = a1 + stride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        TLanes even0 = TLanes.Load(sums), even1 = TLanes.Load(sums + 16), even2 = TLanes.Load(sums + 32);
        TLanes odd0 = TLanes.Zero, odd1 = TLanes.Zero, odd2 = TLanes.Zero;
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (int k = 0; k < PanelMatrix.StepLength; k += 2)
            {
                TWeights.LoadPair(w, out TLanes w0, out TLanes w1);
                w += TWeights.PairBytes;
                even0 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a0[k]), even0);
                odd0 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a0[k + 1]), odd0);
                even1 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a1[k]), even1);
                odd1 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a1[k + 1]), odd1);
                even2 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a2[k]), even2);
                odd2 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a2[k + 1]), odd2);
            }

            a0 += PanelMatrix.StepLength;
            a1 += PanelMatrix.StepLength;
            a2 += PanelMatrix.StepLength;
        }

        (even0 + odd0).Store(sums);
        (even1 + odd1).Store(sums + 16);
        (even2 + odd2).Store(sums + 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        long stride = tile.ActivationStride / sizeof(float);
        float* a0 = (float*)tile.Activations, a1 = a0 + stride, a2 = a1 + stride, a3 = a2 + stride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        TLanes even0 = TLanes.Load(sums), even1 = TLanes.Load(sums + 16), even2 = TLanes.Load(sums + 32), even3 = TLanes.Load(sums + 48);
        TLanes odd0 = TLanes.Zero, odd1 = TLanes.Zero, odd2 = TLanes.Zero, odd3 = TLanes.Zero;
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (int k = 0; k < PanelMatrix.StepLength; k += 2)
            {
                TWeights.LoadPair(w, out TLanes w0, out TLanes w1);
                w += TWeights.PairBytes;
                even0 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a0[k]), even0);
                odd0 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a0[k + 1]), odd0);
                even1 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a1[k]), even1);
                odd1 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a1[k + 1]), odd1);
                even2 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a2[k]), even2);
                odd2 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a2[k + 1]), odd2);
                even3 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a3[k]), even3);
                odd3 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a3[k + 1]), odd3);
            }

            a0 += PanelMatrix.StepLength;
            a1 += PanelMatrix.StepLength;
            a2 += PanelMatrix.StepLength;
            a3 += PanelMatrix.StepLength;
        }

        (even0 + odd0).Store(sums);
        (even1 + odd1).Store(sums + 16);
        (even2 + odd2).Store(sums + 32);
        (even3 + odd3).Store(sums + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows8(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch;
        long stride = tile.ActivationStride / sizeof(float);
        float* a0 = (float*)tile.Activations, a1 = a0 + stride, a2 = a1 + stride, a3 = a2 + stride;
        float* a4 = a3 + stride, a5 = a4 + stride, a6 = a5 + stride, a7 = a6 + stride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        TLanes even0 = TLanes.Load(sums), even1 = TLanes.Load(sums + 16), even2 = TLanes.Load(sums + 32), even3 = TLanes.Load(sums + 48);
        TLanes even4 = TLanes.Load(sums + 64), even5 = TLanes.Load(sums + 80), even6 = TLanes.Load(sums + 96), even7 = TLanes.Load(sums + 112);
        TLanes odd0 = TLanes.Zero, odd1 = TLanes.Zero, odd2 = TLanes.Zero, odd3 = TLanes.Zero;
        TLanes odd4 = TLanes.Zero, odd5 = TLanes.Zero, odd6 = TLanes.Zero, odd7 = TLanes.Zero;
        nint k = 0;
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (nint end = k + PanelMatrix.StepLength; k < end; k += 2)
            {
                TWeights.LoadPair(w, out TLanes w0, out TLanes w1);
                w += TWeights.PairBytes;
                even0 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a0[k]), even0);
                odd0 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a0[k + 1]), odd0);
                even1 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a1[k]), even1);
                odd1 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a1[k + 1]), odd1);
                even2 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a2[k]), even2);
                odd2 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a2[k + 1]), odd2);
                even3 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a3[k]), even3);
                odd3 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a3[k + 1]), odd3);
                even4 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a4[k]), even4);
                odd4 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a4[k + 1]), odd4);
                even5 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a5[k]), even5);
                odd5 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a5[k + 1]), odd5);
                even6 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a6[k]), even6);
                odd6 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a6[k + 1]), odd6);
                even7 = TLanes.MultiplyAdd(w0, TLanes.Broadcast(a7[k]), even7);
                odd7 = TLanes.MultiplyAdd(w1, TLanes.Broadcast(a7[k + 1]), odd7);
            }
        }

        (even0 + odd0).Store(sums);
        (even1 + odd1).Store(sums + 16);
        (even2 + odd2).Store(sums + 32);
        (even3 + odd3).Store(sums + 48);
        (even4 + odd4).Store(sums + 64);
        (even5 + odd5).Store(sums + 80);
        (even6 + odd6).Store(sums + 96);
        (even7 + odd7).Store(sums + 112);
    }
}
