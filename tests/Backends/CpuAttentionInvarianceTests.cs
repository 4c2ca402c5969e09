using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends;

/// <summary>The output of a row has the same bits however its path of tokens is cut into passes, stored, and shared out to threads.</summary>
public sealed class CpuAttentionInvarianceTests
{
    private const int Tokens = 530; // more than two chunks of positions

    public static TheoryData<KvType, int, int, int, bool> Cases()
    {
        var data = new TheoryData<KvType, int, int, int, bool>();
        foreach (KvType type in Enum.GetValues<KvType>())
        {
            data.Add(type, 6, 2, 32, false); // query group of 3
            data.Add(type, 4, 1, 64, false);
            data.Add(type, 2, 2, 80, false);
            data.Add(type, 5, 1, 16, true); // with expiring keys
            data.Add(type, 6, 2, 32, true);
        }

        data.Add(KvType.Int8, 4, 1, 128, false); // two runs of 64 dims in emitted code
        data.Add(KvType.Int8, 4, 1, 20, false); // ten pairs of dims, which emitted code cannot cut into quarters
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Prefill_chunks_equal_token_by_token(KvType type, int heads, int kvHeads, int headDim, bool expires)
    {
        foreach (int window in new[] { 0, 60 })
        {
            AttentionCase test = Case(type, heads, kvHeads, headDim, expires) with { Window = window };
            int[] tokens = CpuAttentionTests.RandomTokens(1, Tokens);
            float[][] expected = Alone(test, tokens);
            foreach (int chunk in new[] { 7, 64, 100, Tokens })
            {
                using var harness = new AttentionHarness(test);
                AssertSame(expected, harness.RunChunks(harness.NewSequence(), tokens, chunk), $"window {window}, chunk {chunk}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Placement_pages_reclaim_threads_and_instruction_sets_change_no_bit(KvType type, int heads, int kvHeads, int headDim, bool expires)
    {
        AttentionCase test = Case(type, heads, kvHeads, headDim, expires);
        int[] tokens = CpuAttentionTests.RandomTokens(2, Tokens);
        float[][] expected = Alone(test, tokens);
        AttentionCase[] others =
        [
            test with { PlacementSeed = 5, SlotsPerPage = 16 },
            test with { PlacementSeed = 6, SlotsPerPage = 128, Threads = 2 },
            test with { Threads = 3 },
            test with { ReclaimBatch = 9, Threads = 2 },
            test with { ReclaimBatch = 100_000 }, // expired keys stay in their slots, hidden
            .. Enum.GetValues<IsaLevel>().Where(IsaLevels.IsSupported).Select(level => test with { Level = level }),
        ];
        foreach (AttentionCase other in others)
        {
            using var harness = new AttentionHarness(other);
            AssertSame(expected, harness.RunChunks(harness.NewSequence(), tokens, 50), other.ToString());
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Tree_rows_equal_their_path_run_alone(KvType type, int heads, int kvHeads, int headDim, bool expires)
    {
        AttentionCase test = Case(type, heads, kvHeads, headDim, expires);
        foreach ((int committed, int nodes) in new[] { (30, 2), (30, 64), (200, 130), (250, 256) })
        {
            int[] prefix = CpuAttentionTests.RandomTokens(3, committed);
            using var harness = new AttentionHarness(test with { Threads = 2 });
            int s = harness.NewSequence();
            harness.RunChain(s, prefix);
            harness.Rows.Clear();
            int[][] paths = CpuAttentionTests.AddRandomTree(harness, s, prefix, nodes, new SeededRandom((ulong)nodes));
            harness.Run();
            int deepest = 0;
            for (int r = 0; r < nodes; r++)
            {
                if (paths[r].Length > paths[deepest].Length) deepest = r;
            }

            float[][] expected = Alone(test, paths[deepest]);
            int seen = 0;
            for (int r = 0; r < nodes; r++)
            {
                if (!paths[deepest].AsSpan(0, paths[r].Length).SequenceEqual(paths[r])) continue;
                AssertSame(expected[paths[r].Length - 1], harness.Output(r), $"row {r} of {nodes} on {committed}");
                seen++;
            }

            Assert.Equal(paths[deepest].Length - committed, seen);
            CommitAndContinue(test, harness, s, paths, deepest, committed);
        }
    }

    [Fact]
    public void Rows_equal_in_passes_of_any_size_and_company()
    {
        var test = new AttentionCase { Heads = 6, Type = KvType.BF16, Sequences = 4, Threads = 2 };
        int[][] tokens = [.. Enumerable.Range(0, 4).Select(i => CpuAttentionTests.RandomTokens((ulong)(20 + i), 300))];
        float[][][] expected = [.. tokens.Select(t => Alone(test, t))];
        var random = new SeededRandom(9);
        using var harness = new AttentionHarness(test);
        int[] sequences = [.. tokens.Select(_ => harness.NewSequence())];
        for (int pass = 0; pass < 25; pass++)
        {
            harness.Rows.Clear();
            var segments = new List<(int Sequence, int Row, int Position, int Count)>();
            for (int i = 0; i < sequences.Length; i++)
            {
                int position = harness.Cache.Length(sequences[i]), count = Math.Min(random.Next(65), 300 - position);
                if (count == 0) continue;
                segments.Add((i, harness.Rows.Count, position, count));
                harness.AddChain(sequences[i], tokens[i].AsSpan(position, count));
            }

            harness.Run();
            foreach ((int i, int row, int position, int count) in segments)
            {
                for (int r = 0; r < count; r++) AssertSame(expected[i][position + r], harness.Output(row + r), $"pass {pass}, sequence {i}, row {r}");
                int keep = random.Next(count + 1); // the others are rolled back and run again
                harness.Cache.Commit(sequences[i], Enumerable.Range(row, keep).ToArray());
            }
        }

        Assert.All(sequences, s => Assert.True(harness.Cache.Length(s) > 100));
    }

    /// <summary>Few heads at a large depth are cut into pieces for several threads; their results are folded as one thread folds them.</summary>
    [Theory]
    [InlineData(KvType.F32, false)]
    [InlineData(KvType.BF16, true)]
    [InlineData(KvType.F16, false)]
    [InlineData(KvType.Int8, false)]
    [InlineData(KvType.Int8, true)]
    public void Pieces_of_a_long_context_change_no_bit(KvType type, bool expires)
    {
        AttentionCase test = Case(type, heads: 4, kvHeads: 1, headDim: 32, expires) with { MaxTokens = 2700 };
        int[] tokens = CpuAttentionTests.RandomTokens(8, 2600);
        float[][] expected = LongContext(test, tokens);
        foreach (AttentionCase other in new[] { test with { Threads = 2 }, test with { Threads = 3, SlotsPerPage = 16, PlacementSeed = 4 }, test with { Threads = 2, Window = 0, ReclaimBatch = 100_000 } })
            AssertSame(expected, LongContext(other, tokens), other.ToString());
        AttentionReference.AssertClose(type, AttentionReference.Output(test, tokens.AsSpan(0, 2560)), expected[0], "row at 2559");
    }

    /// <summary>The same bits on every machine and instruction set: a change of this number is a change of the accumulation contract.</summary>
    [Theory]
    [InlineData(KvType.F32, 7300722726253165308UL)]
    [InlineData(KvType.BF16, 17950757544590189960UL)]
    [InlineData(KvType.F16, 13840974419990681881UL)]
    [InlineData(KvType.Int8, 10720571380705253072UL)]
    public void Bits_of_a_fixed_case_are_pinned(KvType type, ulong expected) => Assert.Equal(expected, Digest(type));

    /// <summary>A digest of the outputs of a fixed case at the best level of this process.</summary>
    internal static ulong Digest(KvType type)
    {
        var test = new AttentionCase { Heads = 3, KvHeads = 1, HeadDim = 16, Type = type };
        ulong hash = 14695981039346656037; // FNV-1a over the outputs' bits
        foreach (float[] row in Alone(test, CpuAttentionTests.RandomTokens(6, 280)))
        {
            foreach (float x in row) hash = (hash ^ BitConverter.SingleToUInt32Bits(x)) * 1099511628211;
        }

        return hash;
    }

    /// <summary>The last rows of a long prompt: one alone, then a tree of the next twelve.</summary>
    private static float[][] LongContext(AttentionCase test, int[] tokens)
    {
        using var harness = new AttentionHarness(test);
        int s = harness.NewSequence();
        harness.RunChunks(s, tokens.AsSpan(0, 2559), 640);
        float[][] one = harness.RunChunks(s, tokens.AsSpan(2559, 1), 1);
        harness.Rows.Clear();
        CpuAttentionTests.AddRandomTree(harness, s, tokens[..2560], 12, new SeededRandom(3));
        harness.Run();
        return [one[0], .. Enumerable.Range(0, 12).Select(harness.Output)];
    }

    private static AttentionCase Case(KvType type, int heads, int kvHeads, int headDim, bool expires) => new()
    {
        Heads = heads, KvHeads = kvHeads, HeadDim = headDim, Type = type, Expire = expires ? CpuAttentionTests.RandomExpire(4) : null,
    };

    /// <summary>After the commit of one path the next row must equal the one that follows the same path run alone.</summary>
    private static void CommitAndContinue(AttentionCase test, AttentionHarness harness, int s, int[][] paths, int last, int committed)
    {
        var path = new List<int>();
        for (int r = last; r >= 0; r = harness.Rows.Parents[r]) path.Insert(0, r);
        harness.Cache.Commit(s, path.ToArray());
        Assert.Equal(committed + path.Count, harness.Cache.Length(s));
        AssertSame(Alone(test, [.. paths[last], 77])[^1], harness.RunChain(s, [77])[0], "row after the commit");
    }

    private static float[][] Alone(AttentionCase test, int[] tokens)
    {
        using var harness = new AttentionHarness(test);
        return harness.RunChunks(harness.NewSequence(), tokens, 1);
    }

    private static void AssertSame(float[][] expected, float[][] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) AssertSame(expected[i], actual[i], $"{what}, position {i}");
    }

    private static void AssertSame(float[] expected, float[] actual, string what)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            if (BitConverter.SingleToUInt32Bits(expected[i]) != BitConverter.SingleToUInt32Bits(actual[i]))
                Assert.Fail($"{what}: element {i} is {actual[i]:G9}, alone it is {expected[i]:G9}");
        }

        Assert.Equal(expected.Length, actual.Length);
    }
}
