using System.Runtime.CompilerServices;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Xunit.Sdk;

namespace Foretoken.Tests.Backends;

/// <summary>
/// Attention under eviction against float64 with an explicit mask, for every row: token by token, in prompt chunks, in trees. All ways of cutting
/// the same tokens into passes give the same bits. Planted defects must be caught.
/// </summary>
public sealed unsafe class CpuEvictionTests
{
    private const int Tokens = 330; // more than one block of positions

    public static TheoryData<string, KvType> Policies()
    {
        var data = new TheoryData<string, KvType>();
        foreach (string policy in new[] { "dms 1", "dms 4", "dms 16", "dms 64", "unshifted 4", "immediate 16", "window 1", "window 37", "sinks 40", "random 8" }) data.Add(policy, KvType.F32);
        data.Add("dms 4", KvType.Int8);
        data.Add("dms 16", KvType.BF16);
        data.Add("sinks 40", KvType.F16);
        return data;
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void Rows_see_what_the_explicit_mask_shows_in_passes_of_any_size(string policy, KvType type)
    {
        AttentionCase test = Case(policy, type);
        int[] tokens = CpuAttentionTests.RandomTokens(21, Tokens);
        float[][] alone = Outputs(test, tokens, 1);
        for (int p = 0; p < Tokens; p += p < 80 ? 3 : 11)
            AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tokens.AsSpan(0, p + 1)), alone[p], $"{policy}, position {p}");
        foreach (int chunk in new[] { 2, 7, 64, 100, Tokens }) AssertSame(alone, Outputs(test, tokens, chunk), $"{policy}, chunk {chunk}");
        AssertSame(alone, Outputs(test with { ReclaimBatch = 100_000, Threads = 2 }, tokens, 64), $"{policy}, nothing reclaimed");
        AssertSame(alone, Outputs(test with { ReclaimBatch = 1, SlotsPerPage = 16, PlacementSeed = 3 }, tokens, 64), $"{policy}, all reclaimed");
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void Tree_rows_see_what_the_explicit_mask_shows_on_their_path(string policy, KvType type)
    {
        AttentionCase test = Case(policy, type);
        foreach ((int committed, int nodes) in new[] { (0, 90), (50, 256), (250, 70) }) CheckTree(test, committed, nodes, plant: null);
    }

