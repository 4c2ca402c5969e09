using System.Runtime.Intrinsics;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// The inner loops of <see cref="CpuAttention"/> over a run of slots and a block of up to four columns, for one instruction-set level and storage
/// type. All of them compute the same bits: lanes are slots in <see cref="Scores"/> and dims in <see cref="Values"/>, and no sum crosses lanes.
/// </summary>
internal abstract unsafe class AttentionKernels
{
    protected const int Block = AttentionScratch.Block;
    protected const int Stride = AttentionScratch.Slots;

    /// <summary>Distance from the weights to the same weights times the values' scales.</summary>
    protected const int ScaledPlane = Block * Stride;

    public static AttentionKernels For(IsaLevel level, KvType type) => level switch
    {
        IsaLevel.Avx512 or IsaLevel.Emitted => For<Lanes512>(type),
        IsaLevel.Avx2 => For<Lanes256>(type),
        _ => For<Lanes128>(type),
    };

    /// <summary>s(k) of every slot of the run, tiles at its ends whole.</summary>
    /// <param name="slots">The run.</param>
    /// <param name="columns">Columns of the block, 1..4.</param>
    /// <param name="query">Scaled queries. // [headDim/2, 4, 2]</param>
    /// <param name="scores">Receives the scores. // [4, Slots]</param>
    public abstract void Scores(in AttentionSlots slots, int columns, float* query, float* scores);

    /// <summary>Moves the running maxima up, rescales sums and outputs where one rose, and turns scores into weights in place.</summary>
    public abstract void Softmax(in AttentionSlots slots, int columns, float* scores, float* maximum, float* sum, float* output);

    /// <summary>Adds the weights to the sums and the weighted values to the outputs, slot by slot.</summary>
    /// <param name="slots">The run.</param>
    /// <param name="columns">Columns of the block, 1..4.</param>
    /// <param name="weights">exp(s − m), 0 where masked; then the same times the values' scales, where there are any. // [2, 4, Slots]</param>
    /// <param name="sum">Running sums. // [4]</param>
    /// <param name="output">Running outputs. // [4, ValueDim]</param>
    public abstract void Values(in AttentionSlots slots, int columns, float* weights, float* sum, float* output);

    /// <summary>Sets the scores of slots that the mask hides to −∞.</summary>
    /// <param name="scores">Scores of one column. // [count]</param>
    /// <param name="mask">Bit i: slot i is visible.</param>
    /// <param name="count">Slots; whole tiles.</param>
    public static void Mask(float* scores, ulong* mask, int count)
    {
        Vector256<int> bits = Vector256.Create(1, 2, 4, 8, 16, 32, 64, 128);
        Vector256<float> hidden = Vector256.Create(float.NegativeInfinity);
        for (int i = 0; i < count; i += Vector256<float>.Count)
        {
            int visible = (int)(mask[i >> 6] >> (i & 63)) & 0xFF;
            if (visible == 0xFF) continue;
            Vector256<int> isVisible = Vector256.Equals(Vector256.Create(visible) & bits, bits);
            Vector256.ConditionalSelect(isVisible.AsSingle(), Vector256.Load(scores + i), hidden).Store(scores + i);
        }
    }

    /// <summary>The largest of <paramref name="count"/> scores, whole tiles; the order of comparisons does not matter.</summary>
    protected static float Largest(float* scores, int count)
    {
        Vector256<float> a = Vector256.Load(scores), b = Vector256.Load(scores + 8);
        for (int i = KvPageFormat.TileSlots; i < count; i += KvPageFormat.TileSlots)
        {
            a = Vector256.MaxNative(a, Vector256.Load(scores + i));
            b = Vector256.MaxNative(b, Vector256.Load(scores + i + 8));
        }

        a = Vector256.MaxNative(a, b);
        Vector128<float> half = Vector128.MaxNative(a.GetLower(), a.GetUpper());
        return MathF.Max(MathF.Max(half[0], half[1]), MathF.Max(half[2], half[3]));
    }

    private static AttentionKernels For<TLanes>(KvType type)
        where TLanes : struct, ILanes<TLanes> => type switch
    {
        KvType.F32 => new AttentionKernels<TLanes, F32Attention>(),
        KvType.BF16 => new AttentionKernels<TLanes, BFloat16Attention>(),
        KvType.F16 => new AttentionKernels<TLanes, HalfAttention>(),
        KvType.Int8 => new AttentionKernels<TLanes, Int8Attention>(),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "The CPU has no attention for this type of keys and values."),
    };
}
