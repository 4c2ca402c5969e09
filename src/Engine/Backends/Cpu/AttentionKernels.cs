using System.Runtime.Intrinsics;
using Foretoken.Backends.Cpu.Emitter;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// The inner loops of <see cref="CpuAttention"/> over a run of slots (those of one chunk) and a block of up to four columns, for one instruction-set
/// level and storage type. Levels of one type compute the same bits: lanes are slots in <see cref="Scores"/> and dims in <see cref="Values"/>, and
/// no float sum crosses lanes.
/// </summary>
internal abstract unsafe class AttentionKernels
{
    protected const int Tile = KvPageFormat.TileSlots;
    protected const int Block = AttentionScratch.Block;
    protected const int Stride = AttentionScratch.Slots;

    public static AttentionKernels For(IsaLevel level, KvType type) => level switch
    {
        IsaLevel.Emitted when type == KvType.Int8 => new Int8AttentionKernels<Lanes512, WordLanes512>(EmittedAttention.Instance),
        IsaLevel.Avx512 or IsaLevel.Emitted => For<Lanes512, WordLanes512>(type),
        IsaLevel.Avx2 => For<Lanes256, WordLanes256>(type),
        _ => For<Lanes128, WordLanes128>(type),
    };

    /// <summary>Lays out one column's query for <see cref="Scores"/>.</summary>
    /// <param name="query">The query. // [headDim]</param>
    /// <param name="headDim">Its length.</param>
    /// <param name="scale">Attention scale.</param>
    /// <param name="block">The column's block. // [headDim/2, 4] pairs of dims</param>
    /// <param name="column">Column of the block, 0..3.</param>
    /// <param name="queryScale">Receives the factor of the column's scores, where the type has one.</param>
    public abstract void PackQuery(float* query, int headDim, float scale, float* block, int column, float* queryScale);

    /// <summary>Looks up what all blocks of columns need to know of the run.</summary>
    public virtual void Plan(in AttentionSlots slots, in AttentionWeights weights)
    {
    }

    /// <summary>s(k) of every slot of the run, tiles at its ends whole.</summary>
    /// <param name="slots">The run.</param>
    /// <param name="columns">Columns of the block, 1..4.</param>
    /// <param name="query">Packed queries. // [headDim/2, 4] pairs of dims</param>
    /// <param name="queryScale">Factors of the columns' scores. // [4]</param>
    /// <param name="weights">Receives the scores.</param>
    public abstract void Scores(in AttentionSlots slots, int columns, float* query, float* queryScale, in AttentionWeights weights);

    /// <summary>Turns scores, −∞ where hidden, into weights exp(s − m); m, the largest score of each column, goes to <paramref name="partial"/>.</summary>
    public abstract void Softmax(in AttentionSlots slots, int columns, in AttentionWeights weights, in AttentionPartial partial);

    /// <summary>Sums of the weights and of the weighted values.</summary>
    public abstract void Values(in AttentionSlots slots, int columns, in AttentionWeights weights, in AttentionPartial partial);

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
    protected static float Largest<TLanes>(float* scores, int count)
        where TLanes : struct, ILanes<TLanes>
    {
        TLanes largest = TLanes.Load(scores);
        for (int i = Tile; i < count; i += Tile) largest = TLanes.Larger(largest, TLanes.Load(scores + i));
        return largest.Max();
    }

    /// <summary>What is subtracted from the scores: their maximum, or 0 where nothing is visible, so that −∞ gives weight 0.</summary>
    protected static float Reference(float largest) => float.IsNegativeInfinity(largest) ? 0f : largest;

    private static AttentionKernels For<TLanes, TWords>(KvType type)
        where TLanes : struct, ILanes<TLanes>
        where TWords : struct, IWordLanes<TWords> => type switch
    {
        KvType.F32 => new AttentionKernels<TLanes, F32Attention>(),
        KvType.BF16 => new AttentionKernels<TLanes, BFloat16Attention>(),
        KvType.F16 => new AttentionKernels<TLanes, HalfAttention>(),
        KvType.Int8 => new Int8AttentionKernels<TLanes, TWords>(emitted: null),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "The CPU has no attention for this type of keys and values."),
    };
}
