using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Notes in the slots how much attention rows gave to keys (<see cref="HostKvView.ScoreOf"/>), for policies that evict by it: computed beside attention, from
/// the same stored keys, so that attention itself pays nothing for it. One chunk is one segment with one KV head; what it writes depends on no other.
/// </summary>
internal readonly unsafe struct AttentionObserver(
    TransformerShape shape, int layer, RowBatch rows, HostKvView kv, float* qkv, int window, AttentionKernels kernels, AttentionScratch[] scratch) : IParallelJob
{
    private const int Block = AttentionScratch.Block, Run = CpuAttention.ChunkPositions;

    public int Chunks => rows.Segments.Length * shape.KvHeadCount;

    public void Execute(int chunk, int thread)
    {
        RowSegment segment = rows.Segments[chunk / shape.KvHeadCount];
        if (segment.Branches) throw new InvalidOperationException("A policy that looks at attention weights cannot follow trees of drafts: decode plainly.");
        int kvHead = chunk % shape.KvHeadCount;
        KvHeadSlots* head = kv.Head(segment.Sequence, layer, kvHead);
        AttentionObservation what = kv.Observation!;
        int first = what.Rows == 0 ? 0 : Math.Max(0, segment.Count - what.Rows);
        if (!what.Keeps && segment.Count >= what.Rows)
        {
            for (int slot = 0; slot < head->Committed; slot++) *kv.ScoreOf(head, slot) = 0f;
        }

        for (int i = first; i < segment.Count; i++)
        {
            for (int query = 0; query < shape.QueryGroup; query += Block)
                Note(head, segment, i, kvHead * shape.QueryGroup + query, Math.Min(Block, shape.QueryGroup - query), scratch[thread]);
        }
    }

    /// <summary>Gives the heads of a layer, whose slots are the same, the mean of their scores.</summary>
    public void ShareInLayer()
    {
        foreach (RowSegment segment in rows.Segments)
        {
            int slots = kv.Head(segment.Sequence, layer, 0)->Committed + segment.Count;
            for (int slot = 0; slot < slots; slot++)
            {
                float sum = 0;
                for (int h = 0; h < shape.KvHeadCount; h++) sum += *kv.ScoreOf(kv.Head(segment.Sequence, layer, h), slot);
                for (int h = 0; h < shape.KvHeadCount; h++) *kv.ScoreOf(kv.Head(segment.Sequence, layer, h), slot) = sum / shape.HeadCount;
            }
        }
    }

    /// <summary>Adds the weights of up to four queries of one row: a first walk over the keys finds the softmax's maximum and sum, a second adds.</summary>
    private void Note(KvHeadSlots* head, in RowSegment segment, int row, int query, int columns, AttentionScratch memory)
    {
        long stride = (long)(shape.HeadCount + 2 * shape.KvHeadCount) * shape.HeadDim;
        new Span<float>(memory.Query, Block * shape.HeadDim).Clear();
        for (int c = 0; c < columns; c++)
        {
            float* vector = qkv + (segment.First + row) * stride + (long)(query + c) * shape.HeadDim;
            kernels.PackQuery(vector, shape.HeadDim, shape.AttentionScale, memory.Query, c, memory.QueryScale + c);
        }

        int position = rows.Positions[segment.First + row], end = head->Committed + row + 1;
        float* maximum = stackalloc float[Block], sum = stackalloc float[Block];
        for (int c = 0; c < Block; c++) (maximum[c], sum[c]) = (float.NegativeInfinity, 0f);
        for (int walk = 0; walk < 2; walk++)
        {
            for (int from = 0; from < end; from += Run)
            {
                var slots = new AttentionSlots(kv.Pool, head->Pages, kv.Format, from, Math.Min(end, from + Run), default);
                kernels.Plan(slots, memory.Weights);
                kernels.Scores(slots, columns, memory.Query, memory.QueryScale, memory.Weights);
                for (int slot = from; slot < slots.End; slot++)
                {
                    if (*kv.ExpireOf(head, slot) < position || (window > 0 && *kv.PositionOf(head, slot) <= position - window)) continue;
                    float* scores = memory.Weights.Floats + slot - slots.Aligned;
                    for (int c = 0; c < columns; c++)
                    {
                        float s = scores[c * AttentionScratch.Slots];
                        if (walk == 1) *kv.ScoreOf(head, slot) += VectorMath.Exp(s - maximum[c]) / sum[c];
                        else Fold(s, ref maximum[c], ref sum[c]);
                    }
                }
            }
        }
    }

    private static void Fold(float score, ref float maximum, ref float sum)
    {
        if (score > maximum)
        {
            sum = float.IsNegativeInfinity(maximum) ? 1f : sum * VectorMath.Exp(maximum - score) + 1f;
            maximum = score;
        }
        else
        {
            sum += VectorMath.Exp(score - maximum);
        }
    }
}
