using Foretoken.Training;

namespace Foretoken.Tests.Training;

/// <summary>Hard decisions and untrained policies, held to attention over the keys that remain.</summary>
public unsafe class EvictionTests
{
    private static readonly TransformerShape Shape = GradientTests.Tiny with { MaxPositions = 160 };

    public static TheoryData<int, int> Rules => new() { { 1, 5 }, { 5, 4 }, { 0, 0 } };

    [Theory]
    [MemberData(nameof(Rules))]
    public void Hard_decisions_hide_exactly_the_keys_that_the_rule_names(int shift, int lag)
    {
        var settings = new EvictionSettings { Rule = new EvictionRule(shift, lag), Scale = 3, Offset = 0 };
        using TransformerModel model = RandomModel(adapter: true);
        using var pass = new TransformerPass(model, 200);
        using var eviction = new EvictionPass(model, settings, 200);
        RaggedBatch batch = GradientTests.RandomBatch(Shape, seed: 3, lengths: [130, 37]);
        eviction.Begin(batch, DecisionMode.Hard, 0, [0, 1]);
        pass.Forward(batch, eviction);

        long visible = 0, evicted = 0;
        for (int layer = 0; layer < Shape.Layers; layer++)
        {
            for (int head = 0; head < Shape.KeyValueHeads; head++)
            {
                for (int row = 0; row < 37; row++)
                {
                    for (int key = 0; key <= row; key++)
                    {
                        bool decided = key + shift < 37 && eviction.Layers[layer].Logit(head, 130 + key + shift) > 0;
                        Assert.Equal(decided, eviction.Layers[layer].Evicted(head, 130 + key));
                        if (!decided || row - key <= lag) visible++;
                    }
                    if (eviction.Layers[layer].Evicted(head, 130 + row)) evicted++;
                }
            }
        }
        Assert.Equal(visible, eviction.VisibleKeys(batch, 1));
        Assert.InRange(evicted, 20, 37 * 4 - 20); // otherwise the test says nothing
        Assert.Equal((double)evicted / (settings.Rule.Decisions(37) * 4), eviction.EvictedShare(batch, 1), 12);
    }

    [Fact]
    public void A_window_of_decisions_equals_the_window_policy_token_by_token()
    {
        using TransformerModel model = RandomModel(adapter: false);
        float[] masked = Outputs(model, new EvictionSettings { Source = DecisionSource.None, Rule = EvictionRule.Window(20) }, DecisionMode.Hard, null);
        float[] stepped = Outputs(model, new EvictionSettings { Source = DecisionSource.None }, DecisionMode.Off, new KeyPolicy(KeyPolicyKind.Window, 21, Shape));
        AssertClose(masked, stepped);
    }

    [Theory]
    [InlineData(KeyPolicyKind.Sinks)]
    [InlineData(KeyPolicyKind.Tova)]
    [InlineData(KeyPolicyKind.H2O)]
    [InlineData(KeyPolicyKind.Random)]
    public void A_policy_with_room_for_everything_is_dense_attention_and_with_less_it_is_not(KeyPolicyKind kind)
    {
        using TransformerModel model = RandomModel(adapter: false);
        var none = new EvictionSettings { Source = DecisionSource.None };
        float[] dense = Outputs(model, none, DecisionMode.Off, null);
        AssertClose(dense, Outputs(model, none, DecisionMode.Off, new KeyPolicy(kind, 130, Shape)));
        float[] less = Outputs(model, none, DecisionMode.Off, new KeyPolicy(kind, 30, Shape));
        AssertClose(dense[..(29 * Shape.HiddenSize)], less[..(29 * Shape.HiddenSize)]);
        Assert.True(dense.Zip(less, (a, b) => Math.Abs(a - b)).Max() > 1e-2);
    }

