using System.Runtime.CompilerServices;

namespace Foretoken.Backends.Cpu;

/// <content>
/// Weighted values: a lane is a dim, accumulators stay in registers over all slots of the chunk, so the loops call nothing. The methods differ
/// in columns and dims at once only; wide ones are for 32 registers.
/// </content>
internal sealed unsafe partial class AttentionKernels<TLanes, TFormat>
{
    /// <summary>Rows of values that follow each other in one page.</summary>
    private struct ValueRun
    {
        public byte* Row;
        public nint Rows;

        /// <summary>What to fetch from memory meanwhile, a step per row and block of dims.</summary>
        public byte* Ahead;
        public nint AheadStep; // 0: fetches nothing new
    }

    /// <summary>Cuts the slots into rows of one page each.</summary>
    public override void Plan(in AttentionSlots slots, in AttentionWeights weights)
    {
        var runs = (ValueRun*)weights.Places;
        int count = 0, rowBytes = slots.Format.ValueRowBytes;
        AttentionAhead stream = slots.Ahead((slots.AlignedCount + slots.First - slots.Aligned) * rowBytes); // Scores fetches the first half
        for (int slot = slots.First; slot < slots.End;)
        {
            int pageEnd = slots.PageEnd(slot);
            byte* row = slots.ValueRow(slot), ahead = stream.Next((pageEnd - slot) * rowBytes);
            runs[count++] = new ValueRun { Row = row, Rows = pageEnd - slot, Ahead = ahead is null ? row : ahead, AheadStep = ahead is null ? 0 : TFormat.PairBytes };
            slot = pageEnd;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values4X64(ValueRun* run, ValueRun* end, nint rowBytes, float* weights, float* sum, float* output, int valueDim, int dim)
    {
        float* o0 = output + dim, o1 = o0 + valueDim, o2 = o1 + valueDim, o3 = o2 + valueDim;
        TLanes a00 = TLanes.Zero, a01 = TLanes.Zero, a02 = TLanes.Zero, a03 = TLanes.Zero;
        TLanes a10 = TLanes.Zero, a11 = TLanes.Zero, a12 = TLanes.Zero, a13 = TLanes.Zero;
        TLanes a20 = TLanes.Zero, a21 = TLanes.Zero, a22 = TLanes.Zero, a23 = TLanes.Zero;
        TLanes a30 = TLanes.Zero, a31 = TLanes.Zero, a32 = TLanes.Zero, a33 = TLanes.Zero;
        float s0 = 0f, s1 = 0f, s2 = 0f, s3 = 0f;
        nint block = dim / KvPageFormat.ValueBlock * TFormat.PairBytes;
        for (; run < end; run++)
        {
            byte* row = run->Row + block, rowEnd = row + run->Rows * rowBytes, ahead = run->Ahead + run->Rows * block;
            nint step = run->AheadStep;
            for (; row < rowEnd; row += rowBytes)
            {
                Prefetch(ahead);
                Prefetch(ahead + step);
                ahead += 2 * step;
                TFormat.LoadPair(row, out TLanes v0, out TLanes v1);
                TFormat.LoadPair(row + TFormat.PairBytes, out TLanes v2, out TLanes v3);
                TLanes w0 = TLanes.Broadcast(weights[0]);
                a00 = TLanes.MultiplyAdd(v0, w0, a00);
                a01 = TLanes.MultiplyAdd(v1, w0, a01);
                a02 = TLanes.MultiplyAdd(v2, w0, a02);
                a03 = TLanes.MultiplyAdd(v3, w0, a03);
                s0 += weights[0];
                TLanes w1 = TLanes.Broadcast(weights[Stride]);
                a10 = TLanes.MultiplyAdd(v0, w1, a10);
                a11 = TLanes.MultiplyAdd(v1, w1, a11);
                a12 = TLanes.MultiplyAdd(v2, w1, a12);
                a13 = TLanes.MultiplyAdd(v3, w1, a13);
                s1 += weights[Stride];
                TLanes w2 = TLanes.Broadcast(weights[2 * Stride]);
                a20 = TLanes.MultiplyAdd(v0, w2, a20);
                a21 = TLanes.MultiplyAdd(v1, w2, a21);
                a22 = TLanes.MultiplyAdd(v2, w2, a22);
                a23 = TLanes.MultiplyAdd(v3, w2, a23);
                s2 += weights[2 * Stride];
                TLanes w3 = TLanes.Broadcast(weights[3 * Stride]);
                a30 = TLanes.MultiplyAdd(v0, w3, a30);
                a31 = TLanes.MultiplyAdd(v1, w3, a31);
                a32 = TLanes.MultiplyAdd(v2, w3, a32);
                a33 = TLanes.MultiplyAdd(v3, w3, a33);
                s3 += weights[3 * Stride];
                weights++;
            }
        }

        a00.Store(o0);
        a01.Store(o0 + 16);
        a02.Store(o0 + 32);
        a03.Store(o0 + 48);
        a10.Store(o1);
        a11.Store(o1 + 16);
        a12.Store(o1 + 32);
        a13.Store(o1 + 48);
        a20.Store(o2);
        a21.Store(o2 + 16);
        a22.Store(o2 + 32);
        a23.Store(o2 + 48);
        a30.Store(o3);
        a31.Store(o3 + 16);
        a32.Store(o3 + 32);
        a33.Store(o3 + 48);
        if (dim != 0) return; // the sums are the same in every run of dims
        sum[0] = s0;
        sum[1] = s1;
        sum[2] = s2;
        sum[3] = s3;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values4X32(ValueRun* run, ValueRun* end, nint rowBytes, float* weights, float* sum, float* output, int valueDim, int dim)
    {
        float* o0 = output + dim, o1 = o0 + valueDim, o2 = o1 + valueDim, o3 = o2 + valueDim;
        TLanes a00 = TLanes.Zero, a01 = TLanes.Zero;
        TLanes a10 = TLanes.Zero, a11 = TLanes.Zero;
        TLanes a20 = TLanes.Zero, a21 = TLanes.Zero;
        TLanes a30 = TLanes.Zero, a31 = TLanes.Zero;
        float s0 = 0f, s1 = 0f, s2 = 0f, s3 = 0f;
        nint block = dim / KvPageFormat.ValueBlock * TFormat.PairBytes;
        for (; run < end; run++)
        {
            byte* row = run->Row + block, rowEnd = row + run->Rows * rowBytes, ahead = run->Ahead + run->Rows * block;
            nint step = run->AheadStep;
            for (; row < rowEnd; row += rowBytes)
            {
                Prefetch(ahead);
                ahead += step;
                TFormat.LoadPair(row, out TLanes v0, out TLanes v1);
                TLanes w0 = TLanes.Broadcast(weights[0]);
                a00 = TLanes.MultiplyAdd(v0, w0, a00);
                a01 = TLanes.MultiplyAdd(v1, w0, a01);
                s0 += weights[0];
                TLanes w1 = TLanes.Broadcast(weights[Stride]);
                a10 = TLanes.MultiplyAdd(v0, w1, a10);
                a11 = TLanes.MultiplyAdd(v1, w1, a11);
                s1 += weights[Stride];
                TLanes w2 = TLanes.Broadcast(weights[2 * Stride]);
                a20 = TLanes.MultiplyAdd(v0, w2, a20);
                a21 = TLanes.MultiplyAdd(v1, w2, a21);
                s2 += weights[2 * Stride];
                TLanes w3 = TLanes.Broadcast(weights[3 * Stride]);
                a30 = TLanes.MultiplyAdd(v0, w3, a30);
                a31 = TLanes.MultiplyAdd(v1, w3, a31);
                s3 += weights[3 * Stride];
                weights++;
            }
        }

        a00.Store(o0);
        a01.Store(o0 + 16);
        a10.Store(o1);
        a11.Store(o1 + 16);
        a20.Store(o2);
        a21.Store(o2 + 16);
        a30.Store(o3);
        a31.Store(o3 + 16);
        if (dim != 0) return; // the sums are the same in every run of dims
        sum[0] = s0;
        sum[1] = s1;
        sum[2] = s2;
        sum[3] = s3;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values2X32(ValueRun* run, ValueRun* end, nint rowBytes, float* weights, float* sum, float* output, int valueDim, int dim)
    {
        float* o0 = output + dim, o1 = o0 + valueDim;
        TLanes a00 = TLanes.Zero, a01 = TLanes.Zero;
        TLanes a10 = TLanes.Zero, a11 = TLanes.Zero;
        float s0 = 0f, s1 = 0f;
        nint block = dim / KvPageFormat.ValueBlock * TFormat.PairBytes;
        for (; run < end; run++)
        {
            byte* row = run->Row + block, rowEnd = row + run->Rows * rowBytes, ahead = run->Ahead + run->Rows * block;
            nint step = run->AheadStep;
            for (; row < rowEnd; row += rowBytes)
            {
                Prefetch(ahead);
                ahead += step;
                TFormat.LoadPair(row, out TLanes v0, out TLanes v1);
                TLanes w0 = TLanes.Broadcast(weights[0]);
                a00 = TLanes.MultiplyAdd(v0, w0, a00);
                a01 = TLanes.MultiplyAdd(v1, w0, a01);
                s0 += weights[0];
                TLanes w1 = TLanes.Broadcast(weights[Stride]);
                a10 = TLanes.MultiplyAdd(v0, w1, a10);
                a11 = TLanes.MultiplyAdd(v1, w1, a11);
                s1 += weights[Stride];
                weights++;
            }
        }

        a00.Store(o0);
        a01.Store(o0 + 16);
        a10.Store(o1);
        a11.Store(o1 + 16);
        if (dim != 0) return; // the sums are the same in every run of dims
        sum[0] = s0;
        sum[1] = s1;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values1X64(ValueRun* run, ValueRun* end, nint rowBytes, float* weights, float* sum, float* output, int valueDim, int dim)
    {
        float* o0 = output + dim;
        TLanes a00 = TLanes.Zero, a01 = TLanes.Zero, a02 = TLanes.Zero, a03 = TLanes.Zero;
        float s0 = 0f;
        nint block = dim / KvPageFormat.ValueBlock * TFormat.PairBytes;
        for (; run < end; run++)
        {
            byte* row = run->Row + block, rowEnd = row + run->Rows * rowBytes, ahead = run->Ahead + run->Rows * block;
            nint step = run->AheadStep;
            for (; row < rowEnd; row += rowBytes)
            {
                Prefetch(ahead);
                Prefetch(ahead + step);
                ahead += 2 * step;
                TFormat.LoadPair(row, out TLanes v0, out TLanes v1);
                TFormat.LoadPair(row + TFormat.PairBytes, out TLanes v2, out TLanes v3);
                TLanes w0 = TLanes.Broadcast(weights[0]);
                a00 = TLanes.MultiplyAdd(v0, w0, a00);
                a01 = TLanes.MultiplyAdd(v1, w0, a01);
                a02 = TLanes.MultiplyAdd(v2, w0, a02);
                a03 = TLanes.MultiplyAdd(v3, w0, a03);
                s0 += weights[0];
                weights++;
            }
        }

        a00.Store(o0);
        a01.Store(o0 + 16);
        a02.Store(o0 + 32);
        a03.Store(o0 + 48);
        if (dim != 0) return; // the sums are the same in every run of dims
        sum[0] = s0;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Values1X32(ValueRun* run, ValueRun* end, nint rowBytes, float* weights, float* sum, float* output, int valueDim, int dim)
    {
        float* o0 = output + dim;
        TLanes a00 = TLanes.Zero, a01 = TLanes.Zero;
        float s0 = 0f;
        nint block = dim / KvPageFormat.ValueBlock * TFormat.PairBytes;
        for (; run < end; run++)
        {
            byte* row = run->Row + block, rowEnd = row + run->Rows * rowBytes, ahead = run->Ahead + run->Rows * block;
            nint step = run->AheadStep;
            for (; row < rowEnd; row += rowBytes)
            {
                Prefetch(ahead);
                ahead += step;
                TFormat.LoadPair(row, out TLanes v0, out TLanes v1);
                TLanes w0 = TLanes.Broadcast(weights[0]);
                a00 = TLanes.MultiplyAdd(v0, w0, a00);
                a01 = TLanes.MultiplyAdd(v1, w0, a01);
                s0 += weights[0];
                weights++;
            }
        }

        a00.Store(o0);
        a01.Store(o0 + 16);
        if (dim != 0) return; // the sums are the same in every run of dims
        sum[0] = s0;
    }
}