    /// <summary>e_k = a_k instead of a_{k+1}.</summary>
    [Fact]
    public void Canary_flag_applied_one_token_early_is_caught()
    {
        AttentionCase test = Case("dms 4", KvType.F32);
        int[] tokens = CpuAttentionTests.RandomTokens(22, 60);
        AttentionCase planted = test with { Policy = new DmsPolicy(4, new OneTokenEarly(((DmsPolicy)test.Policy!).Decisions!, tokens)) };
        float[][] outputs = Outputs(planted, tokens, 1);
        Assert.ThrowsAny<XunitException>(() => AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tokens), outputs[^1], "planted"));
    }

    [Fact]
    public void Canary_mask_bit_shifted_is_caught() =>
        Assert.ThrowsAny<XunitException>(() => CheckTree(Case("dms 16", KvType.F32), 50, 100, harness =>
        {
            Span<ulong> masks = MasksOf(harness.Rows);
            for (int row = 20; row < 100; row++) masks[row * RowBatch.MaskWords] <<= 1;
        }));

    /// <summary>Blocks of keys by their rank among the survivors, in the last pass: sums then depend on what has been reclaimed.</summary>
    [Fact]
    public void Canary_key_tile_by_rank_is_caught()
    {
        AttentionCase test = Case("dms 16", KvType.F32);
        int[] tokens = CpuAttentionTests.RandomTokens(23, 700);
        float[][] expected = Outputs(test with { ReclaimBatch = 100_000 }, tokens, 100);
        AssertSame(expected, Outputs(test with { ReclaimBatch = 1 }, tokens, 100), "not planted");
        Assert.ThrowsAny<XunitException>(() => AssertSame(expected, Outputs(test with { ReclaimBatch = 1 }, tokens, 100, NumberSlotsByRank), "planted"));
    }

    private static AttentionCase Case(string policy, KvType type)
    {
        int number = int.Parse(policy.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
        return new AttentionCase
        {
            Heads = 4, KvHeads = 2, HeadDim = 16, Type = type, ReclaimBatch = 8,
            Policy = policy.Split(' ')[0] switch
            {
                "dms" => new DmsPolicy(number, new SyntheticDecisions(5, 0.6)),
                "unshifted" => new DmsPolicy(number, new SyntheticDecisions(5, 0.6), shift: 0),
                "immediate" => new DmsPolicy(number, new SyntheticDecisions(5, 0.6), shift: number),
                "window" => new SlidingWindowPolicy(number),
                "sinks" => new SinksPolicy(number),
                _ => new RandomPolicy(0.4, number, 6),
            },
        };
    }

    private static void CheckTree(AttentionCase test, int committed, int nodes, Action<AttentionHarness>? plant)
    {
        int[] prefix = CpuAttentionTests.RandomTokens(3, committed);
        using var harness = new AttentionHarness(test);
        int s = harness.NewSequence();
        for (int p = 0; p < committed; p += 25) harness.RunChain(s, prefix.AsSpan(p, Math.Min(25, committed - p)));
        harness.Plant = plant;
        harness.Rows.Clear();
        int[][] paths = CpuAttentionTests.AddRandomTree(harness, s, prefix, nodes, new SeededRandom((ulong)nodes));
        harness.Run();
        int deepest = 0;
        for (int r = 0; r < nodes; r++)
        {
            if (paths[r].Length > paths[deepest].Length) deepest = r;
            if (r % 5 == 0) AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, paths[r]), harness.Output(r), $"row {r} of {nodes} on {committed}");
        }

        harness.Plant = null;
        float[][] alone = Outputs(test, [.. paths[deepest], 77], 1);
        Assert.Equal(alone[paths[deepest].Length - 1], harness.Output(deepest));
        var path = new List<int>();
        for (int r = deepest; r >= 0; r = harness.Rows.Parents[r]) path.Insert(0, r);
        harness.Cache.Commit(s, []); // the whole tree is taken back, then verified again
        harness.Run();
        harness.Cache.Commit(s, path.ToArray());
        Assert.Equal(alone[^1], harness.RunChain(s, [77])[0]);
    }

    private static float[][] Outputs(AttentionCase test, int[] tokens, int chunk, Action<AttentionHarness>? plant = null)
    {
        using var harness = new AttentionHarness(test);
        int s = harness.NewSequence(), last = (tokens.Length - 1) / chunk * chunk;
        float[][] outputs = harness.RunChunks(s, tokens.AsSpan(0, last), chunk);
        harness.Plant = plant;
        return [.. outputs, .. harness.RunChain(s, tokens.AsSpan(last))];
    }

    private static void NumberSlotsByRank(AttentionHarness harness)
    {
        foreach (RowSegment segment in harness.Rows.Segments)
        {
            for (int h = 0; h < harness.View.Layout.KvHeadCount; h++)
            {
                KvHeadSlots* head = harness.View.Head(segment.Sequence, AttentionHarness.Layer, h);
                for (int slot = 0; slot < head->Committed; slot++) *harness.View.PositionOf(head, slot) = slot;
            }
        }
    }

    private static void AssertSame(float[][] expected, float[][] actual, string what)
    {
        for (int p = 0; p < expected.Length; p++) Assert.True(expected[p].AsSpan().SequenceEqual(actual[p]), $"{what}: position {p} differs");
        Assert.Equal(expected.Length, actual.Length);
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_masks")]
    private static extern ref ulong[] MasksOf(RowBatch rows);

    private sealed class OneTokenEarly(IDmsDecisionSource source, int[] tokens) : IDmsDecisionSource
    {
        public bool Evicts(int layer, int kvHead, int position, int token) =>
            position > 0 && source.Evicts(layer, kvHead, position - 1, tokens[position - 1]);
    }
}
