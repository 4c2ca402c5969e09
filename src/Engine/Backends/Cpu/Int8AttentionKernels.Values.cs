using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Backends.Cpu;

/// <content>
/// Weighted values: a lane is a dim, and a word pair of it holds two neighbouring slots, so that one instruction adds the values of both. Whole tiles are
/// worked on: slots outside of the chunk have weight 0. The methods differ in columns and dims at once only; wide ones are for 32 registers.
/// </content>
internal sealed unsafe partial class Int8AttentionKernels<TLanes, TWords>
{
    public override void Values(in AttentionSlots slots, int columns, in AttentionWeights weights, in AttentionPartial partial)
    {
        AttentionPlace* tiles = weights.Places, end = tiles + slots.AlignedCount / Tile;
        nint step = slots.Prefetches ? Line : 0;
        int valueDim = slots.Format.ValueDim;
        nint pairBytes = 2 * slots.Format.ValueRowBytes;
        for (int c = 0; c < columns;)
        {
            short* w = weights.Words + c * Stride;
            float* units = weights.Units + c, o = partial.Output + (long)c * valueDim;
            int atOnce = AtOnce(columns - c);
            for (int dim = 0; dim < valueDim;)
            {
                bool wide = atOnce == 4 && valueDim - dim >= 64;
                if (wide && emitted is not null) Values4X64(emitted, slots.Prefetches, tiles, end, pairBytes, w, units, o, valueDim, dim);
                else if (wide) Values4X64(tiles, end, step, pairBytes, w, units, o, valueDim, dim);
                else if (atOnce == 4) Values4X32(tiles, end, step, pairBytes, w, units, o, valueDim, dim);
                else if (atOnce == 2) Values2X32(tiles, end, step, pairBytes, w, units, o, valueDim, dim);
                else Values1X32(tiles, end, step, pairBytes, w, units, o, valueDim, dim);
                dim += wide ? 64 : 32;
            }

            c += atOnce;
        }
    }

