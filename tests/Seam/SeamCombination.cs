using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Numerics;

namespace Foretoken.Tests.Seam;

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
/// One way of serving requests whose answers must be those of plain decoding alone: a value of each of fourteen axes. All combinations exist: a request can be
/// preempted while it runs alone, by a late one of higher priority, and under eviction prefixes are reused at snapshots. The product of the first ten axes is
/// run as a whole (<see cref="FromIndex"/>); each of its members draws its values of the other four.
/// </summary>
public sealed record SeamCombination
{
    public const int WholePrompt = 4096;

    private static readonly int[] s_chunks = [1, 7, 64, WholePrompt], s_windows = [6, 1, 16, 64];
    private static readonly KvType[] s_kvTypes = [KvType.F32, KvType.BF16, KvType.F16, KvType.Int8];
    private static readonly WeightType[] s_weightTypes = [WeightType.F32, WeightType.BF16, WeightType.Int8];

    /// <summary>Values of each axis, in the order of the properties.</summary>
    public static int[] Levels { get; } =
        [SeamDrafts.Oracles.Count, Enum.GetValues<SeamBatch>().Length, s_chunks.Length, Enum.GetValues<SeamPolicy>().Length, 4, 3, 2, 2, 2, 2, 2, 2, 4, 2];

    /// <summary>Axes whose product is run as a whole.</summary>
    public const int ProductAxes = 10;

    /// <summary>Members of the product.</summary>
    public static int Count { get; } = Levels.Take(ProductAxes).Aggregate(1, (a, b) => a * b);

    public required SeamDrafts Drafts { get; init; }

    public required SeamBatch Batch { get; init; }

    public required int Chunk { get; init; }

    public required SeamPolicy Policy { get; init; }

    public required KvType Kv { get; init; }

    public required WeightType Weights { get; init; }

    public required bool Preempted { get; init; }

    /// <summary>What prompts begin with is stored.</summary>
    public required bool Prefixes { get; init; }

    public required int Threads { get; init; }

    public required bool Sampled { get; init; }

    /// <summary>Repetition, presence and frequency penalties.</summary>
    public required bool Penalties { get; init; }

    /// <summary>Requests ask for several samples, which are forks.</summary>
    public required bool Forked { get; init; }

    /// <summary>W of delayed eviction; the sliding window is twice as long.</summary>
    public required int Window { get; init; }

    /// <summary>Tokens that all prompts begin with.</summary>
    public required int SharedTokens { get; init; }

    /// <summary>Names the arrivals of the combination and which of the requests are asked.</summary>
    public required int Index { get; init; }

    /// <summary>Requests, and samples of each.</summary>
    public (int Requests, int Samples) Size => (Batch, Forked) switch
    {
        (SeamBatch.One, false) => (1, 1),
        (SeamBatch.One, true) => (1, 2),
        (SeamBatch.Four, false) => (4, 1),
        (SeamBatch.Four, true) => (1, 4),
        (_, false) => (32, 1),
        (_, true) => (8, 4),
    };

    public int Sequences => Size.Requests * Size.Samples;

    /// <summary>What plain decoding's answer depends on.</summary>
    public (SeamPolicy, int, KvType, WeightType, bool, bool, int) Model =>
        (Policy, Policy == SeamPolicy.Dense ? 0 : Window, Kv, Weights, Sampled, Penalties, SharedTokens);

    /// <summary>The eviction policy; most windows are shorter than prompts, answers and the deeper trees.</summary>
    public IEvictionPolicy EvictionPolicy => Policy switch
    {
        SeamPolicy.Dense => new DensePolicy(),
        SeamPolicy.SlidingWindow => new SlidingWindowPolicy(2 * Window),
        SeamPolicy.Dms2 => new DmsPolicy(Window, SyntheticDecisions.ForCompression(5, 2)),
        SeamPolicy.Dms4 => new DmsPolicy(Window, SyntheticDecisions.ForCompression(5, 4)),
        _ => new DmsPolicy(Window, SyntheticDecisions.ForCompression(5, 8)),
    };

    /// <summary>A member of the product.</summary>
    public static SeamCombination FromIndex(int index)
    {
        Span<int> values = stackalloc int[Levels.Length];
        int rest = index;
        for (int axis = ProductAxes - 1; axis >= 0; rest /= Levels[axis--]) values[axis] = rest % Levels[axis];
        for (int axis = ProductAxes; axis < Levels.Length; axis++) values[axis] = (int)(CounterRandom.Bits(2, (ulong)index, (uint)axis) % (ulong)Levels[axis]);
        return FromValues(values, SeamDrafts.Oracles, index);
    }

    /// <summary>The combination with the given value of each axis.</summary>
    /// <param name="values">One per axis.</param>
    /// <param name="drafts">What the first value counts.</param>
    /// <param name="index">Its number.</param>
    public static SeamCombination FromValues(ReadOnlySpan<int> values, IReadOnlyList<SeamDrafts> drafts, int index) => new()
    {
        Drafts = drafts[values[0]],
        Batch = (SeamBatch)values[1],
        Chunk = s_chunks[values[2]],
        Policy = (SeamPolicy)values[3],
        Kv = s_kvTypes[values[4]],
        Weights = s_weightTypes[values[5]],
        Preempted = values[6] == 1,
        Prefixes = values[7] == 1,
        Threads = 1 + values[8],
        Sampled = values[9] == 1,
        Penalties = values[10] == 1,
        Forked = values[11] == 1,
        Window = s_windows[values[12]],
        SharedTokens = values[13] == 0 ? SeamModels.SlotsPerPage : 3 * SeamModels.SlotsPerPage + 5,
        Index = index,
    };

    /// <summary>
    /// Part <paramref name="part"/> of <paramref name="parts"/>. Members with the same plain answers stay together, so that these are computed once, and each policy
    /// is dealt out evenly: every part has all values of every axis (up to 96 parts).
    /// </summary>
    public static IEnumerable<SeamCombination> Part(IEnumerable<SeamCombination> all, int part, int parts) => all
        .GroupBy(c => c.Model).GroupBy(model => model.Key.Item1)
        .SelectMany(policy => policy.OrderBy(model => CounterRandom.Bits(1, (ulong)model.First().Index)).Where((_, rank) => rank % parts == part))
        .SelectMany(members => members);
}
