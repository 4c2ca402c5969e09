using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Backends.Cpu;

/// <content>
/// Scores of one key tile: a lane is a slot, and a word pair of it holds two neighbouring dims. While a tile's keys are multiplied a part of the next
/// chunk is fetched, so that it arrives before it is needed.
/// </content>
internal sealed unsafe partial class Int8AttentionKernels<TLanes, TWords>
{
    public override void Scores(in AttentionSlots slots, int columns, float* query, float* queryScale, in AttentionWeights weights)
    {
        int pairs = slots.Format.HeadDim / 2, tiles = slots.AlignedCount / Tile, i = 0;
        int* words = (int*)query;
        nint step = slots.Prefetches ? Line : 0;
        AttentionPlace* place = weights.Places;
        float* scores = weights.Floats;
        if (emitted is not null && columns > 2 && tiles >= AttentionCode.ScoreTiles && pairs % 4 == 0)
        {
            var call = new ScoreCall
            {
                Places = place, Groups = tiles / AttentionCode.ScoreTiles, Query = words, Factors = queryScale, Scores = scores, Quarter = pairs / 4,
            };
            emitted.Scores(&call, slots.Prefetches);
            i = tiles & -AttentionCode.ScoreTiles;
            place += i;
            scores += i * Tile;
        }

        for (; ColumnsAtOnce == 4 && columns > 2 && i + 2 <= tiles; i += 2, place += 2, scores += 2 * Tile)
            Score4X2(place, pairs, words, queryScale, scores, step);
        for (; i < tiles; i++, place++, scores += Tile)
        {
            for (int c = 0; c < columns;)
            {
                int* q = words + c;
                float* factors = queryScale + c, s = scores + c * Stride;
                int atOnce = AtOnce(columns - c);
                nint ahead = c == 0 ? step / 2 : 0; // two pairs of dims per line
                if (atOnce == 4) Score4(place, pairs, q, factors, s, ahead);
                else if (atOnce == 2) Score2(place, pairs, q, factors, s, ahead);
                else Score1(place, pairs, q, factors, s, ahead);
                c += atOnce;
            }
        }
    }

    /// <summary>Two tiles at once share the queries' broadcasts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score4X2(AttentionPlace* place, int pairs, int* query, float* factors, float* scores, nint step)
    {
        sbyte* tileA = place[0].Keys, tileB = place[1].Keys;
        float* scalesA = place[0].KeyScales, scalesB = place[1].KeyScales;
        byte* ahead = place[0].AheadOfKeys; // of both tiles
        TWords a0A = TWords.Zero, a0B = TWords.Zero;
        TWords a1A = TWords.Zero, a1B = TWords.Zero;
        TWords a2A = TWords.Zero, a2B = TWords.Zero;
        TWords a3A = TWords.Zero, a3B = TWords.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(ahead);
            ahead += step;
            TWords kA = TWords.LoadBytes(tileA);
            tileA += 2 * Tile;
            TWords kB = TWords.LoadBytes(tileB);
            tileB += 2 * Tile;
            TWords q0 = TWords.Broadcast(query[0]);
            a0A = TWords.MultiplyAdd(kA, q0, a0A);
            a0B = TWords.MultiplyAdd(kB, q0, a0B);
            TWords q1 = TWords.Broadcast(query[1]);
            a1A = TWords.MultiplyAdd(kA, q1, a1A);
            a1B = TWords.MultiplyAdd(kB, q1, a1B);
            TWords q2 = TWords.Broadcast(query[2]);
            a2A = TWords.MultiplyAdd(kA, q2, a2A);
            a2B = TWords.MultiplyAdd(kB, q2, a2B);
            TWords q3 = TWords.Broadcast(query[3]);
            a3A = TWords.MultiplyAdd(kA, q3, a3A);
            a3B = TWords.MultiplyAdd(kB, q3, a3B);
            query += Block;
        }

        a0A.StoreScaled(scores, factors[0], scalesA);
        a0B.StoreScaled(scores + Tile, factors[0], scalesB);
        a1A.StoreScaled(scores + Stride, factors[1], scalesA);
        a1B.StoreScaled(scores + Stride + Tile, factors[1], scalesB);
        a2A.StoreScaled(scores + 2 * Stride, factors[2], scalesA);
        a2B.StoreScaled(scores + 2 * Stride + Tile, factors[2], scalesB);
        a3A.StoreScaled(scores + 3 * Stride, factors[3], scalesA);
        a3B.StoreScaled(scores + 3 * Stride + Tile, factors[3], scalesB);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score4(AttentionPlace* place, int pairs, int* query, float* factors, float* scores, nint step)
    {
        sbyte* tile = place->Keys;
        float* scales = place->KeyScales;
        byte* ahead = place->AheadOfKeys;
        TWords a0 = TWords.Zero;
        TWords a1 = TWords.Zero;
        TWords a2 = TWords.Zero;
        TWords a3 = TWords.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(ahead);
            ahead += step;
            TWords k = TWords.LoadBytes(tile);
            tile += 2 * Tile;
            TWords q0 = TWords.Broadcast(query[0]);
            a0 = TWords.MultiplyAdd(k, q0, a0);
            TWords q1 = TWords.Broadcast(query[1]);
            a1 = TWords.MultiplyAdd(k, q1, a1);
            TWords q2 = TWords.Broadcast(query[2]);
            a2 = TWords.MultiplyAdd(k, q2, a2);
            TWords q3 = TWords.Broadcast(query[3]);
            a3 = TWords.MultiplyAdd(k, q3, a3);
            query += Block;
        }

        a0.StoreScaled(scores, factors[0], scales);
        a1.StoreScaled(scores + Stride, factors[1], scales);
        a2.StoreScaled(scores + 2 * Stride, factors[2], scales);
        a3.StoreScaled(scores + 3 * Stride, factors[3], scales);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score2(AttentionPlace* place, int pairs, int* query, float* factors, float* scores, nint step)
    {
        sbyte* tile = place->Keys;
        float* scales = place->KeyScales;
        byte* ahead = place->AheadOfKeys;
        TWords a0 = TWords.Zero;
        TWords a1 = TWords.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(ahead);
            ahead += step;
            TWords k = TWords.LoadBytes(tile);
            tile += 2 * Tile;
            TWords q0 = TWords.Broadcast(query[0]);
            a0 = TWords.MultiplyAdd(k, q0, a0);
            TWords q1 = TWords.Broadcast(query[1]);
            a1 = TWords.MultiplyAdd(k, q1, a1);
            query += Block;
        }

        a0.StoreScaled(scores, factors[0], scales);
        a1.StoreScaled(scores + Stride, factors[1], scales);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Score1(AttentionPlace* place, int pairs, int* query, float* factors, float* scores, nint step)
    {
        sbyte* tile = place->Keys;
        float* scales = place->KeyScales;
        byte* ahead = place->AheadOfKeys;
        TWords a0 = TWords.Zero;
        for (; pairs > 0; pairs--)
        {
            Prefetch(ahead);
            ahead += step;
            TWords k = TWords.LoadBytes(tile);
            tile += 2 * Tile;
            TWords q0 = TWords.Broadcast(query[0]);
            a0 = TWords.MultiplyAdd(k, q0, a0);
            query += Block;
        }

        a0.StoreScaled(scores, factors[0], scales);
    }
}
