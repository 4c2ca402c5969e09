using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Foretoken.Tests.Backends;

/// <summary>
/// Delayed eviction against attention in float64 under an explicit mask of T × T, every row of it: windows 1 to 64, compressions 2 to 8, every KV type. Sequences in
/// chunks, and trees that are deeper than the window, so that decisions made inside a tree hide keys inside the tree.
/// </summary>
public sealed class DmsMaskTests(ITestOutputHelper output)
{
    private const int Tokens = 190;

    public static TheoryData<int, double, KvType> Cases()
    {
        var cases = new TheoryData<int, double, KvType>();
        foreach (int window in new[] { 1, 4, 16, 64 })
            foreach (double compression in new[] { 2, 4, 8 })
                foreach (KvType type in new[] { KvType.F32, KvType.BF16, KvType.F16, KvType.Int8 })
                    cases.Add(window, compression, type);
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_row_of_sequences_and_deep_trees_sees_what_the_mask_shows(int window, double compression, KvType type) =>
        Check(window, compression, type, seed: (ulong)(window * 100 + (int)compression * 10 + (int)type));

    [Theory]
    [Trait("Category", "Slow")]
    [MemberData(nameof(Cases))]
    public void Every_row_of_sequences_and_deep_trees_sees_what_the_mask_shows_for_many_seeds(int window, double compression, KvType type)
    {
        for (ulong seed = 0; seed < 12; seed++) Check(window, compression, type, 10_000 + seed);
    }

    /// <summary>A window that is one position too long inside a tree.</summary>
    [Fact]
    public void Canary_window_one_position_too_long_is_caught_in_a_tree()
    {
        foreach (int window in new[] { 1, 4, 16, 64 })
        {
            AttentionCase test = Case(window, 4, KvType.F32, 5);
            var policy = (DmsPolicy)test.Policy!;
            List<Node> nodes = Chain(0, 1, 5);
            AddTree(nodes, window, 9);
            CheckPass(test, test, nodes, committed: 1);
            AttentionCase planted = test with { Policy = new DmsPolicy(window + 1, policy.Decisions) };
            Assert.ThrowsAny<XunitException>(() => CheckPass(test, planted, nodes, committed: 1));
        }
    }

    private void Check(int window, double compression, KvType type, ulong seed)
    {
        AttentionCase test = Case(window, compression, type, seed);
        List<Node> chain = Chain(0, Tokens, seed);
        double[][] expected = Outputs(test, chain, out _);
        foreach (int chunk in new[] { 1, 7, 64, Tokens })
        {
            using var harness = new AttentionHarness(test);
            float[][] rows = harness.RunChunks(harness.NewSequence(), chain.Select(n => n.Token).ToArray(), chunk);
            for (int p = 0; p < Tokens; p++) AttentionReference.AssertClose(type, expected[p], rows[p], $"chunk {chunk}, position {p}");
        }

        int hidden = 0;
        foreach (int committed in new[] { 0, 1, 45, Tokens })
        {
            List<Node> nodes = chain[..committed];
            AddTree(nodes, window, seed);
            hidden += CheckPass(test, test, nodes, committed);
        }

        output.WriteLine($"{hidden} times a row of a tree did not see an ancestor in the tree");
        Assert.True(hidden > 50);
    }

    /// <summary>Commits the first nodes, a chain, runs the others as a tree, then accepts its deepest path and goes on behind it.</summary>
    /// <returns>Pairs of tree rows of which the later does not see the earlier, its ancestor.</returns>
    private static int CheckPass(AttentionCase test, AttentionCase run, List<Node> nodes, int committed)
    {
        using var harness = new AttentionHarness(run);
        int s = harness.NewSequence();
        harness.RunChunks(s, nodes.Take(committed).Select(n => n.Token).ToArray(), 25);
        harness.Rows.Clear();
        for (int i = committed; i < nodes.Count; i++)
            harness.Rows.Add(nodes[i].Token, nodes[i].Position, s, nodes[i].Parent < committed ? -1 : nodes[i].Parent - committed, false);
        harness.Run();
        double[][] expected = Outputs(test, nodes, out bool[][,] masks);
        int hidden = 0;
        for (int i = committed; i < nodes.Count; i++)
        {
            AttentionReference.AssertClose(test.Type, expected[i], harness.Output(i - committed), $"row {i - committed} of {nodes.Count - committed} on {committed}");
            for (int j = nodes[i].Parent; j >= committed; j = nodes[j].Parent) hidden += masks.Count(m => !m[i, j]);
        }

        int deepest = Enumerable.Range(0, nodes.Count).MaxBy(i => nodes[i].Position);
        var path = new List<int>();
        for (int i = deepest; i >= committed; i = nodes[i].Parent) path.Insert(0, i);
        harness.Cache.Commit(s, path.Select(i => i - committed).ToArray());
        List<Node> accepted = [.. nodes.Take(committed), .. path.Select((i, k) => nodes[i] with { Parent = committed + k - 1 })];
        int from = accepted.Count;
        accepted.AddRange(Chain(from, 70, 77));
        expected = Outputs(test, accepted, out _);
        float[][] rows = harness.RunChunks(s, accepted.Skip(from).Select(n => n.Token).ToArray(), 9);
        for (int p = from; p < accepted.Count; p++) AttentionReference.AssertClose(test.Type, expected[p], rows[p - from], $"position {p}, behind a tree on {committed}");
        return hidden;
    }

    private static AttentionCase Case(int window, double compression, KvType type, ulong seed) => new()
    {
        Heads = 4, KvHeads = 2, HeadDim = 16, Type = type, ReclaimBatch = 1 + (int)(seed % 9), SlotsPerPage = seed % 2 == 0 ? 16 : 32,
        Policy = new DmsPolicy(window, SyntheticDecisions.ForCompression(seed, compression)),
    };

    private static List<Node> Chain(int first, int count, ulong seed)
    {
        var random = new SeededRandom(seed, (ulong)first);
        return [.. Enumerable.Range(first, count).Select(p => new Node(random.Next(1000), p, p - 1))];
    }

    /// <summary>A tree of up to 255 nodes: a stem that is deeper than the window by thirty, and branches that leave it or one another anywhere.</summary>
    private static void AddTree(List<Node> nodes, int window, ulong seed)
    {
        var random = new SeededRandom(seed, 99);
        int committed = nodes.Count, stem = window + 30;
        for (int i = 0; i < Math.Min(255, stem + 90); i++)
        {
            int parent = i == 0 ? committed - 1 : committed + (i < stem || random.Chance(0.8) ? i - 1 : random.Next(i));
            nodes.Add(new Node(random.Next(1000), parent < 0 ? 0 : nodes[parent].Position + 1, parent));
        }
    }

    /// <summary>Attention of every node in float64, and the masks it used. // [T][heads · headDim], [KV heads][T, T]</summary>
    private static double[][] Outputs(AttentionCase test, List<Node> nodes, out bool[][,] masks)
    {
        int dim = test.HeadDim, group = test.Heads / test.KvHeads, width = (test.Heads + 2 * test.KvHeads) * dim;
        var qkv = new float[nodes.Count][];
        for (int i = 0; i < qkv.Length; i++) AttentionHarness.Fill(nodes[i].Token, nodes[i].Position, qkv[i] = new float[width]);
        double[][] outputs = [.. nodes.Select(_ => new double[test.Heads * dim])];
        masks = new bool[test.KvHeads][,];
        for (int h = 0; h < test.Heads; h++)
        {
            int kvHead = h / group, keyAt = (test.Heads + kvHead) * dim, valueAt = keyAt + test.KvHeads * dim;
            bool[,] mask = masks[kvHead] ??= Mask(nodes, (DmsPolicy)test.Policy!, kvHead);
            double[][] keys = [.. qkv.Select(row => AttentionReference.StoredAs(test.Type, row.AsSpan(keyAt, dim)))];
            double[][] values = [.. qkv.Select(row => AttentionReference.StoredAs(test.Type, row.AsSpan(valueAt, dim)))];
            for (int i = 0; i < nodes.Count; i++) Attend(mask, i, qkv[i].AsSpan(h * dim, dim), keys, values, outputs[i].AsSpan(h * dim, dim));
        }

        return outputs;
    }

    private static void Attend(bool[,] mask, int row, ReadOnlySpan<float> query, double[][] keys, double[][] values, Span<double> output)
    {
        var scores = new double[row + 1];
        double maximum = double.NegativeInfinity, sum = 0;
        for (int j = 0; j <= row; j++)
        {
            if (!mask[row, j]) continue;
            for (int d = 0; d < query.Length; d++) scores[j] += query[d] * keys[j][d];
            scores[j] /= Math.Sqrt(query.Length);
            maximum = Math.Max(maximum, scores[j]);
        }

        for (int j = 0; j <= row; j++)
        {
            if (!mask[row, j]) continue;
            double weight = Math.Exp(scores[j] - maximum);
            sum += weight;
            for (int d = 0; d < output.Length; d++) output[d] += weight * values[j][d];
        }

        for (int d = 0; d < output.Length; d++) output[d] /= sum;
    }

    /// <summary>
    /// Row i sees key j if j is i or one of its ancestors, and is at most a window behind it or not evicted, as the node after j on the path to i decides. // [T, T]
    /// </summary>
    private static bool[,] Mask(List<Node> nodes, DmsPolicy dms, int kvHead)
    {
        var mask = new bool[nodes.Count, nodes.Count];
        for (int i = 0; i < nodes.Count; i++)
        {
            mask[i, i] = true;
            for ((int next, int j) = (i, nodes[i].Parent); j >= 0; (next, j) = (j, nodes[j].Parent))
            {
                bool evicted = dms.Decisions!.Evicts(AttentionHarness.Layer, kvHead, nodes[next].Position, nodes[next].Token);
                mask[i, j] = nodes[i].Position - nodes[j].Position <= dms.DecisionWindow || !evicted;
            }
        }

        return mask;
    }

    private readonly record struct Node(int Token, int Position, int Parent);
}
