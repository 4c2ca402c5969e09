using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Formats;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

public sealed class MedusaTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>, IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("medusa", 1, WeightType.F32, 2e-4)]
    [InlineData("medusa", 2, WeightType.F32, 2e-4)]
    [InlineData("medusa", 0, WeightType.F32, 2e-4)]
    [InlineData("medusa_heads.medusa", 1, WeightType.BF16, 0.05)]
    [InlineData("vllm", 1, WeightType.F32, 2e-4)]
    [InlineData("medusa_heads.vllm", 2, WeightType.Int8, 0.2)]
    public void Heads_of_every_layout_agree_with_the_float64_reference(string layout, int blocks, WeightType type, double tolerance)
    {
        var target = new TinyModel();
        TinyHeads heads = new TinyHeads(3).Medusa(_directory.Path, layout, target, 2, blocks);
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = 1 });
        using var loaded = new MedusaHeads(backend, Shape(target), _directory.Path, type, 3, new MemoryPlan());
        loaded.Load(CancellationToken.None);
        float[][] features = [.. Enumerable.Range(0, 3).Select(r => Enumerable.Range(0, target.Hidden).Select(i => MathF.Sin(r * 31 + i)).ToArray())];
        var rows = new RowBatch(3);
        for (int r = 0; r < 3; r++) rows.Add(0, 0, r, -1, wantsLogits: true);
        backend.BeginRows(rows);
        for (int head = 0; head < 2; head++)
        {
            loaded.Run(head, rows, r => features[r]);
            for (int r = 0; r < 3; r++)
            {
                double[] expected = Reference(heads, layout, head, blocks, features[r], target);
                for (int t = 0; t < target.Vocab; t++) Assert.Equal(expected[t], backend.LogitsOf(r)[t], tolerance);
            }
        }
    }

    [Fact]
    public void A_truncated_vocabulary_is_mapped_to_the_targets()
    {
        var target = new TinyModel();
        int[] map = [.. Enumerable.Range(0, 40).Select(t => t * 5 + 2)];
        var heads = new TinyHeads();
        heads.Random("lm_heads.0.weight", 0.1, 0, 40, target.Hidden);
        heads.Add("token_map", "I64", [.. map.SelectMany(t => BitConverter.GetBytes((long)t))], 40);
        heads.Write(_directory.Path, "model.safetensors", [], [("num_heads", "1"), ("num_hidden_layers", "0"), ("truncated_vocab_size", "40")]);
        using CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = 1 });
        using var loaded = new MedusaHeads(backend, Shape(target), _directory.Path, null, 1, new MemoryPlan());
        loaded.Load(CancellationToken.None);
        Assert.Equal(map, Enumerable.Range(0, 40).Select(loaded.ToTarget));
    }

    [Fact]
    public void The_default_tree_has_the_published_63_nodes()
    {
        MedusaTree tree = MedusaTree.Default;
        Assert.Equal(63, tree.Count);
        Assert.Equal([10, 28, 23, 2], tree.Depths.GroupBy(d => d).OrderBy(g => g.Key).Select(g => g.Count()));
        Assert.Equal(63, Paths(tree).Distinct().Count());
        foreach (string path in new[] { "0 0 0 1", "0 0 9", "9 0", "1 6", "2 0 0", "1 0 1", "0 7 0" }) Assert.Contains(path, Paths(tree));
        foreach (string path in new[] { "1 7", "2 3", "4 1", "0 8 0", "0 0 1 0" }) Assert.DoesNotContain(path, Paths(tree));
    }

    /// <summary>With independent heads the best tree of n nodes holds the n likeliest paths.</summary>
    [Fact]
    public void Trees_from_rank_accuracies_hold_the_likeliest_paths()
    {
        double[][] accuracies = [[0.6, 0.15, 0.08], [0.4, 0.2, 0.1], [0.3, 0.1, 0.05]];
        MedusaTree tree = MedusaTree.Build(accuracies, 12);
        var all = new List<(string Path, double Value)>();
        Collect("", 1, 0);
        Assert.Equal(all.OrderByDescending(p => p.Value).Take(12).Select(p => p.Path).Order(), Paths(tree).Order());
        for (int n = 0; n < 12; n++) Assert.InRange(tree.Parents[n], -1, n - 1);
        Assert.Equal(["0", "0 0"], Paths(tree.Limit(2, 1)));

        void Collect(string path, double value, int depth)
        {
            if (depth > 0) all.Add((path.Trim(), value));
            for (int r = 0; depth < 3 && r < 3; r++) Collect($"{path} {r}", value * accuracies[depth][r], depth + 1);
        }
    }

    [Fact]
    public void A_tree_of_its_accuracies_is_built_and_accuracies_are_measured()
    {
        new TinyHeads().Medusa(_directory.Path, "medusa", new TinyModel(), 2, 1, ("medusa_rank_accuracies", "[[0.5, 0.3], [0.4]]"));
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, MaxSequences = 1, Draft = new MedusaOptions { Directory = _directory.Path } });
        GenerationStatistics s = model.Generate(LoopRig.Prompt(30, 1), new GenerationOptions { MaxTokens = 60, IgnoreEndTokens = true }).Complete().Statistics;
        Assert.InRange(s.DraftedTokens, 3 * (s.Steps - 2), 4 * s.Steps); // (0), (1), (0, 0), (1, 0)
        IReadOnlyList<IReadOnlyList<double>> measured = ((MedusaDrafter)model.Drafter).RankAccuracies;
        Assert.Equal([2, 2], measured.Select(r => r.Count));
        Assert.All(measured.SelectMany(r => r), a => Assert.InRange(a, 0, 1));
        Assert.Equal(s.AcceptedTokens > 0, measured[0].Sum() > 0);
    }

    [Fact]
    public void Heads_whose_head_is_the_targets_repeat_what_it_says()
    {
        var target = new TinyModel();
        var heads = new TinyHeads();
        heads.Add("0.0.weight", target.Tensors().Single(t => t.Name == "lm_head.weight").Values, target.Vocab, target.Hidden);
        heads.Write(_directory.Path, "medusa_lm_head.safetensors", [], [("medusa_num_heads", "1"), ("medusa_num_layers", "0")]);
        var check = new RepeatCheck();
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 2, MaxSequences = 3, WeightType = WeightType.F32, Draft = new Wrapped(new MedusaOptions { Directory = _directory.Path, Nodes = 1, WeightType = WeightType.F32 }, check),
        });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 5).Select(i => model.Generate(LoopRig.Prompt(9 + 40 * i, (ulong)i), new GenerationOptions { MaxTokens = 20, IgnoreEndTokens = true }))];
        foreach (GenerationSession session in sessions) session.Complete();
        Assert.InRange(check.Drafts, 50, 100);
    }

    [Fact]
    public void Pickles_are_refused_with_the_way_to_convert_them()
    {
        File.WriteAllText(_directory.File("config.json"), """{"medusa_num_heads": 1, "medusa_num_layers": 1}""");
        File.WriteAllBytes(_directory.File("medusa_lm_head.pt"), [0x80, 2]);
        ModelFormatException refused = Assert.Throws<ModelFormatException>(() => fixture.Load(Options()));
        Assert.Contains("pickle", refused.Message, StringComparison.Ordinal);
        Assert.Contains("save_file", refused.Message, StringComparison.Ordinal);
        Assert.Contains("'medusa_lm_head.safetensors'", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("medusa_num_heads", "4", "\"3.0.linear.weight\" is missing")]
    [InlineData("medusa_num_heads", "2", "is not a weight of Medusa")]
    [InlineData("medusa_num_layers", "0", "\"0.0.weight\" is missing")]
    [InlineData("medusa_num_layers", null, "medusa_num_layers is missing")]
    [InlineData("hidden_size", "63", "the model that it drafts for has 64")]
    [InlineData("medusa_rank_accuracies", "[[0.5, 1.5]]", "must hold numbers from 0 to 1")]
    [InlineData("medusa_rank_accuracies", "[[0, 0], [0.5]]", "the first head is never right")]
    public void Heads_that_do_not_fit_are_refused(string field, string? value, string expected)
    {
        new TinyHeads().Medusa(_directory.Path, "medusa", new TinyModel(), 3, 1, (field, value));
        ModelFormatException refused = Assert.Throws<ModelFormatException>(() => fixture.Load(Options()));
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
    }

    private LanguageModelOptions Options() => new() { Threads = 1, Draft = new MedusaOptions { Directory = _directory.Path } };

    private static TransformerShape Shape(TinyModel m) => new()
    {
        LayerCount = m.Layers, HiddenSize = m.Hidden, IntermediateSize = m.Intermediate, HeadCount = m.Heads, KvHeadCount = m.KvHeads, HeadDim = m.HeadDim,
        VocabSize = m.Vocab, RmsNormEpsilon = 1e-6f, MaxPositions = 64, RopeInverseFrequencies = new double[m.HeadDim / 2], AttentionScale = 1,
    };

    private static string[] Paths(MedusaTree tree)
    {
        return [.. Enumerable.Range(0, tree.Count).Select(Path)];

        string Path(int node) => (tree.Parents[node] < 0 ? "" : Path(tree.Parents[node]) + " ") + tree.Ranks[node];
    }

    private static double[] Reference(TinyHeads heads, string layout, int head, int blocks, float[] feature, TinyModel target)
    {
        bool lists = layout.EndsWith("vllm", StringComparison.Ordinal);
        string prefix = layout.Contains('.', StringComparison.Ordinal) ? "medusa_heads." : "";
        double[] x = [.. feature.Select(f => (double)f)];
        for (int j = 0; j < blocks; j++)
        {
            string name = lists ? $"{prefix}blocks.{head}.layers.{j}" : $"{prefix}{head}.{j}.linear";
            double[] z = Multiply(heads.Values[name + ".weight"], x);
            if (!lists) z = [.. z.Zip(heads.Values[name + ".bias"], (a, b) => a + b)];
            x = [.. x.Zip(z, (a, b) => a + b / (1 + Math.Exp(-b)))];
        }

        double[] logits = Multiply(heads.Values[lists ? $"{prefix}lm_heads.{head}.weight" : $"{prefix}{head}.{blocks}.weight"], x);
        Assert.Equal(target.Vocab, logits.Length);
        return logits;
    }

    private static double[] Multiply(double[] matrix, double[] x) =>
        [.. Enumerable.Range(0, matrix.Length / x.Length).Select(r => x.Select((v, i) => v * matrix[r * x.Length + i]).Sum())];

    private sealed record Wrapped(DrafterOptions Inner, RepeatCheck Check) : DrafterOptions
    {
        public override string Name => Inner.Name;

        public override int MaxNodes => Inner.MaxNodes;

        public override IDrafter Create(DrafterContext context) => Check.Around(Inner.Create(context));
    }

    /// <summary>A head that is the target's own says the root again: the feature is that of the token before it, in every sequence its own.</summary>
    private sealed class RepeatCheck : IDrafter
    {
        private IDrafter _inner = null!;

        public int Drafts { get; private set; }

        public string Name => _inner.Name;

        public int MaxNodes => _inner.MaxNodes;

        public RepeatCheck Around(IDrafter inner)
        {
            _inner = inner;
            return this;
        }

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
            _inner.Propose(requests, forest);
            foreach (DraftRequest r in requests)
            {
                int root = forest.Root(r.Tree), child = forest.FirstChild(root);
                if (child < 0 || r.Path.GeneratedCount == 0) continue; // the prompt's last token is nobody's word
                Assert.Equal(r.Path.Last, forest.Token(child));
                Drafts++;
            }
        }

        public void Committed(int sequence, Foretoken.Sampling.TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => _inner.Committed(sequence, path, rows, accepted);

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest) => _inner.Observe(requests, acceptances, forest);

        public void Release(int sequence) => _inner.Release(sequence);

        public void Dispose() => _inner.Dispose();
    }
}