    /// <summary>The same, emitted.</summary>
    private static void Values4X64(
        EmittedAttention code, bool prefetches, AttentionPlace* tile, AttentionPlace* end, nint pairBytes, short* words, float* units, float* output, int valueDim, int dim)
    {
        var call = new ValueCall
        {
            Places = tile, Tiles = end - tile, PairBytes = pairBytes, Words = words, Row = 2 * dim, Ahead = dim / 8 * Line,
            Units = units, Output = output + dim, OutputStride = valueDim * sizeof(float),
        };
        code.Values(&call, prefetches);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values4X64(AttentionPlace* tile, AttentionPlace* end, nint step, nint pairBytes, short* words, float* units, float* output, int valueDim, int dim)
    {
        TWords a00 = TWords.Zero, a01 = TWords.Zero, a02 = TWords.Zero, a03 = TWords.Zero;
        TWords a10 = TWords.Zero, a11 = TWords.Zero, a12 = TWords.Zero, a13 = TWords.Zero;
        TWords a20 = TWords.Zero, a21 = TWords.Zero, a22 = TWords.Zero, a23 = TWords.Zero;
        TWords a30 = TWords.Zero, a31 = TWords.Zero, a32 = TWords.Zero, a33 = TWords.Zero;
        int* w = (int*)words;
        for (; tile < end; tile++)
        {
            sbyte* row = tile->Values + 2 * dim;
            byte* ahead = tile->AheadOfValues + dim / 8 * step;
            for (int pair = 0; pair < Tile / 2; pair++)
            {
                Prefetch(ahead);
                ahead += step;
                TWords v0 = TWords.LoadBytes(row);
                TWords v1 = TWords.LoadBytes(row + 32);
                TWords v2 = TWords.LoadBytes(row + 64);
                TWords v3 = TWords.LoadBytes(row + 96);
                TWords w0 = TWords.Broadcast(w[pair]);
                a00 = TWords.MultiplyAdd(v0, w0, a00);
                a01 = TWords.MultiplyAdd(v1, w0, a01);
                a02 = TWords.MultiplyAdd(v2, w0, a02);
                a03 = TWords.MultiplyAdd(v3, w0, a03);
                TWords w1 = TWords.Broadcast(w[pair + Stride / 2]);
                a10 = TWords.MultiplyAdd(v0, w1, a10);
                a11 = TWords.MultiplyAdd(v1, w1, a11);
                a12 = TWords.MultiplyAdd(v2, w1, a12);
                a13 = TWords.MultiplyAdd(v3, w1, a13);
                TWords w2 = TWords.Broadcast(w[pair + 2 * Stride / 2]);
                a20 = TWords.MultiplyAdd(v0, w2, a20);
                a21 = TWords.MultiplyAdd(v1, w2, a21);
                a22 = TWords.MultiplyAdd(v2, w2, a22);
                a23 = TWords.MultiplyAdd(v3, w2, a23);
                TWords w3 = TWords.Broadcast(w[pair + 3 * Stride / 2]);
                a30 = TWords.MultiplyAdd(v0, w3, a30);
                a31 = TWords.MultiplyAdd(v1, w3, a31);
                a32 = TWords.MultiplyAdd(v2, w3, a32);
                a33 = TWords.MultiplyAdd(v3, w3, a33);
                row += pairBytes;
            }

            w += Tile / 2;
        }

        output += dim;
        a00.StoreScaled(output, units[0]);
        a01.StoreScaled(output + 16, units[0]);
        a02.StoreScaled(output + 32, units[0]);
        a03.StoreScaled(output + 48, units[0]);
        a10.StoreScaled(output + valueDim, units[1]);
        a11.StoreScaled(output + valueDim + 16, units[1]);
        a12.StoreScaled(output + valueDim + 32, units[1]);
        a13.StoreScaled(output + valueDim + 48, units[1]);
        a20.StoreScaled(output + 2 * valueDim, units[2]);
        a21.StoreScaled(output + 2 * valueDim + 16, units[2]);
        a22.StoreScaled(output + 2 * valueDim + 32, units[2]);
        a23.StoreScaled(output + 2 * valueDim + 48, units[2]);
        a30.StoreScaled(output + 3 * valueDim, units[3]);
        a31.StoreScaled(output + 3 * valueDim + 16, units[3]);
        a32.StoreScaled(output + 3 * valueDim + 32, units[3]);
        a33.StoreScaled(output + 3 * valueDim + 48, units[3]);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values4X32(AttentionPlace* tile, AttentionPlace* end, nint step, nint pairBytes, short* words, float* units, float* output, int valueDim, int dim)
    {
        TWords a00 = TWords.Zero, a01 = TWords.Zero;
        TWords a10 = TWords.Zero, a11 = TWords.Zero;
        TWords a20 = TWords.Zero, a21 = TWords.Zero;
        TWords a30 = TWords.Zero, a31 = TWords.Zero;
        int* w = (int*)words;
        for (; tile < end; tile++)
        {
            sbyte* row = tile->Values + 2 * dim;
            byte* ahead = tile->AheadOfValues + dim / 8 * step;
            for (int pair = 0; pair < Tile / 2; pair++)
            {
                if ((pair & 1) == 0) Prefetch(ahead);
                ahead += step / 2;
                TWords v0 = TWords.LoadBytes(row);
                TWords v1 = TWords.LoadBytes(row + 32);
                TWords w0 = TWords.Broadcast(w[pair]);
                a00 = TWords.MultiplyAdd(v0, w0, a00);
                a01 = TWords.MultiplyAdd(v1, w0, a01);
                TWords w1 = TWords.Broadcast(w[pair + Stride / 2]);
                a10 = TWords.MultiplyAdd(v0, w1, a10);
                a11 = TWords.MultiplyAdd(v1, w1, a11);
                TWords w2 = TWords.Broadcast(w[pair + 2 * Stride / 2]);
                a20 = TWords.MultiplyAdd(v0, w2, a20);
                a21 = TWords.MultiplyAdd(v1, w2, a21);
                TWords w3 = TWords.Broadcast(w[pair + 3 * Stride / 2]);
                a30 = TWords.MultiplyAdd(v0, w3, a30);
                a31 = TWords.MultiplyAdd(v1, w3, a31);
                row += pairBytes;
            }

            w += Tile / 2;
        }

        output += dim;
        a00.StoreScaled(output, units[0]);
        a01.StoreScaled(output + 16, units[0]);
        a10.StoreScaled(output + valueDim, units[1]);
        a11.StoreScaled(output + valueDim + 16, units[1]);
        a20.StoreScaled(output + 2 * valueDim, units[2]);
        a21.StoreScaled(output + 2 * valueDim + 16, units[2]);
        a30.StoreScaled(output + 3 * valueDim, units[3]);
        a31.StoreScaled(output + 3 * valueDim + 16, units[3]);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values2X32(AttentionPlace* tile, AttentionPlace* end, nint step, nint pairBytes, short* words, float* units, float* output, int valueDim, int dim)
    {
        TWords a00 = TWords.Zero, a01 = TWords.Zero;
        TWords a10 = TWords.Zero, a11 = TWords.Zero;
        int* w = (int*)words;
        for (; tile < end; tile++)
        {
            sbyte* row = tile->Values + 2 * dim;
            byte* ahead = tile->AheadOfValues + dim / 8 * step;
            for (int pair = 0; pair < Tile / 2; pair++)
            {
                if ((pair & 1) == 0) Prefetch(ahead);
                ahead += step / 2;
                TWords v0 = TWords.LoadBytes(row);
                TWords v1 = TWords.LoadBytes(row + 32);
                TWords w0 = TWords.Broadcast(w[pair]);
                a00 = TWords.MultiplyAdd(v0, w0, a00);
                a01 = TWords.MultiplyAdd(v1, w0, a01);
                TWords w1 = TWords.Broadcast(w[pair + Stride / 2]);
                a10 = TWords.MultiplyAdd(v0, w1, a10);
                a11 = TWords.MultiplyAdd(v1, w1, a11);
                row += pairBytes;
            }

            w += Tile / 2;
        }

        output += dim;
        a00.StoreScaled(output, units[0]);
        a01.StoreScaled(output + 16, units[0]);
        a10.StoreScaled(output + valueDim, units[1]);
        a11.StoreScaled(output + valueDim + 16, units[1]);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values1X32(AttentionPlace* tile, AttentionPlace* end, nint step, nint pairBytes, short* words, float* units, float* output, int valueDim, int dim)
    {
        TWords a00 = TWords.Zero, a01 = TWords.Zero;
        int* w = (int*)words;
        for (; tile < end; tile++)
        {
            sbyte* row = tile->Values + 2 * dim;
            byte* ahead = tile->AheadOfValues + dim / 8 * step;
            for (int pair = 0; pair < Tile / 2; pair++)
            {
                if ((pair & 1) == 0) Prefetch(ahead);
                ahead += step / 2;
                TWords v0 = TWords.LoadBytes(row);
                TWords v1 = TWords.LoadBytes(row + 32);
                TWords w0 = TWords.Broadcast(w[pair]);
                a00 = TWords.MultiplyAdd(v0, w0, a00);
                a01 = TWords.MultiplyAdd(v1, w0, a01);
                row += pairBytes;
            }

            w += Tile / 2;
        }

        output += dim;
        a00.StoreScaled(output, units[0]);
        a01.StoreScaled(output + 16, units[0]);
    }
}
