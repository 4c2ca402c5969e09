using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Backends;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.KvCache;

/// <summary>Policies that evict by attention weights against their definitions in float64, pass by pass: who survives in every head, and what the rows see.</summary>
public sealed unsafe class WeightPolicyTests
{
    private const int Heads = 6, KvHeads = 2, HeadDim = 16, Tokens = 190, Prompt = 150;

    public static TheoryData<string, KvType, int, int> Cases => new()
    {
        { "tova", KvType.F32, 24, 1 }, { "tova", KvType.BF16, 24, 40 }, { "h2o", KvType.F32, 24, 1 }, { "h2o", KvType.Int8, 33, 31 },
        { "snapkv", KvType.F32, 80, 70 }, { "snapkv", KvType.F16, 50, 64 }, { "snapkv", KvType.F32, 80, 150 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Survivors_and_outputs_are_those_of_the_definition(string name, KvType type, int budget, int chunk)
    {
        IEvictionPolicy policy = name switch { "tova" => new TovaPolicy(budget), "h2o" => new H2oPolicy(budget), _ => new SnapKvPolicy(budget) };
        var test = new AttentionCase { Heads = Heads, KvHeads = KvHeads, HeadDim = HeadDim, Type = type, Policy = policy, Threads = 2, MaxTokens = 300 };
        using var harness = new AttentionHarness(test);
        int sequence = harness.NewSequence();
        int[] tokens = CpuAttentionTests.RandomTokens(31, Tokens);
        SortedDictionary<int, double>[] alive = [.. Enumerable.Range(0, KvHeads).Select(_ => new SortedDictionary<int, double>())];
        for (int position = 0, count; position < Tokens; position += count)
        {
            count = position < Prompt ? Math.Min(chunk, Prompt - position) : 1;
            bool ends = position < Prompt && position + count == Prompt;
            harness.Rows.Clear();
            for (int i = 0; i < count; i++)
                harness.Rows.Add(tokens[position + i], position + i, sequence, i - 1, wantsLogits: i == count - 1 && position + count >= Prompt);
            harness.Run();
            CheckOutput(test, harness, alive, tokens, position, count);
            harness.Cache.Commit(sequence, [.. Enumerable.Range(0, count)]);
            Follow(policy, test, alive, tokens, position, count, ends && count > 0);
            for (int h = 0; h < KvHeads; h++) Assert.Equal(alive[h].Keys, Live(harness, sequence, h, position + count));
        }

        Assert.True(harness.Cache.LiveTokens(sequence, AttentionHarness.Layer, 0) <= budget + (name == "snapkv" ? Tokens - Prompt : 0));
    }

    [Theory]
    [InlineData("tova")]
    [InlineData("h2o")]
    [InlineData("snapkv")]
    public void Drafts_are_refused_because_they_would_change_the_answer(string name)
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1 }.Write(directory.Path);
        IEvictionPolicy policy = name switch { "tova" => new TovaPolicy(9), "h2o" => new H2oPolicy(9), _ => new SnapKvPolicy(9) };
        var refused = Assert.Throws<InvalidRequestException>(
            () => LanguageModel.Load(directory.Path, new LanguageModelOptions { KvPolicy = policy, Draft = new NgramOptions() }));
        Assert.Contains(name, refused.Message, StringComparison.Ordinal);
    }

    /// <summary>Forks share pages until one of them writes: what attention notes for one must not reach the other.</summary>
    [Fact]
    public void Forks_note_attention_apart()
    {
        var test = new AttentionCase { Heads = Heads, KvHeads = KvHeads, HeadDim = HeadDim, Policy = new H2oPolicy(24), MaxTokens = 300 };
        using var harness = new AttentionHarness(test);
        int[] tokens = CpuAttentionTests.RandomTokens(5, 60), other = CpuAttentionTests.RandomTokens(6, 40);
        int alone = harness.NewSequence(), first = harness.NewSequence();
        float[][] expected = harness.RunChunks(alone, tokens, 1);
        harness.RunChunks(first, tokens.AsSpan(0, 20), 1);
        int fork = harness.Cache.TryFork(first);
        Assert.True(harness.Cache.TryReserve(fork, 200));
        float[][] actual = new float[60][];
        for (int i = 20; i < 60; i++)
        {
            harness.RunChain(fork, other.AsSpan(i - 20, 1));
            actual[i] = harness.RunChain(first, tokens.AsSpan(i, 1))[0];
        }

        for (int i = 20; i < 60; i++) Assert.Equal(expected[i], actual[i]);
    }

