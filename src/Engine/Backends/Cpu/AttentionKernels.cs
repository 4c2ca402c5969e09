namespace Foretoken.Backends.Cpu;

/// <summary>The inner loops of <see cref="CpuAttention"/>: scores, masks, softmax and values of a block of four columns over a run of slots.</summary>
internal static unsafe class AttentionKernels
{
    private const int Block = AttentionScratch.Block;

    /// <summary>s(k) for every slot of the run, tiles at its ends whole.</summary>
    /// <param name="slots">The run.</param>
    /// <param name="query">Scaled queries. // [headDim/2, 4, 2]</param>
    /// <param name="scores">Receives the scores. // [4, Slots]</param>
    public static void Scores(in AttentionSlots slots, float* query, float* scores)
    {
        int headDim = slots.Format.HeadDim;
        for (int i = 0; i < slots.AlignedCount; i++)
        {
            byte* tile = slots.KeyTile(slots.Aligned + i);
            int lane = i % KvPageFormat.TileSlots;
            for (int c = 0; c < Block; c++)
            {
                float even = 0f, odd = 0f;
                for (int pair = 0; pair < headDim / 2; pair++)
                {
                    float k0, k1;
                    if (slots.Format.Type == KvType.F32)
                    {
                        k0 = ((float*)tile)[2 * pair * 16 + lane];
                        k1 = ((float*)tile)[(2 * pair + 1) * 16 + lane];
                    }
                    else
                    {
                        uint word = ((uint*)tile)[pair * 16 + lane];
                        k0 = BitConverter.UInt32BitsToSingle(word << 16);
                        k1 = BitConverter.UInt32BitsToSingle(word & 0xFFFF0000);
                    }

                    even = MathF.FusedMultiplyAdd(query[pair * 8 + 2 * c], k0, even);
                    odd = MathF.FusedMultiplyAdd(query[pair * 8 + 2 * c + 1], k1, odd);
                }

                scores[c * AttentionScratch.Slots + i] = even + odd;
            }
        }
    }

    /// <summary>Sets the scores of slots that the mask hides to −∞.</summary>
    public static void Mask(float* scores, ulong* mask, int count)
    {
        for (int i = 0; i < count; i++)
        {
            if ((mask[i >> 6] >> (i & 63) & 1) == 0) scores[i] = float.NegativeInfinity;
        }
    }

    /// <summary>Moves the running maximum up, rescales sum and output where it rose, and turns scores into weights. // [Slots, 4]</summary>
    public static void Softmax(in AttentionSlots slots, float* scores, float* weights, float* maximum, float* sum, float* output)
    {
        int count = slots.AlignedCount, valueDim = slots.Format.ValueDim;
        for (int c = 0; c < Block; c++)
        {
            float* s = scores + c * AttentionScratch.Slots;
            float largest = float.NegativeInfinity;
            for (int i = 0; i < count; i++) largest = MathF.Max(largest, s[i]);
            if (largest > maximum[c])
            {
                float factor = MathF.Exp(maximum[c] - largest);
                maximum[c] = largest;
                sum[c] *= factor;
                for (int d = 0; d < valueDim; d++) output[c * valueDim + d] *= factor;
            }

            float reference = float.IsNegativeInfinity(largest) ? 0f : maximum[c];
            for (int i = 0; i < count; i++) weights[i * Block + c] = MathF.Exp(s[i] - reference);
        }
    }

    /// <summary>Adds the weighted values, and the weights to the sums, slot by slot.</summary>
    public static void Values(in AttentionSlots slots, float* weights, float* sum, float* output)
    {
        int valueDim = slots.Format.ValueDim;
        for (int slot = slots.First; slot < slots.End; slot++)
        {
            byte* row = slots.ValueRow(slot);
            float* w = weights + (slot - slots.Aligned) * Block;
            for (int c = 0; c < Block; c++)
            {
                sum[c] += w[c];
                for (int d = 0; d < valueDim; d++)
                {
                    float v = slots.Format.Type == KvType.F32 ? ((float*)row)[d] : Half(((uint*)row)[d / 32 * 16 + d % 16], d % 32 >= 16);
                    output[c * valueDim + d] = MathF.FusedMultiplyAdd(w[c], v, output[c * valueDim + d]);
                }
            }
        }
    }

    private static float Half(uint word, bool high) => BitConverter.UInt32BitsToSingle(high ? word & 0xFFFF0000 : word << 16);
}
