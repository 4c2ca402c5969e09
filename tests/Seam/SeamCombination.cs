using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Seam;

/// <summary>Shape of the oracle's trees, by the nodes of a whole one, its root included.</summary>
public enum SeamDrafts
{
    ChainOf5,
    TreeOf2,
    TreeOf16,
    TreeOf64,
    TreeOf256,
}

public enum SeamBatch
{
    One,
    Four,
    ThirtyTwo,

    /// <summary>In random order, with steps between the arrivals.</summary>
    ThirtyTwoShuffled,
}

public enum SeamPolicy
{
    Dense,
    SlidingWindow,
    Dms2,
    Dms4,
    Dms8,
}

/// <summary>
/// One way of serving requests whose answers must be those of plain decoding alone. The full product of the axes has <see cref="Count"/> members, each
/// with an index. All of them exist: a request can be preempted while it runs alone, by a late one of higher priority, and under eviction prefixes are
/// reused at snapshots.
/// </summary>
public sealed record SeamCombination(
    SeamDrafts Drafts, SeamBatch Batch, int Chunk, SeamPolicy Policy, KvType Kv, WeightType Weights, bool Preempted, bool Prefixes, int Threads, bool Sampled)
{
    public const int WholePrompt = 2048;

    private static readonly int[] s_chunks = [1, 7, 64, WholePrompt];
    private static readonly KvType[] s_kvTypes = [KvType.F32, KvType.BF16, KvType.Int8];
    private static readonly WeightType[] s_weightTypes = [WeightType.F32, WeightType.BF16, WeightType.Int8];

    /// <summary>Values of each axis, in the order of the record's fields.</summary>
    public static int[] Levels { get; } =
        [Enum.GetValues<SeamDrafts>().Length, Enum.GetValues<SeamBatch>().Length, s_chunks.Length, Enum.GetValues<SeamPolicy>().Length, 3, 3, 2, 2, 2, 2];

    public static int Count { get; } = Levels.Aggregate(1, (a, b) => a * b);

    /// <summary>Number in the full product; names the arrivals of the combination and which of the requests are asked.</summary>
    public int Index { get; private init; }

    public int Sequences => Batch switch { SeamBatch.One => 1, SeamBatch.Four => 4, _ => 32 };

    /// <summary>What plain decoding's answer depends on.</summary>
    public (SeamPolicy Policy, KvType Kv, WeightType Weights, bool Sampled) Model => (Policy, Kv, Weights, Sampled);

    public OracleOptions Oracle => Drafts switch
    {
        SeamDrafts.ChainOf5 => Shape(4, 0, 1),
        SeamDrafts.TreeOf2 => Shape(1, 0, 1),
        SeamDrafts.TreeOf16 => Shape(5, 2, 1),
        SeamDrafts.TreeOf64 => Shape(9, 2, 3),
        _ => Shape(15, 4, 4),
    };

    public static SeamCombination FromIndex(int index)
    {
        Span<int> values = stackalloc int[Levels.Length];
        int rest = index;
        for (int axis = Levels.Length - 1; axis >= 0; rest /= Levels[axis--]) values[axis] = rest % Levels[axis];
        return FromValues(values);
    }

    /// <summary>The combination with the given value of each axis.</summary>
    public static SeamCombination FromValues(ReadOnlySpan<int> values)
    {
        int index = 0;
        for (int axis = 0; axis < Levels.Length; axis++) index = index * Levels[axis] + values[axis];
        return new SeamCombination(
            (SeamDrafts)values[0], (SeamBatch)values[1], s_chunks[values[2]], (SeamPolicy)values[3], s_kvTypes[values[4]], s_weightTypes[values[5]],
            values[6] == 1, values[7] == 1, 1 + values[8], values[9] == 1)
        {
            Index = index,
        };
    }

    /// <summary>The eviction policy; windows are shorter than prompts, answers and the deeper trees.</summary>
    public static IEvictionPolicy PolicyOf(SeamPolicy policy) => policy switch
    {
        SeamPolicy.Dense => new DensePolicy(),
        SeamPolicy.SlidingWindow => new SlidingWindowPolicy(12),
        SeamPolicy.Dms2 => new DmsPolicy(6, SyntheticDecisions.ForCompression(5, 2)),
        SeamPolicy.Dms4 => new DmsPolicy(6, SyntheticDecisions.ForCompression(5, 4)),
        _ => new DmsPolicy(6, SyntheticDecisions.ForCompression(5, 8)),
    };

    /// <summary>Whether the combination belongs to part <paramref name="part"/> of <paramref name="parts"/>, drawn so that every part has all values of every axis.</summary>
    public static bool IsIn(int index, int part, int parts) => (int)(CounterRandom.Bits(1, (ulong)index) % (ulong)parts) == part;

    private static OracleOptions Shape(int depth, int siblings, int siblingDepth) =>
        new() { VocabSize = SeamModels.Vocab, Depth = depth, Siblings = siblings, SiblingDepth = siblingDepth, Acceptance = 0.7, Seed = 3 };
}

/// <summary>A request of the matrix.</summary>
/// <param name="Prompt">Token ids.</param>
/// <param name="MaxTokens">Tokens of the answer.</param>
/// <param name="Sampling">With log-probabilities.</param>
public sealed record SeamRequest(int[] Prompt, int MaxTokens, SamplingOptions Sampling)
{
    /// <summary>Requests that are there to be asked.</summary>
    public const int Count = 32;

    /// <summary>Tokens that all prompts begin with: one block of the cache.</summary>
    public const int SharedTokens = SeamModels.SlotsPerPage;

    /// <summary>What all prompts begin with.</summary>
    public static int[] Shared { get; } = Tokens(SharedTokens, 99);

    /// <summary>Every eighth prompt is longer than a chunk of 64; the answer to one of them goes past position 256, where attention begins another block.</summary>
    public static SeamRequest Number(int i, bool sampled)
    {
        int own = i == 24 ? 226 : i % 8 == 0 ? 60 + i : 3 + i * 7 % 20;
        SamplingOptions sampling = sampled
            ? new SamplingOptions { Temperature = 0.8f, TopP = 0.9f, Seed = (ulong)i, LogProbs = true }
            : new SamplingOptions { LogProbs = true };
        return new SeamRequest([.. Shared, .. Tokens(own, (ulong)i)], i % 8 == 0 ? 44 : 18 + i % 3 * 4, sampling);
    }

    private static int[] Tokens(int count, ulong seed)
    {
        var random = new SeededRandom(seed, 4);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(SeamModels.Vocab))];
    }
}
