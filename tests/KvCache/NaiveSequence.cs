using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Numerics;

namespace Foretoken.Tests.KvCache;

/// <summary>What a sequence is to the naive model: a list of tokens. Keys and values depend on all tokens before, as in a real model.</summary>
internal sealed class NaiveSequence
{
    /// <summary>Tokens that it will begin with.</summary>
    public required int[] Planned { get; init; }

    public List<int> Tokens { get; init; } = [];

    public NaiveSequence Copy() => new() { Planned = Planned, Tokens = [.. Tokens] };

    /// <summary>Last position that sees a token, given all tokens: a token's fate in DMS is decided by the next one.</summary>
    public int ExpireOf(IEvictionPolicy policy, int layer, int kvHead, int position)
    {
        if (!policy.Evicts) return int.MaxValue;
        if (policy is not DmsPolicy dms) return policy.ExpireOf(layer, kvHead, position);
        int decider = position + dms.DecisionShift;
        bool evicted = decider < Tokens.Count && dms.Decisions!.Evicts(layer, kvHead, decider, Tokens[decider]);
        return evicted ? position + dms.DecisionWindow : int.MaxValue;
    }

    /// <summary>Keys and values of the last token of a path, all KV heads.</summary>
    public static void Vectors(List<int> path, Span<float> vectors)
    {
        ulong hash = 5;
        foreach (int token in path) hash = hash * 6364136223846793005 + (ulong)token + 1442695040888963407;
        for (int i = 0; i < vectors.Length; i++) vectors[i] = (float)(CounterRandom.Uniform(9, hash, (uint)i) * 4 - 2);
    }
}

/// <summary>Reads single elements of stored keys and values, by the words of <see cref="KvPageFormat"/>.</summary>
internal static unsafe class SlotReader
{
    public static double Key(HostKvView view, KvHeadSlots* head, int slot, int d)
    {
        KvPageFormat format = view.Format;
        int inPage = slot & (format.SlotsPerPage - 1), lane = inPage % 16;
        byte* page = view.PageOf(head, slot), tile = page + inPage / 16 * format.KeyTileBytes;
        return format.Type switch
        {
            KvType.F32 => ((float*)tile)[d * 16 + lane],
            KvType.BF16 => BFloat16Bits.ToSingle(((ushort*)tile)[(d / 2 * 16 + lane) * 2 + d % 2]),
            KvType.F16 => (double)((Half*)tile)[(d / 2 * 16 + lane) * 2 + d % 2],
            _ => ((sbyte*)tile)[(d / 2 * 16 + lane) * 2 + d % 2] * (double)((float*)(page + format.KeyScaleOffset))[inPage],
        };
    }

    public static double Value(HostKvView view, KvHeadSlots* head, int slot, int d)
    {
        KvPageFormat format = view.Format;
        int inPage = slot & (format.SlotsPerPage - 1), block = d / 32, half = d % 32 / 16, word = block * 16 + d % 16;
        byte* page = view.PageOf(head, slot), row = page + format.ValueOffset + inPage * format.ValueRowBytes;
        return format.Type switch
        {
            KvType.F32 => ((float*)row)[d],
            KvType.BF16 => BFloat16Bits.ToSingle(((ushort*)row)[word * 2 + half]),
            KvType.F16 => (double)((Half*)row)[word * 2 + half],
            _ => ((sbyte*)page)[format.ValueOffset + (inPage / 2 * format.ValueDim + d) * 2 + inPage % 2] * (double)((float*)(page + format.ValueScaleOffset))[inPage],
        };
    }
}
