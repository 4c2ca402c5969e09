using System.Runtime.CompilerServices;

namespace Foretoken.Backends.Cpu;

/// <content>
/// Scores of one key tile: a lane is a slot, each column has one accumulator for even and one for odd dims. One line of the tile serves all columns.
/// While a tile's keys are multiplied its values are fetched, so that they arrive before they are needed.
/// </content>
internal sealed unsafe partial class AttentionKernels<TLanes, TFormat>
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score4(byte* tile, int pairs, float* query, float* scores, byte* prefetch)
    {
        int step = prefetch is null ? 0 : TFormat.PairBytes;
        if (prefetch is null) prefetch = tile;
        TLanes even0 = TLanes.Zero, odd0 = TLanes.Zero;
        TLanes even1 = TLanes.Zero, odd1 = TLanes.Zero;
        TLanes even2 = TLanes.Zero, odd2 = TLanes.Zero;
        TLanes even3 = TLanes.Zero, odd3 = TLanes.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(prefetch);
            prefetch += step;
            TFormat.LoadPair(tile, out TLanes even, out TLanes odd);
            tile += TFormat.PairBytes;
            even0 = TLanes.MultiplyAdd(even, TLanes.Broadcast(query[0]), even0);
            odd0 = TLanes.MultiplyAdd(odd, TLanes.Broadcast(query[1]), odd0);
            even1 = TLanes.MultiplyAdd(even, TLanes.Broadcast(query[2]), even1);
            odd1 = TLanes.MultiplyAdd(odd, TLanes.Broadcast(query[3]), odd1);
            even2 = TLanes.MultiplyAdd(even, TLanes.Broadcast(query[4]), even2);
            odd2 = TLanes.MultiplyAdd(odd, TLanes.Broadcast(query[5]), odd2);
            even3 = TLanes.MultiplyAdd(even, TLanes.Broadcast(query[6]), even3);
            odd3 = TLanes.MultiplyAdd(odd, TLanes.Broadcast(query[7]), odd3);
            query += 2 * Block;
        }

        (even0 + odd0).Store(scores);
        (even1 + odd1).Store(scores + Stride);
        (even2 + odd2).Store(scores + 2 * Stride);
        (even3 + odd3).Store(scores + 3 * Stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score2(byte* tile, int pairs, float* query, float* scores, byte* prefetch)
    {
        int step = prefetch is null ? 0 : TFormat.PairBytes;
        if (prefetch is null) prefetch = tile;
        TLanes even0 = TLanes.Zero, odd0 = TLanes.Zero;
        TLanes even1 = TLanes.Zero, odd1 = TLanes.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(prefetch);
            prefetch += step;
            TFormat.LoadPair(tile, out TLanes even, out TLanes odd);
            tile += TFormat.PairBytes;
            even0 = TLanes.MultiplyAdd(even, TLanes.Broadcast(query[0]), even0);
            odd0 = TLanes.MultiplyAdd(odd, TLanes.Broadcast(query[1]), odd0);
            even1 = TLanes.MultiplyAdd(even, TLanes.Broadcast(query[2]), even1);
            odd1 = TLanes.MultiplyAdd(odd, TLanes.Broadcast(query[3]), odd1);
            query += 2 * Block;
        }

        (even0 + odd0).Store(scores);
        (even1 + odd1).Store(scores + Stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score1(byte* tile, int pairs, float* query, float* scores, byte* prefetch)
    {
        int step = prefetch is null ? 0 : TFormat.PairBytes;
        if (prefetch is null) prefetch = tile;
        TLanes even0 = TLanes.Zero, odd0 = TLanes.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(prefetch);
            prefetch += step;
            TFormat.LoadPair(tile, out TLanes even, out TLanes odd);
            tile += TFormat.PairBytes;
            even0 = TLanes.MultiplyAdd(even, TLanes.Broadcast(query[0]), even0);
            odd0 = TLanes.MultiplyAdd(odd, TLanes.Broadcast(query[1]), odd0);
            query += 2 * Block;
        }

        (even0 + odd0).Store(scores);
    }
}