    [Fact]
    public void Sinks_keep_the_first_four_keys_and_the_latest_ones()
    {
        TransformerShape one = Shape with { Layers = 1 };
        using var single = new TransformerModel(one);
        single.Initialize(7, new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 0.7 });
        float[] sinks = Outputs(single, new EvictionSettings { Source = DecisionSource.None }, DecisionMode.Off, new KeyPolicy(KeyPolicyKind.Sinks, 24, one));
        float[] window = Outputs(single, new EvictionSettings { Source = DecisionSource.None }, DecisionMode.Off, new KeyPolicy(KeyPolicyKind.Window, 24, one));
        float[] dense = Outputs(single, new EvictionSettings { Source = DecisionSource.None }, DecisionMode.Off, null);
        int width = one.HiddenSize;
        AssertClose(dense[..(24 * width)], sinks[..(24 * width)]);
        Assert.True(sinks[(24 * width)..].Zip(window[(24 * width)..], (a, b) => Math.Abs(a - b)).Max() > 1e-3);
        Assert.Equal(Enumerable.Range(1, 130).Sum(r => (long)Math.Min(r, 24)) * one.KeyValueHeads, new KeyPolicy(KeyPolicyKind.Sinks, 24, one).VisibleKeys(130));
    }

    [Fact]
    public void SnapKV_reads_the_prompt_densely_and_answers_from_its_best_keys()
    {
        TransformerShape one = Shape with { Layers = 1 };
        using var single = new TransformerModel(one);
        single.Initialize(7, new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 0.7 });
        var none = new EvictionSettings { Source = DecisionSource.None };
        float[] dense = Outputs(single, none, DecisionMode.Off, null), window = Outputs(single, none, DecisionMode.Off, new KeyPolicy(KeyPolicyKind.Window, 24, one));
        float[] snap = Outputs(single, none, DecisionMode.Off, new KeyPolicy(KeyPolicyKind.SnapKv, 24, one) { PromptLength = 100 });
        int prompt = 100 * one.HiddenSize;
        AssertClose(dense[..prompt], snap[..prompt]);
        Assert.True(Distance(snap) > 1e-3);
        Assert.True(Distance(snap) < 0.9 * Distance(window), $"{Distance(snap):g3} from dense, a window {Distance(window):g3}");
        var policy = new KeyPolicy(KeyPolicyKind.SnapKv, 24, one) { PromptLength = 100 };
        Assert.Equal((100 * 101 / 2 + Enumerable.Range(25, 30).Sum()) * one.KeyValueHeads, policy.VisibleKeys(130));

        double Distance(float[] rows) => Math.Sqrt(dense[prompt..].Zip(rows[prompt..], (a, b) => Math.Pow(a - b, 2)).Average());
    }

    [Fact]
    public void The_last_window_of_the_search_is_the_widest_that_reaches_the_compression()
    {
        TrainingExample[] examples = [new([.. new int[100]], 50, 0, 0), new([.. new int[40]], 20, 0, 0)];
        int window = DmsTrainer.MatchedWindow(examples, 4);
        Assert.True(Compression(window) >= 4);
        Assert.True(Compression(window + 1) < 4);

        double Compression(int w) => (100 * 101 / 2 + 40 * 41 / 2)
            / (double)(Enumerable.Range(1, 100).Sum(r => Math.Min(r, w + 1)) + Enumerable.Range(1, 40).Sum(r => Math.Min(r, w + 1)));
    }

    private static TransformerModel RandomModel(bool adapter)
    {
        var model = new TransformerModel(Shape, adapter ? p => DecisionAdapter.Add(p, Shape.Layers, Shape.HiddenSize, Shape.KeyValueHeads) : null);
        model.Initialize(7, new Initialization { EmbeddingDeviation = 0.5, ResidualGain = 0.7 });
        GradientTests.Jitter(model, seed: 8);
        return model;
    }

    private static float[] Outputs(TransformerModel model, EvictionSettings settings, DecisionMode mode, KeyPolicy? policy)
    {
        using var pass = new TransformerPass(model, 160);
        using var eviction = new EvictionPass(model, settings, 160);
        RaggedBatch batch = GradientTests.RandomBatch(model.Shape, seed: 3, lengths: [130]);
        eviction.Policy = policy;
        eviction.Begin(batch, mode, 0, [0]);
        pass.Forward(batch, eviction);
        return new Span<float>(pass.Normed, batch.Rows * model.Shape.HiddenSize).ToArray();
    }

    private static void AssertClose(float[] expected, float[] actual) =>
        Assert.True(expected.Zip(actual, (a, b) => Math.Abs(a - b)).Max() < 1e-4);
}
