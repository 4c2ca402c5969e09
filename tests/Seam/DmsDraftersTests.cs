using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Seam;

/// <summary>
/// A model that decides what its cache evicts says the same with every drafter as alone: tokens and bits of log-probabilities. Windows are shorter
/// than prompts, answers and the deeper trees.
/// </summary>
public sealed class DmsDraftersTests : IDisposable
{
    private const int Vocab = 277;
    private readonly TempDirectory _directory = new(), _draft = new();

    public static TheoryData<string, bool> Combinations()
    {
        var data = new TheoryData<string, bool>();
        foreach (string drafter in new[] { "ngram", "suffix", "recycling", "swift", "model", "oracle", "medusa", "eagle", "composite", "governor" })
        {
            data.Add(drafter, false);
            data.Add(drafter, true);
        }

        return data;
    }

    public void Dispose()
    {
        _directory.Dispose();
        _draft.Dispose();
    }

    [Theory]
    [MemberData(nameof(Combinations))]
    public void Every_drafter_gives_the_evicting_models_own_answers(string drafter, bool sampled)
    {
        foreach ((string window, (string, string?)[] kind) in new[]
        {
            ("5", new (string, string?)[] { ("dms_separate_alpha", "true") }), ("11", []), ("3", [("dms_separate_alpha", "true"), ("dms_one_token_shift", "false")]),
        })
        {
            var model = new TinyModel { Layers = 4, Hidden = 32, Heads = 4, KvHeads = 2, Intermediate = 48, Seed = 3, Config = [("dms_window_size", window), .. kind] };
            model.Write(_directory.Path);
            (model with { Layers = 1, Config = [] }).Write(_draft.Path);
            if (drafter == "medusa") new TinyHeads().Medusa(Heads, "medusa", model with { Config = [] });
            if (drafter == "eagle") new TinyHeads().Eagle(Heads, "eagle3", model with { Config = [] });
            var oracle = new OracleDrafter(new OracleOptions { VocabSize = Vocab, Depth = 7, Siblings = 2, SiblingDepth = 2, Acceptance = 0.7 });
            string[] expected = Answers(sampled, null, null, oracle, out double compression);
            Assert.True(compression > 1.3, $"compression {compression}");
            string[] drafted = Answers(sampled, drafter == "oracle" ? null : Options(drafter), drafter == "oracle" ? oracle : null, null, out double same);
            Assert.Equal(expected, drafted);
            Assert.InRange(same, 1.2, 10);
        }
    }

    private string Heads => Path.Combine(_draft.Path, "heads");

    private DrafterOptions Options(string drafter) => drafter switch
    {
        "ngram" => new NgramOptions(),
        "suffix" => new SuffixOptions(),
        "recycling" => new RecyclingOptions(),
        "swift" => new SwiftOptions { Width = 2, MinConfidence = 0, Window = 10 },
        "model" => new DraftModelOptions { Directory = _draft.Path, Tokens = 6, Width = 2 },
        "medusa" => new MedusaOptions { Directory = Heads, Nodes = 12, Tree = MedusaTree.Build([[0.5, 0.2, 0.1], [0.4, 0.2], [0.3]], 12) },
        "eagle" => new EagleOptions { Directory = Heads, Width = 3, Depth = 4, Nodes = 10, MinProbability = 0 },
        "composite" => new CompositeOptions([new SuffixOptions(), new RecyclingOptions()]),
        _ => new GovernorOptions([new NgramOptions(), new SuffixOptions(), new RecyclingOptions(), new DraftModelOptions { Directory = _draft.Path, Tokens = 6 }]),
    };

    /// <summary>Three requests at a time; each answer as text with the bits of its log-probabilities.</summary>
    private string[] Answers(bool sampled, DrafterOptions? draft, IDrafter? drafter, OracleDrafter? record, out double compression)
    {
        using LanguageModel model = LanguageModel.Load(_directory.Path, new LanguageModelOptions
        {
            Threads = 1, MaxSequences = 3, PrefillChunk = 16, KvType = KvType.BF16, LearnedEviction = true, Draft = draft, Drafter = drafter,
        });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 3).Select(i => model.Generate(LoopRig.Prompt(30 + 9 * i, (ulong)i), Request(i)))];
        var answers = new string[sessions.Length];
        for (int i = 0; i < sessions.Length; i++)
        {
            GenerationResult result = sessions[i].Complete();
            record?.Record(LoopRig.Prompt(30 + 9 * i, (ulong)i), Request(i).Sampling, [.. result.Tokens]);
            answers[i] = string.Join(' ', result.Tokens) + " | " + string.Join(' ', result.LogProbs.Select(BitConverter.SingleToInt32Bits));
        }

        compression = model.Cache.Statistics.EffectiveCompression;
        return answers;

        GenerationOptions Request(int i) => new()
        {
            MaxTokens = 70, IgnoreEndTokens = true,
            Sampling = sampled ? new SamplingOptions { Temperature = 0.7f, TopP = 0.9f, Seed = (ulong)i, LogProbs = true } : new SamplingOptions { LogProbs = true },
        };
    }
}
