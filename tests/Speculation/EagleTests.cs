using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>EAGLE and MTP drafters in the engine, against a float64 forward of target and drafter.</summary>
public sealed class EagleTests : IDisposable
{
    private const int Width = 3, Depth = 4;
    private static readonly TinyModel Target = new() { Hidden = 32, Heads = 4, KvHeads = 2, HeadDim = 8, Intermediate = 44 };
    private readonly TempDirectory _directory = new();

    private string Head => _directory.File("head");

    public void Dispose() => _directory.Dispose();

    /// <summary>
    /// Every tree of every step, in a batch: tokens and confidences are those of the reference, from features of the target's committed rows and of the drafter's own
    /// states behind them. So pairing, chunked prompts, rollback, own keys, tree masks and vocabularies are right.
    /// </summary>
    [Theory]
    [InlineData("eagle3", "qwen3", 0, 7)]
    [InlineData("eagle3", "llama", 90, 64)]
    [InlineData("eagle3-renamed", "mistral", 138, 64)]
    [InlineData("speculators", "qwen2", 55, 5)]
    [InlineData("speculators-input", "llama", 55, 7)]
    [InlineData("speculators-fc", "qwen3", 0, 64)]
    [InlineData("eagle1", "llama", 0, 64)]
    [InlineData("eagle1-2layers", "qwen3", 0, 9)]
    [InlineData("mtp-deepseek", "qwen2", 0, 64)]
    [InlineData("mtp-qwen", "qwen3", 0, 11)]
    public void Trees_of_every_layout_are_those_of_the_float64_reference(string layout, string family, int draftVocab, int chunk)
    {
        TinyModel target = Target with { Family = family };
        target.Write(_directory.File("target"));
        TinyHeads heads = new TinyHeads(5).Eagle(Head, layout, target, draftVocab);
        var check = new TreeCheck(_directory.File("target"), new ReferenceEagle(heads, layout, target), draftVocab == 0 ? 1 : target.Vocab / draftVocab);
        using LanguageModel model = LanguageModel.Load(_directory.File("target"), Options(check) with { MaxSequences = 3, PrefillChunk = chunk });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 4).Select(i => model.Generate(
            LoopRig.Prompt(12 + 9 * i, (ulong)i), new GenerationOptions { MaxTokens = 10, IgnoreEndTokens = true, Sampling = i % 2 == 0 ? SamplingOptions.Greedy : new SamplingOptions { Temperature = 0.7f, Seed = 3 } }))];
        foreach (GenerationSession session in sessions) session.Complete();
        Assert.InRange(check.Trees, 25, 60);
        Assert.InRange(check.Nodes, 10 * 25, 12 * 60);
    }

    /// <summary>A stored prefix of the target is continued with the drafter's own; one that it does not have is left out. Both say what the reference says.</summary>
    [Theory]
    [InlineData(70, 0)]  // two blocks of 32 and a rest: both caches have them
    [InlineData(65, 64)] // the prompts differ right behind the second block, whose last entry the drafter cannot have
    public void Behind_a_stored_prefix_features_go_on_from_the_drafters_own(int common, int first)
    {
        Target.Write(_directory.File("target"));
        TinyHeads heads = new TinyHeads(5).Eagle(Head, "eagle3", Target);
        var check = new TreeCheck(_directory.File("target"), new ReferenceEagle(heads, "eagle3", Target), 1);
        using LanguageModel model = LanguageModel.Load(_directory.File("target"), Options(check) with { MaxSequences = 1, MaxPrefixes = 4 });
        var options = new GenerationOptions { MaxTokens = 5, IgnoreEndTokens = true };
        int[] shared = LoopRig.Prompt(common - 1, 1);
        model.Generate([.. shared, 1, 2, 3, 4], options).Complete();
        check.First = first;
        int[] other = [.. shared, 30, 31, 32, 33, 34, 35, 36];
        GenerationStatistics s = model.Generate(other, options).Complete().Statistics;
        Assert.Equal(64, s.ReusedTokens);
        Assert.InRange(check.Trees, 6, 10);
    }

    [Fact]
    public void Features_wait_while_nobody_asks_and_prompts_longer_than_the_buffer_are_read()
    {
        Target.Write(_directory.File("target"));
        TinyHeads heads = new TinyHeads(5).Eagle(Head, "eagle3", Target);
        var check = new TreeCheck(_directory.File("target"), new ReferenceEagle(heads, "eagle3", Target), 1) { Every = 17 };
        using LanguageModel model = LanguageModel.Load(_directory.File("target"), Options(check) with { MaxSequences = 2, PrefillChunk = 16, MaxRows = 30 });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 2).Select(i => model.Generate(LoopRig.Prompt(80 - 50 * i, (ulong)i), new GenerationOptions { MaxTokens = 60, IgnoreEndTokens = true }))];
        foreach (GenerationSession session in sessions) session.Complete();
        Assert.InRange(check.Trees, 4, 12);
    }

    [Fact]
    public void Samples_of_one_request_share_what_was_read_of_its_prompt()
    {
        Target.Write(_directory.File("target"));
        TinyHeads heads = new TinyHeads(5).Eagle(Head, "eagle3", Target);
        var check = new TreeCheck(_directory.File("target"), new ReferenceEagle(heads, "eagle3", Target), 1);
        using LanguageModel model = LanguageModel.Load(_directory.File("target"), Options(check) with { MaxSequences = 3 });
        using ParallelSamples samples = model.GenerateSamples(LoopRig.Prompt(45, 2), new GenerationOptions { Samples = 3, MaxTokens = 6, IgnoreEndTokens = true, Sampling = new SamplingOptions { Temperature = 1, Seed = 2 } });
        foreach (GenerationSession sample in samples) Assert.Equal(6, sample.Complete().Tokens.Count);
        Assert.True(model.Engine.Statistics.Forks > 0);
        Assert.True(check.Trees > 8);
    }

    /// <summary>Where one draft is nearly sure the tree begins as a chain, whose rows are kept from pass to pass; trees are the same as the reference's all the same.</summary>
    [Theory]
    [InlineData(1, 5, 0)]
    [InlineData(3, 5, 0.01f)]
    public void Chains_and_trees_that_begin_without_branches_are_those_of_the_reference(int width, int depth, float least)
    {
        Target.Write(_directory.File("target"));
        TinyHeads heads = new TinyHeads(5).Eagle(Head, "eagle3", Target);
        var check = new TreeCheck(_directory.File("target"), new ReferenceEagle(heads, "eagle3", Target), 1);
        LanguageModelOptions options = Options(check);
        options = options with { Draft = new Checked(new EagleOptions { Directory = Head, Width = width, Depth = depth, Nodes = 12, MinProbability = least, WeightType = WeightType.F32, KvType = KvType.F32 }, check) };
        using LanguageModel model = LanguageModel.Load(_directory.File("target"), options with { MaxSequences = 2 });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 2).Select(i => model.Generate(LoopRig.Prompt(20 + i, (ulong)i), new GenerationOptions { MaxTokens = 10, IgnoreEndTokens = true }))];
        foreach (GenerationSession session in sessions) session.Complete();
        Assert.InRange(check.Trees, 10, 20);
        Assert.True(check.Deepest >= (width == 1 ? 5 : 3), $"depth {check.Deepest}");
    }

    [Fact]
    public void A_dynamic_tree_expands_the_best_of_a_level_and_keeps_the_best_of_all()
    {
        var tree = new DynamicTree(2, 3);
        tree.AddChild(-1, 10, 0.6f);
        tree.AddChild(-1, 11, 0.3f);
        Assert.Equal(2, tree.EndLevel(0));
        tree.AddChild(0, 20, 0.5f);  // 0.30
        tree.AddChild(0, 21, 0.4f);  // 0.24
        tree.AddChild(1, 22, 0.9f);  // 0.27
        tree.AddChild(1, -1, 0.05f); // unknown to the target
        Assert.Equal(2, tree.EndLevel(0));
        Assert.Equal((2, 4), (tree.FrontierFirst, tree.Expanded));
        Assert.Equal([(20, 0), (22, 1)], new[] { (tree.TokenOf(2), tree.ParentOf(2)), (tree.TokenOf(3), tree.ParentOf(3)) });
        tree.AddChild(2, 30, 0.9f);  // 0.27, behind the older 22
        tree.AddChild(3, 31, 0.1f);  // 0.027
        Assert.Equal(0, tree.EndLevel(0.5f));
        var forest = new TokenForest(1, 16);
        int root = forest.Root(forest.AddTree(1));
        tree.CopyTo(forest, root, 5, 0.1f);
        var nodes = new List<(int Token, int Parent)>();
        for (int n = forest.Next(root); n >= 0; n = forest.Next(n)) nodes.Add((forest.Token(n), forest.Token(forest.Parent(n))));
        Assert.Equal([(10, 1), (11, 1), (20, 10), (22, 11), (30, 20)], nodes);
        Assert.Equal(0.9f, forest.Confidence(forest.FindChild(forest.FindChild(root, 11), 22)));
    }

    [Theory]
    [InlineData("eagle3", "eagle_aux_hidden_state_layer_ids", null, "need a model of 5 layers, not 2")]
    [InlineData("eagle3", "eagle_aux_hidden_state_layer_ids", "[0, 1]", "must name three layers")]
    [InlineData("eagle3", "eagle_aux_hidden_state_layer_ids", "[0, 1, 3]", "from 0 to 2")]
    [InlineData("eagle3", "hidden_size", "48", "the model that it drafts for has 32")]
    [InlineData("eagle3", "vocab_size", "300", "the model that it drafts for has 277")]
    [InlineData("eagle3", "draft_vocab_size", "100", "\"lm_head.weight\" has shape [138, 32]")]
    [InlineData("eagle1", "num_attention_heads", "8", "\"layers.0.self_attn.q_proj.weight\" has shape [32, 32]")]
    [InlineData("eagle1", "num_hidden_layers", "2", "\"layers.1.")]
    [InlineData("eagle1-2layers", "num_hidden_layers", "1", "is not a weight of EAGLE-1/2")]
    [InlineData("speculators", "speculators_model_type", "\"dflash\"", "\"dflash\" is not supported")]
    [InlineData("speculators", "norm_before_fc", "true", "\"input_norm.weight\" is missing")]
    [InlineData("speculators-fc", "norm_before_fc", "true", "they exclude each other")]
    [InlineData("speculators-fc", "fc_norm", "false", "\"fc_norm.0.weight\" is not a weight of EAGLE-3")]
    [InlineData("eagle1", "norm_output", "true", "norm_output is supported for EAGLE-3 only")]
    [InlineData("mtp-qwen", "model_type", "\"qwen3_next\"", "blocks of another kind")]
    public void Drafters_that_do_not_fit_are_refused(string layout, string field, string? value, string expected)
    {
        Target.Write(_directory.File("target"));
        new TinyHeads().Eagle(Head, layout, Target, layout == "eagle3" ? 138 : 0, (field, value));
        ModelFormatException refused = Assert.Throws<ModelFormatException>(
            () => LanguageModel.Load(_directory.File("target"), new LanguageModelOptions { Threads = 1, Draft = new EagleOptions { Directory = Head } }));
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_vocabulary_that_contradicts_itself_is_refused()
    {
        Target.Write(_directory.File("target"));
        foreach ((long shift, string expected) in new[] { (300L, "maps token 0 to 300"), (2L, "maps two tokens to one"), (1L, "names other tokens than d2t") })
        {
            var heads = new TinyHeads();
            heads.Add("d2t", "I64", [.. BitConverter.GetBytes(shift), .. Enumerable.Range(1, 137).SelectMany(i => BitConverter.GetBytes((long)i))], 138);
            heads.Add("t2d", "BOOL", [.. Enumerable.Range(0, 277).Select(t => (byte)(t % 2 == 0 && t < 276 ? 1 : 0))], 277);
            WriteWithVocabulary(heads);
            ModelFormatException refused = Assert.Throws<ModelFormatException>(
                () => LanguageModel.Load(_directory.File("target"), new LanguageModelOptions { Threads = 1, Draft = new EagleOptions { Directory = Head } }));
            Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        }
    }

    /// <summary>The tensors of an EAGLE-3 drafter with another vocabulary.</summary>
    private void WriteWithVocabulary(TinyHeads vocabulary)
    {
        var heads = new TinyHeads(2);
        heads.Eagle(Head, "eagle3", Target, 138);
        vocabulary.AddAll(heads, except: ["d2t", "t2d"]);
        vocabulary.Write(Head, "model.safetensors", (System.Text.Json.Nodes.JsonObject)System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(Path.Combine(Head, "config.json")))!, []);
    }

    private LanguageModelOptions Options(TreeCheck check) => new()
    {
        Threads = 2, WeightType = WeightType.F32, KvType = KvType.F32,
        Draft = new Checked(new EagleOptions { Directory = Head, Width = Width, Depth = Depth, Nodes = 12, MinProbability = 0, WeightType = WeightType.F32, KvType = KvType.F32 }, check),
    };

    private sealed record Checked(DrafterOptions Inner, TreeCheck Check) : DrafterOptions
    {
        public override string Name => Inner.Name;

        public override int MaxNodes => Inner.MaxNodes;

        public override IDrafter Create(DrafterContext context)
        {
            Check.Inner = (EagleDrafter)Inner.Create(context);
            return Check;
        }
    }

    /// <summary>Passes on and holds every tree to the reference.</summary>
    private sealed class TreeCheck(string target, ReferenceEagle reference, int vocabStep) : IDrafter
    {
        private readonly ReferenceTransformer _target = new(target);
        private int _steps;

        public EagleDrafter Inner { get; set; } = null!;

        /// <summary>Steps between calls of the drafter.</summary>
        public int Every { get; init; } = 1;

        /// <summary>Position that sequences are expected to begin with.</summary>
        public int First { get; set; }

        public int Trees { get; private set; }

        public int Nodes { get; private set; }

        public int Deepest { get; private set; }

        public string Name => "eagle";

        public int MaxNodes => Inner.MaxNodes;

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
            if (++_steps % Every != 0) return;
            Inner.Propose(requests, forest);
            foreach (DraftRequest r in requests)
            {
                int root = forest.Root(r.Tree);
                if (forest.FirstChild(root) < 0) continue;
                Assert.Equal(First, Inner.FirstOf(r.Sequence));
                int[] path = r.Path.Tokens.ToArray();
                double[][][] states = _target.States(path[..^1]);
                ReferenceEagle.Entry? entry = null;
                for (int i = First; i < path.Length - 1; i++) entry = reference.Run(path[i + 1], reference.Feature(states, i), true, i, entry);
                CheckChildren(forest, root, entry!, path.Length - 2);
                Trees++;
                Deepest = Math.Max(Deepest, forest.DepthOf(r.Tree));
            }
        }

        public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => Inner.Committed(sequence, path, rows, accepted);

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
        }

        public void Fork(int source, int sequence, int tokens) => Inner.Fork(source, sequence, tokens);

        public void Release(int sequence) => Inner.Release(sequence);

        public void Dispose() => Inner.Dispose();

        /// <summary>Children of a node are the likeliest tokens of its entry, in order, with their probabilities.</summary>
        private void CheckChildren(TokenForest forest, int node, ReferenceEagle.Entry entry, int position)
        {
            double max = entry.Logits.Max(), sum = entry.Logits.Sum(l => Math.Exp(l - max));
            int[] best = [.. Enumerable.Range(0, entry.Logits.Length).OrderByDescending(i => entry.Logits[i]).Take(Width)];
            int rank = 0;
            for (int child = forest.FirstChild(node); child >= 0; child = forest.NextSibling(child), rank++)
            {
                Nodes++;
                int known = best[rank];
                if (forest.Token(child) != known * vocabStep) Assert.True(Math.Abs(entry.Logits[forest.Token(child) / vocabStep] - entry.Logits[known]) < 2e-3, "another token");
                Assert.Equal(Math.Exp(entry.Logits[forest.Token(child) / vocabStep] - max) / sum, forest.Confidence(child), 2e-3);
                if (forest.FirstChild(child) >= 0) CheckChildren(forest, child, reference.Run(forest.Token(child), entry.State, false, position + 1, entry), position + 1);
            }
        }
    }
}
