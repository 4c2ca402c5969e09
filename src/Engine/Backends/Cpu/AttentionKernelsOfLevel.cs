using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>Kernels of the float types: f32 arithmetic, additions in increasing position.</summary>
internal sealed unsafe partial class AttentionKernels<TLanes, TFormat> : AttentionKernels
    where TLanes : struct, ILanes<TLanes>
    where TFormat : struct, IAttentionFormat
{
    /// <summary>Columns whose accumulators fit the registers of the level: 32 of 16 lanes, 16 of 8, or 16 of 4.</summary>
    private static int ColumnsAtOnce => typeof(TLanes) == typeof(Lanes512) ? 4 : typeof(TLanes) == typeof(Lanes256) ? 2 : 1;

    public override void PackQuery(float* query, int headDim, float scale, float* block, int column, float* queryScale)
    {
        float* to = block + 2 * column;
        for (int d = 0; d < headDim; d += 2)
        {
            to[d * Block] = query[d] * scale * TFormat.QueryFactor;
            to[d * Block + 1] = query[d + 1] * scale * TFormat.QueryFactor;
        }
    }

    public override void Scores(in AttentionSlots slots, int columns, float* query, float* queryScale, in AttentionWeights weights)
    {
        int pairs = slots.Format.HeadDim / 2, count = slots.AlignedCount, aligned = slots.Aligned, i = 0, tileBytes = slots.Format.KeyTileBytes;
        float* scores = weights.Floats;
        AttentionAhead stream = slots.Ahead(0);
        for (; ColumnsAtOnce == 4 && columns > 2 && i + 2 * Tile <= count; i += 2 * Tile)
        {
            byte* ahead = stream.Next(2 * tileBytes);
            Score4X2(slots.KeyTile(aligned + i), slots.KeyTile(aligned + i + Tile), pairs, query, scores + i, ahead);
        }

        for (; i < count; i += Tile)
        {
            byte* tile = slots.KeyTile(aligned + i), ahead = stream.Next(tileBytes);
            for (int c = 0; c < columns;)
            {
                float* q = query + 2 * c, s = scores + c * Stride + i;
                int atOnce = AtOnce(columns - c);
                if (atOnce == 4) Score4(tile, pairs, q, s, ahead);
                else if (atOnce == 2) Score2(tile, pairs, q, s, ahead);
                else Score1(tile, pairs, q, s, ahead);
                ahead = null;
                c += atOnce;
            }
        }
    }

    public override void Softmax(in AttentionSlots slots, int columns, in AttentionWeights weights, in AttentionPartial partial)
    {
        int count = slots.AlignedCount;
        for (int c = 0; c < columns; c++)
        {
            float* s = weights.Floats + c * Stride;
            float largest = Largest<TLanes>(s, count);
            partial.Maximum[c] = largest;
            TLanes reference = TLanes.Broadcast(Reference(largest)), factor = TLanes.Broadcast(TFormat.LoadFactor);
            for (int i = 0; i < count; i += Tile)
            {
                TLanes p = TLanes.ExpOfNonPositive(TLanes.Load(s + i) - reference);
                (TFormat.LoadFactor == 1f ? p : p * factor).Store(s + i);
            }
        }
    }

    public override void Values(in AttentionSlots slots, int columns, in AttentionWeights weights, in AttentionPartial partial)
    {
        ValueRun* runs = (ValueRun*)weights.Places, end = runs + slots.PageCount;
        int valueDim = slots.Format.ValueDim;
        nint rowBytes = slots.Format.ValueRowBytes;
        float* first = weights.Floats + (slots.First - slots.Aligned);
        for (int c = 0; c < columns;)
        {
            float* w = first + c * Stride, s = partial.Sum + c, o = partial.Output + (long)c * valueDim;
            int atOnce = AtOnce(columns - c);
            for (int dim = 0; dim < valueDim;)
            {
                bool wide = ColumnsAtOnce == 4 && valueDim - dim >= 64;
                if (atOnce == 4 && wide) Values4X64(runs, end, rowBytes, w, s, o, valueDim, dim);
                else if (atOnce == 4) Values4X32(runs, end, rowBytes, w, s, o, valueDim, dim);
                else if (atOnce == 2) Values2X32(runs, end, rowBytes, w, s, o, valueDim, dim);
                else if (wide) Values1X64(runs, end, rowBytes, w, s, o, valueDim, dim);
                else Values1X32(runs, end, rowBytes, w, s, o, valueDim, dim);
                dim += atOnce != 2 && wide ? 64 : 32;
            }

            c += atOnce;
        }

        for (int c = 0; TFormat.LoadFactor != 1f && c < columns; c++) partial.Sum[c] *= 1f / TFormat.LoadFactor;
    }

    /// <summary>Stores finished scores of a tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreScores(TLanes sum, float* scores)
    {
        if (TFormat.LoadFactor != 1f) sum *= TLanes.Broadcast(TFormat.LoadFactor / TFormat.QueryFactor);
        sum.Store(scores);
    }

    /// <summary>Columns of the next call; three are done as four, the last one padding.</summary>
    private static int AtOnce(int left) => Math.Min(ColumnsAtOnce, left > 2 ? 4 : left);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* line)
    {
        if (!Sse.IsSupported) return;
        Sse.Prefetch0(line);
        if (TFormat.PairBytes > 64) Sse.Prefetch0(line + 64);
    }
}
