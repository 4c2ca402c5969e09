using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Foretoken.Backends.Cpu.Lanes;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <inheritdoc cref="AttentionKernels"/>
internal sealed unsafe partial class AttentionKernels<TLanes, TFormat> : AttentionKernels
    where TLanes : struct, ILanes<TLanes>
    where TFormat : struct, IAttentionFormat
{
    private const int Tile = KvPageFormat.TileSlots;

    /// <summary>Where the factors of the values stand relative to the weights.</summary>
    private static int Factors
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => TFormat.Scaled ? ScaledPlane : 0;
    }

    /// <summary>Columns whose accumulators fit the registers of the level: 32 of 16 lanes, 16 of 8, or 16 of 4.</summary>
    private static int ColumnsAtOnce => typeof(TLanes) == typeof(Lanes512) ? 4 : typeof(TLanes) == typeof(Lanes256) ? 2 : 1;

    public override void Scores(in AttentionSlots slots, int columns, float* query, float* scores)
    {
        int pairs = slots.Format.HeadDim / 2, count = slots.AlignedCount, aligned = slots.Aligned, i = 0, tileBytes = slots.Format.KeyTileBytes;
        for (; ColumnsAtOnce == 4 && columns > 2 && i + 2 * Tile <= count; i += 2 * Tile)
        {
            byte* ahead = slots.Ahead(i / Tile * tileBytes);
            Score4X2(slots.KeyTile(aligned + i), slots.KeyTile(aligned + i + Tile), pairs, query, scores + i, ahead);
        }

        for (; i < count; i += Tile)
        {
            byte* tile = slots.KeyTile(aligned + i), ahead = slots.Ahead(i / Tile * tileBytes);
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

        if (TFormat.Scaled) ScaleScores(slots, columns, scores);
    }

    public override void Softmax(in AttentionSlots slots, int columns, float* scores, float* maximum, float* sum, float* output)
    {
        int count = slots.AlignedCount, valueDim = slots.Format.ValueDim;
        for (int c = 0; c < columns; c++)
        {
            float* s = scores + c * Stride;
            float largest = Largest(s, count);
            if (largest > maximum[c])
            {
                float factor = VectorMath.Exp(maximum[c] - largest);
                maximum[c] = largest;
                sum[c] *= factor;
                TLanes factors = TLanes.Broadcast(factor);
                for (float* o = output + (long)c * valueDim, end = o + valueDim; o < end; o += 16) (TLanes.Load(o) * factors).Store(o);
            }

            TLanes reference = TLanes.Broadcast(float.IsNegativeInfinity(largest) ? 0f : maximum[c]); // nothing visible: −∞ − 0 gives weight 0
            for (int i = 0; i < count; i += Tile) TLanes.Exp(TLanes.Load(s + i) - reference).Store(s + i);
        }

        if (TFormat.Scaled) ScaleWeights(slots, columns, scores);
    }

    public override void Values(in AttentionSlots slots, int columns, float* weights, float* sum, float* output)
    {
        ValueRun* runs = stackalloc ValueRun[AttentionScratch.Slots / Tile + 1];
        ValueRun* end = runs + PlanValues(slots, runs);
        int valueDim = slots.Format.ValueDim;
        nint rowBytes = slots.Format.ValueRowBytes;
        weights += slots.First - slots.Aligned;
        for (int c = 0; c < columns;)
        {
            float* w = weights + c * Stride, s = sum + c, o = output + (long)c * valueDim;
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
    }

    /// <summary>s(k) = scale(k) · Σ q·k.</summary>
    private static void ScaleScores(in AttentionSlots slots, int columns, float* scores)
    {
        for (int i = 0; i < slots.AlignedCount; i += Tile)
        {
            TLanes scale = TLanes.Load(slots.KeyScales(slots.Aligned + i));
            for (float* s = scores + i, end = s + columns * Stride; s < end; s += Stride) (TLanes.Load(s) * scale).Store(s);
        }
    }

    /// <summary>o += (p · scale) · v: the product with the scale is rounded once and stands behind the weights, whose own sum goes on without it.</summary>
    private static void ScaleWeights(in AttentionSlots slots, int columns, float* weights)
    {
        for (int i = 0; i < slots.AlignedCount; i += Tile)
        {
            TLanes scale = TLanes.Load(slots.ValueScales(slots.Aligned + i));
            for (float* w = weights + i, end = w + columns * Stride; w < end; w += Stride) (TLanes.Load(w) * scale).Store(w + ScaledPlane);
        }
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