    private static List<int> Live(AttentionHarness harness, int sequence, int kvHead, int next)
    {
        KvHeadSlots* head = harness.View.Head(sequence, AttentionHarness.Layer, kvHead);
        var live = new List<int>();
        for (int slot = 0; slot < head->Committed; slot++)
        {
            if (*harness.View.ExpireOf(head, slot) >= next) live.Add(*harness.View.PositionOf(head, slot));
        }

        return live;
    }

    /// <summary>The last row sees the survivors, the rows before it and itself.</summary>
    private static void CheckOutput(AttentionCase test, AttentionHarness harness, SortedDictionary<int, double>[] alive, int[] tokens, int position, int count)
    {
        int row = position + count - 1;
        var expected = new double[Heads * HeadDim];
        for (int h = 0; h < Heads; h++)
        {
            int kv = h / (Heads / KvHeads);
            foreach ((int key, double weight) in Weights(test, alive[kv].Keys, tokens, position, row, h))
            {
                double[] value = Stored(test, tokens, key, Heads + KvHeads + kv);
                for (int d = 0; d < HeadDim; d++) expected[h * HeadDim + d] += weight * value[d];
            }
        }

        AttentionReference.AssertClose(test.Type, expected, harness.Output(count - 1), $"position {row}");
    }

    private static void Follow(
        IEvictionPolicy policy, AttentionCase test, SortedDictionary<int, double>[] alive, int[] tokens, int position, int count, bool endsPrompt)
    {
        AttentionObservation what = policy.Observation!;
        for (int kv = 0; kv < KvHeads; kv++)
        {
            int[] before = [.. alive[kv].Keys];
            if (!what.Keeps && count >= what.Rows)
            {
                foreach (int key in before) alive[kv][key] = 0;
            }

            for (int i = 0; i < count; i++) alive[kv][position + i] = 0;
            for (int row = what.Rows == 0 ? position : Math.Max(position, position + count - what.Rows); row < position + count; row++)
            {
                for (int h = kv * Heads / KvHeads; h < (kv + 1) * Heads / KvHeads; h++)
                {
                    foreach ((int key, double weight) in Weights(test, before, tokens, position, row, h)) alive[kv][key] += weight;
                }
            }
        }

        if (what.PerLayer)
        {
            foreach (int key in alive[0].Keys.ToArray())
            {
                double mean = alive.Average(a => a[key]);
                foreach (SortedDictionary<int, double> a in alive) a[key] = mean;
            }
        }

        foreach (SortedDictionary<int, double> a in alive) Evict(policy, a, endsPrompt);
    }

    private static void Evict(IEvictionPolicy policy, SortedDictionary<int, double> alive, bool endsPrompt)
    {
        (int budget, int recent) = policy switch
        {
            TovaPolicy p => (p.Tokens, 1),
            H2oPolicy p => (p.Tokens, p.Tokens - p.Tokens / 2),
            SnapKvPolicy p => (endsPrompt ? p.Tokens : int.MaxValue, Math.Min(64, p.Tokens - p.Tokens / 2)),
            _ => throw new ArgumentException(policy.Name),
        };
        if (alive.Count <= budget) return;
        int[] keys = [.. alive.Keys];
        double[] scores = [.. alive.Values];
        if (policy is SnapKvPolicy) scores = [.. keys.Select((_, i) => scores[Math.Max(0, i - 2)..Math.Min(scores.Length, i + 3)].Average())];
        foreach (int i in Enumerable.Range(0, keys.Length - recent).OrderBy(i => scores[i]).Take(keys.Length - budget)) alive.Remove(keys[i]);
    }

    private static IEnumerable<(int Key, double Weight)> Weights(AttentionCase test, IEnumerable<int> survivors, int[] tokens, int position, int row, int head)
    {
        int[] keys = [.. survivors, .. Enumerable.Range(position, row - position + 1)];
        double[] query = Vector(tokens, row, head);
        double[] scores = [.. keys.Select(k => Stored(test, tokens, k, Heads + head / (Heads / KvHeads)).Zip(query, (a, b) => a * b).Sum() / Math.Sqrt(HeadDim))];
        double maximum = scores.Max(), sum = scores.Sum(s => Math.Exp(s - maximum));
        return keys.Select((k, i) => (k, Math.Exp(scores[i] - maximum) / sum));
    }

    private static double[] Stored(AttentionCase test, int[] tokens, int position, int index) =>
        AttentionReference.StoredAs(test.Type, [.. Vector(tokens, position, index).Select(v => (float)v)]);

    private static double[] Vector(int[] tokens, int position, int index)
    {
        var qkv = new float[(Heads + 2 * KvHeads) * HeadDim];
        AttentionHarness.Fill(tokens[position], position, qkv);
        return [.. qkv.AsSpan(index * HeadDim, HeadDim).ToArray().Select(v => (double)v)];
    }
}
