using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>The drafters that every equality test runs over, by name, and requests whose answers repeat themselves.</summary>
internal static class DraftCases
{
    public static readonly string[] Drafters =
    [
        "ngram", "suffix", "suffix-tree", "recycling", "ngram+suffix+recycling", "model", "model-tree", "model+ngram", "auto", "medusa", "medusa-tree+ngram", "eagle3", "eagle1",
        "mtp+ngram", "auto-trained",
    ];

    public static readonly string[] Policies = ["dense", "window", "sinks", "dms"];

    /// <summary>Trained drafters have random weights here: few of their drafts are right, and in short answers perhaps none.</summary>
    public static bool IsRandom(string drafter) => drafter is "eagle3" or "eagle1" or "mtp+ngram";

    /// <param name="drafter">One of <see cref="Drafters"/>.</param>
    /// <param name="directory">The target's, which drafts for itself with coarser weights.</param>
    public static DrafterOptions Options(string drafter, string directory) => drafter switch
    {
        "ngram" => new NgramOptions { MinMatch = 1 },
        "suffix" => new SuffixOptions { StoredTokens = 4096 },
        "suffix-tree" => new SuffixOptions { StoredTokens = 4096, Words = false, MinProbability = 0.1f },
        "recycling" => new RecyclingOptions(),
        "ngram+suffix+recycling" => new CompositeOptions(new NgramOptions(), new SuffixOptions(), new RecyclingOptions()),
        "model" => new DraftModelOptions { Directory = directory, WeightType = WeightType.Int8, KvType = KvType.Int8 },
        "model-tree" => new DraftModelOptions { Directory = directory, WeightType = WeightType.Int8, KvType = KvType.Int8, Width = 3, Tokens = 4, MinProbability = 0.01f },
        "model+ngram" => new CompositeOptions(new DraftModelOptions { Directory = directory, WeightType = WeightType.Int8 }, new NgramOptions()),
        "auto" => new GovernorOptions(new NgramOptions(), new SuffixOptions { StoredTokens = 4096 }, new RecyclingOptions(), Options("model-tree", directory)) { Curiosity = 1, LoadsAtStart = true },
        "medusa" => new MedusaOptions { Directory = Heads(directory, "medusa"), WeightType = null },
        "medusa-tree+ngram" => new CompositeOptions(
            new MedusaOptions { Directory = Heads(directory, "vllm"), Tree = MedusaTree.Build([[0.6, 0.2, 0.1], [0.4, 0.2]], 6), Nodes = 6, WeightType = WeightType.Int8 }, new NgramOptions()),
        "eagle3" => new EagleOptions { Directory = Heads(directory, "eagle3"), MinProbability = 0, Nodes = 30, WeightType = WeightType.Int8, KvType = KvType.Int8 },
        "eagle1" => new EagleOptions { Directory = Heads(directory, "eagle1"), MinProbability = 0.0001f, Width = 8, Depth = 3, Nodes = 40 },
        "mtp+ngram" => new CompositeOptions(new EagleOptions { Directory = Heads(directory, "mtp-deepseek"), Width = 2, Nodes = 8, MinProbability = 0 }, new NgramOptions()),
        "auto-trained" => new GovernorOptions(new NgramOptions(), new SuffixOptions { StoredTokens = 4096 }, new RecyclingOptions(), Options("medusa", directory), Options("eagle3", directory)) { Curiosity = 1, LoadsAtStart = true },
        "medusa-fitted" => new MedusaOptions { Directory = Heads(directory, "medusa-ranked"), FitsCosts = true },
        "eagle3-fitted" => (EagleOptions)Options("eagle3", directory) with { FitsCosts = true },
        "auto-lazy" => (GovernorOptions)Options("auto-trained", directory) with { LoadsAtStart = false },
        _ => throw new ArgumentException($"Unknown drafter {drafter}."),
    };

    /// <summary>Trained drafters with random weights beside the target, written once.</summary>
    private static string Heads(string target, string layout)
    {
        string directory = Path.Combine(target, layout);
        if (Directory.Exists(directory)) return directory;
        if (layout == "medusa-ranked") new TinyHeads().Medusa(directory, "medusa", new TinyModel(), config: ("medusa_rank_accuracies", "[[0.6, 0.2, 0.1], [0.4, 0.2], [0.3]]"));
        else if (layout is "medusa" or "vllm") new TinyHeads().Medusa(directory, layout, new TinyModel());
        else new TinyHeads().Eagle(directory, layout, new TinyModel(), layout == "eagle3" ? 138 : 0);
        return directory;
    }

    public static IEvictionPolicy Policy(string name) => name switch
    {
        "dense" => new DensePolicy(),
        "window" => new SlidingWindowPolicy(40),
        "sinks" => new SinksPolicy(44),
        _ => new DmsPolicy(16, SyntheticDecisions.ForCompression(3, 4)),
    };

    /// <summary>Greedy and sampled requests; sampled ones are cold enough to repeat what they said. The last ones are long, short and ended by a token.</summary>
    public static (int[] Prompt, GenerationOptions Options)[] Requests(int count, int tokens) =>
        [.. Enumerable.Range(0, count).Select(i => (Prompt(i), new GenerationOptions
        {
            MaxTokens = i % 4 == 3 ? tokens / 3 : tokens,
            IgnoreEndTokens = i % 5 != 4,
            StopTokens = i % 5 == 4 ? [7, 99, 180] : [],
            Sampling = i % 2 == 0
                ? new SamplingOptions { LogProbs = true }
                : new SamplingOptions { Temperature = 0.5f, TopK = 50, TopP = 0.9f, MinP = 0.01f, RepetitionPenalty = 0.9f, Seed = (ulong)i, LogProbs = true },
        }))];

    /// <summary>Answers of plain decoding, one request at a time.</summary>
    public static GenerationResult[] Alone(Func<LanguageModelOptions, LanguageModel> load, LanguageModelOptions options, (int[] Prompt, GenerationOptions Options)[] requests)
    {
        using LanguageModel plain = load(options with { Draft = null });
        return [.. requests.Select(r => plain.Generate(r.Prompt, r.Options).Complete())];
    }

    /// <summary>Runs all requests together and holds every answer equal to the one alone.</summary>
    /// <returns>Drafted and accepted tokens.</returns>
    public static (int Drafted, int Accepted) AssertSame(LanguageModel model, (int[] Prompt, GenerationOptions Options)[] requests, GenerationResult[] alone)
    {
        GenerationSession[] sessions = [.. requests.Select(r => model.Generate(r.Prompt, r.Options))];
        int drafted = 0, accepted = 0;
        for (int i = 0; i < requests.Length; i++)
        {
            GenerationResult result = sessions[i].Complete();
            Assert.Equal(alone[i].Tokens, result.Tokens);
            Assert.Equal(alone[i].LogProbs, result.LogProbs);
            Assert.Equal(alone[i].FinishReason, result.FinishReason);
            drafted += result.Statistics.DraftedTokens;
            accepted += result.Statistics.AcceptedTokens;
        }

        model.Cache.ClearPrefixes();
        KvStatistics kv = model.Cache.Statistics;
        Assert.Equal((0L, kv.PagesTotal), (kv.PagesReserved, kv.PagesFree));
        return (drafted, accepted);
    }

    private static int[] Prompt(int i)
    {
        int[] part = LoopRig.Prompt(6 + i, (ulong)i);
        return i % 3 == 0 ? [.. part, .. part, .. part] : [.. part, .. LoopRig.Prompt(40 + 20 * i, 50 + (ulong)i), .. part];
    }
}
