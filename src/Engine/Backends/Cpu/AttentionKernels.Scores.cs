using System.Runtime.CompilerServices;

namespace Foretoken.Backends.Cpu;

/// <content>
/// Scores of one key tile: a lane is a slot, each column has one accumulator for even and one for odd dims. One line of the tile serves all columns.
/// While a tile's keys are multiplied its values are fetched, so that they arrive before they are needed.
/// </content>
internal sealed unsafe partial class AttentionKernels<TLanes, TFormat>
{
    /// <summary>Two tiles at once share the queries' broadcasts: 32 registers are filled, and multiply-adds, not loads, limit the loop.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score4X2(byte* tileA, byte* tileB, int pairs, float* query, float* scores, byte* prefetch)
    {
        int step = prefetch is null ? 0 : TFormat.PairBytes;
        if (prefetch is null) prefetch = tileA;
        TLanes even0A = TLanes.Zero, odd0A = TLanes.Zero;
        TLanes even1A = TLanes.Zero, odd1A = TLanes.Zero;
        TLanes even2A = TLanes.Zero, odd2A = TLanes.Zero;
        TLanes even3A = TLanes.Zero, odd3A = TLanes.Zero;
        TLanes even0B = TLanes.Zero, odd0B = TLanes.Zero;
        TLanes even1B = TLanes.Zero, odd1B = TLanes.Zero;
        TLanes even2B = TLanes.Zero, odd2B = TLanes.Zero;
        TLanes even3B = TLanes.Zero, odd3B = TLanes.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(prefetch);
            Prefetch(prefetch + step);
            prefetch += 2 * step;
            TFormat.LoadPair(tileA, out TLanes evenA, out TLanes oddA);
            TFormat.LoadPair(tileB, out TLanes evenB, out TLanes oddB);
            tileA += TFormat.PairBytes;
            tileB += TFormat.PairBytes;
            TLanes even0 = TLanes.Broadcast(query[0]), odd0 = TLanes.Broadcast(query[1]);
            even0A = TLanes.MultiplyAdd(evenA, even0, even0A);
            odd0A = TLanes.MultiplyAdd(oddA, odd0, odd0A);
            even0B = TLanes.MultiplyAdd(evenB, even0, even0B);
            odd0B = TLanes.MultiplyAdd(oddB, odd0, odd0B);
            TLanes even1 = TLanes.Broadcast(query[2]), odd1 = TLanes.Broadcast(query[3]);
            even1A = TLanes.MultiplyAdd(evenA, even1, even1A);
            odd1A = TLanes.MultiplyAdd(oddA, odd1, odd1A);
            even1B = TLanes.MultiplyAdd(evenB, even1, even1B);
            odd1B = TLanes.MultiplyAdd(oddB, odd1, odd1B);
            TLanes even2 = TLanes.Broadcast(query[4]), odd2 = TLanes.Broadcast(query[5]);
            even2A = TLanes.MultiplyAdd(evenA, even2, even2A);
            odd2A = TLanes.MultiplyAdd(oddA, odd2, odd2A);
            even2B = TLanes.MultiplyAdd(evenB, even2, even2B);
            odd2B = TLanes.MultiplyAdd(oddB, odd2, odd2B);
            TLanes even3 = TLanes.Broadcast(query[6]), odd3 = TLanes.Broadcast(query[7]);
            even3A = TLanes.MultiplyAdd(evenA, even3, even3A);
            odd3A = TLanes.MultiplyAdd(oddA, odd3, odd3A);
            even3B = TLanes.MultiplyAdd(evenB, even3, even3B);
            odd3B = TLanes.MultiplyAdd(oddB, odd3, odd3B);
            query += 2 * Block;
        }

        StoreScores(even0A + odd0A, scores);
        StoreScores(even0B + odd0B, scores + Tile);
        StoreScores(even1A + odd1A, scores + Stride);
        StoreScores(even1B + odd1B, scores + Stride + Tile);
        StoreScores(even2A + odd2A, scores + 2 * Stride);
        StoreScores(even2B + odd2B, scores + 2 * Stride + Tile);
        StoreScores(even3A + odd3A, scores + 3 * Stride);
        StoreScores(even3B + odd3B, scores + 3 * Stride + Tile);
    }

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

        StoreScores(even0 + odd0, scores);
        StoreScores(even1 + odd1, scores + Stride);
        StoreScores(even2 + odd2, scores + 2 * Stride);
        StoreScores(even3 + odd3, scores + 3 * Stride);
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

        StoreScores(even0 + odd0, scores);
        StoreScores(even1 + odd1, scores + Stride);
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

        StoreScores(even0 + odd0, scores);
    }
}
