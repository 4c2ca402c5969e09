using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// Panels of bfloat16 weights times activations rounded to bfloat16 (<see cref="Numerics.BFloat16Factors"/>). Contract, per call, for a pair of elements of K: first
/// the odd element, then the even one, by a fused multiply-add each, every other pair onto the incoming sum and the rest onto a second sum that starts at
/// zero; both are added at the end. That is what <c>vdpbf16ps</c> does with factors whose sums are never denormal, as a test holds; the emitted code uses it.
/// </summary>
internal readonly unsafe struct RoundedPanelKernel<TLanes> : IPanelKernel
    where TLanes : struct, ILanes<TLanes>
{
    private const int LineBytes = 64;

    public static int MaxRows => typeof(TLanes) == typeof(Lanes512) ? 4 : 1;

    public static int Run(in PanelTile tile, int rows)
    {
        if (rows >= 4 && MaxRows >= 4)
        {
            Rows4(tile);
            return 4;
        }

        Rows1(tile);
        return 1;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1(in PanelTile tile)
    {
        byte* w = tile.Weights, prefetch = tile.Prefetch, a = tile.Activations;
        int prefetchBytes = (int)tile.PrefetchBytes;
        TLanes first = TLanes.Load(tile.Sums), second = TLanes.Zero;
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (byte* end = a + ActivationBlock.RoundedBytes; a < end; a += 8, w += 2 * LineBytes)
            {
                first = Pair(w, a, first);
                second = Pair(w + LineBytes, a + 4, second);
            }
        }

        (first + second).Store(tile.Sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4(in PanelTile tile)
    {
        nint stride = (nint)tile.ActivationStride;
        byte* w = tile.Weights, prefetch = tile.Prefetch, a0 = tile.Activations, a2 = a0 + 2 * stride;
        int prefetchBytes = (int)tile.PrefetchBytes;
        float* sums = tile.Sums;
        TLanes first0 = TLanes.Load(sums), first1 = TLanes.Load(sums + 16), first2 = TLanes.Load(sums + 32), first3 = TLanes.Load(sums + 48);
        TLanes second0 = TLanes.Zero, second1 = TLanes.Zero, second2 = TLanes.Zero, second3 = TLanes.Zero;
        for (int step = tile.Steps; step > 0; step--)
        {
            Prefetcher.Touch(prefetch, prefetchBytes);
            prefetch += prefetchBytes;
            for (byte* end = a0 + ActivationBlock.RoundedBytes; a0 < end; a0 += 8, a2 += 8, w += 2 * LineBytes)
            {
                TLanes.LoadBFloat16Pairs(w, out TLanes even, out TLanes odd);
                first0 = Pair(even, odd, a0, first0);
                first1 = Pair(even, odd, a0 + stride, first1);
                first2 = Pair(even, odd, a2, first2);
                first3 = Pair(even, odd, a2 + stride, first3);
                TLanes.LoadBFloat16Pairs(w + LineBytes, out even, out odd);
                second0 = Pair(even, odd, a0 + 4, second0);
                second1 = Pair(even, odd, a0 + 4 + stride, second1);
                second2 = Pair(even, odd, a2 + 4, second2);
                second3 = Pair(even, odd, a2 + 4 + stride, second3);
            }
        }

        (first0 + second0).Store(sums);
        (first1 + second1).Store(sums + 16);
        (first2 + second2).Store(sums + 32);
        (first3 + second3).Store(sums + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Pair(byte* w, byte* a, TLanes sum)
    {
        TLanes.LoadBFloat16Pairs(w, out TLanes even, out TLanes odd);
        return Pair(even, odd, a, sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Pair(TLanes even, TLanes odd, byte* a, TLanes sum)
    {
        uint pair = *(uint*)a;
        sum = TLanes.MultiplyAdd(odd, TLanes.Broadcast(BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000)), sum);
        return TLanes.MultiplyAdd(even, TLanes.Broadcast(BitConverter.UInt32BitsToSingle(pair << 16)), sum);
    }
}
