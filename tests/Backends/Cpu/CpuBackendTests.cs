using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cpu;

public class CpuBackendTests
{
    public static TheoryData<WeightType, KvType, bool> Cases()
    {
        var data = new TheoryData<WeightType, KvType, bool>();
        foreach (WeightType type in Enum.GetValues<WeightType>())
        {
            foreach (KvType kv in new[] { KvType.F32, KvType.BF16 })
            {
                data.Add(type, kv, true);
                data.Add(type, kv, false);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_row_of_a_chain_has_the_same_bits_alone_and_inside_any_pass(WeightType type, KvType kv, bool qwen)
    {
        using var rig = new CpuRig(type, kv, qwen: qwen);
        int[] tokens = Tokens(1, 130);
        float[][] alone = Run(rig, tokens, 1);
        Assert.Contains(alone[0], v => MathF.Abs(v) > 0.1f);
        foreach (int chunk in new[] { 2, 3, 5, 8, 17, 33, 64 }) AssertSame(alone, Run(rig, tokens, chunk), $"chunks of {chunk}");
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_row_of_a_tree_has_the_bits_of_its_path_alone(WeightType type, KvType kv, bool qwen)
    {
        using var rig = new CpuRig(type, kv, qwen: qwen);
        var random = new SeededRandom(2);
        int[] prefix = Tokens(3, 37), other = Tokens(4, 9);
        foreach (int nodes in new[] { 3, 8, 63 })
        {
            int[] tokens = Tokens((ulong)nodes, nodes), parents = [.. Enumerable.Range(0, nodes).Select(i => i == 0 ? -1 : random.Next(-1, i))];
            int sequence = rig.NewSequence(), second = rig.NewSequence();
            rig.Chain(sequence, prefix, 64);
            float[][] logits = rig.Pass(
                [new CpuRig.Branches(sequence, tokens, parents), new CpuRig.Branches(second, other, [.. Enumerable.Range(-1, 9)])], [[], []]);
            rig.Release(sequence);
            rig.Release(second);
            for (int node = 0; node < nodes; node += nodes > 10 ? 6 : 1)
            {
                var path = new List<int>();
                for (int i = node; i >= 0; i = parents[i]) path.Insert(0, tokens[i]);
                AssertSame([Run(rig, [.. prefix, .. path], 1)[^1]], [logits[node]], $"node {node} of {nodes}");
            }

            AssertSame(Run(rig, other, 1), logits[nodes..], "the sequence beside the tree");
        }
    }

    /// <summary>Also across a page and a chunk of positions, beside a chain, and with rows behind that were taken back.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void A_tree_that_grows_from_pass_to_pass_has_the_bits_of_one_pass(WeightType type, KvType kv, bool qwen)
    {
        using var rig = new CpuRig(type, kv, qwen: qwen);
        int[] parents = [-1, -1, -1, 0, 0, 2, 2, 3, 3, 6, 7, 9], chain = [-1, 0, 1, 2, 3];
        int first = rig.NewSequence(), second = rig.NewSequence();
        rig.Chain(first, Tokens(3, 126), 64);
        rig.Chain(second, Tokens(4, 15), 64);
        CpuRig.Branches[] trees = [new(first, Tokens(5, parents.Length), parents), new(second, Tokens(6, chain.Length), chain)];
        float[][] whole = rig.Pass(trees, [[], []]);
        for (int repeat = 0; repeat < 2; repeat++)
        {
            float[][][] grown = rig.Levels(trees);
            AssertSame(whole[..12], grown[0], "tree");
            AssertSame(whole[12..], grown[1], "chain");
        }
    }

    [Fact]
    public void An_accepted_path_continues_as_if_it_had_been_decoded()
    {
        using var rig = new CpuRig(WeightType.Int8, KvType.BF16);
        int[] tokens = Tokens(8, 40);
        float[][] alone = Run(rig, tokens, 1);
        int sequence = rig.NewSequence();
        rig.Chain(sequence, tokens.AsSpan(0, 20), 20);
        rig.Pass([new CpuRig.Branches(sequence, [tokens[20], 5, tokens[21], 7, tokens[22]], [-1, -1, 0, 1, 2])], [[0, 2, 4]]);
        AssertSame(alone[23..], rig.Chain(sequence, tokens.AsSpan(23), 4), "after the commit");
    }

    [Theory]
    [MemberData(nameof(PanelProductTests.Types), MemberType = typeof(PanelProductTests))]
    public void Levels_and_thread_counts_change_no_bit(WeightType type)
    {
        int[] tokens = Tokens(6, 70);
        float[][]? expected = null;
        foreach (IsaLevel level in Enum.GetValues<IsaLevel>())
        {
            if (!IsaLevels.IsSupported(level)) continue;
            foreach (int threads in new[] { 1, 3 })
            {
                using var rig = new CpuRig(type, KvType.BF16, level, threads);
                float[][] logits = Run(rig, tokens, 23);
                expected ??= logits;
                AssertSame(expected, logits, $"{level}, {threads} threads");
            }
        }
    }

    /// <summary>q and k in one type, v in another, as in files of mixed types.</summary>
    [Fact]
    public void Projections_of_different_types_are_computed_each_in_its_own()
    {
        using var rig = new CpuRig(WeightType.Int4, KvType.F32, mixedValues: WeightType.Int8, qwen: false);
        using var plain = new CpuRig(WeightType.Int4, KvType.F32, qwen: false);
        int[] tokens = Tokens(7, 30);
        float[][] alone = Run(rig, tokens, 1);
        AssertSame(alone, Run(rig, tokens, 9), "chunks");
        Assert.NotEqual(Run(plain, tokens, 9)[^1], alone[^1]);
        using CpuRig exact = new(WeightType.F32, KvType.F32, qwen: false);
        float[] reference = Run(exact, tokens, 9)[^1];
        Assert.True(Distance(reference, alone[^1]) < Distance(reference, Run(plain, tokens, 9)[^1]) * 1.05);
        Assert.Contains(rig.Plan.Entries, e => e.Name == "layer 0 qkv" && e.Shape.Contains("Int8", StringComparison.Ordinal));
        Assert.Contains(rig.Plan.Entries, e => e.Name == "layer 0 qkv" && e.Shape.Contains("Int4", StringComparison.Ordinal));
    }

    private static double Distance(float[] a, float[] b) => Math.Sqrt(a.Zip(b, (x, y) => (double)(x - y) * (x - y)).Sum());

    [Fact]
    public void A_step_allocates_nothing()
    {
        foreach (WeightType type in Enum.GetValues<WeightType>())
        {
            using var rig = new CpuRig(type, KvType.BF16);
            int sequence = rig.NewSequence();
            for (int i = 0; i < 40; i++) rig.Step(sequence, i);
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 40; i++) rig.Step(sequence, i);
            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        }
    }

    [Fact]
    public void Every_buffer_is_in_the_plan()
    {
        using var rig = new CpuRig(WeightType.Int8, KvType.F32);
        string[] names = [.. rig.Plan.Entries.Select(e => e.Name)];
        foreach (string name in new[] { "hidden", "qkv", "attention", "gated", "logits", "8-bit input", "embedding", "layer 1 down" }) Assert.Contains(name, names);
        Assert.All(rig.Plan.Entries, e => Assert.True(e.Bytes > 0));
    }

    [Fact]
    public void Rows_outside_the_model_are_refused()
    {
        using var rig = new CpuRig(WeightType.F32, KvType.F32);
        int sequence = rig.NewSequence();
        Assert.Throws<ArgumentException>(() => rig.Step(sequence, CpuRig.Vocab));
    }

    [Fact]
    public void A_level_that_the_machine_lacks_is_refused()
    {
        foreach (IsaLevel level in Enum.GetValues<IsaLevel>())
        {
            if (!IsaLevels.IsSupported(level)) Assert.Throws<PlatformNotSupportedException>(() => CpuBackend.Create(new CpuOptions { IsaLevel = level }));
        }

        using CpuBackend best = CpuBackend.Create(new CpuOptions { Threads = 1 });
        Assert.Equal(IsaLevels.Best, best.Level);
    }

    internal static int[] Tokens(ulong seed, int count)
    {
        var random = new SeededRandom(seed, 4);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(CpuRig.Vocab))];
    }

    internal static float[][] Run(CpuRig rig, int[] tokens, int chunk)
    {
        int sequence = rig.NewSequence();
        float[][] logits = rig.Chain(sequence, tokens, chunk);
        rig.Release(sequence);
        return logits;
    }

    private static void AssertSame(float[][] expected, float[][] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int r = 0; r < expected.Length; r++)
        {
            for (int i = 0; i < expected[r].Length; i++)
            {
                if (BitConverter.SingleToInt32Bits(expected[r][i]) != BitConverter.SingleToInt32Bits(actual[r][i]))
                    Assert.Fail($"{what}: row {r}, logit {i}: {expected[r][i]:R} became {actual[r][i]:R}");
            }
        }
    }
}
