using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Speculation;

public sealed class DraftModelTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    /// <summary>Bits of a row do not depend on the pass, so a draft of the same weights and KV type says what the target says.</summary>
    [Theory]
    [InlineData(WeightType.F32, KvType.F32)]
    [InlineData(WeightType.Int8, KvType.Int8)]
    public void A_draft_equal_to_the_target_is_always_accepted(WeightType weight, KvType kv)
    {
        const int tokens = 4;
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 1, MaxSequences = 3, WeightType = weight, KvType = kv,
            Draft = new DraftModelOptions { Directory = fixture.Directory, Tokens = tokens, WeightType = weight, KvType = kv, MinProbability = 0 },
        });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 5).Select(i => model.Generate(
            LoopRig.Prompt(7 + 40 * i, (ulong)i), new GenerationOptions { MaxTokens = 8 * (tokens + 1), IgnoreEndTokens = true }))];
        foreach (GenerationSession session in sessions)
        {
            GenerationStatistics s = session.Complete().Statistics;
            Assert.Equal(s.DraftedTokens, s.AcceptedTokens);
            Assert.InRange(s.Steps, 8, 9); // a draft never reaches the last token of all
        }
    }

    [Fact]
    public void More_requests_than_a_pass_of_the_draft_was_planned_for_are_drafted_for_all_the_same()
    {
        var draft = new DraftModelOptions { Directory = fixture.Directory, Tokens = 2, WeightType = WeightType.F32, KvType = KvType.F32, MinProbability = 0, MaxRows = 3 };
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 70, MaxRows = 256, WeightType = WeightType.F32, KvType = KvType.F32, ContextLength = 32, Draft = draft };
        using LanguageModel model = fixture.Load(options);
        GenerationSession[] sessions = [.. Enumerable.Range(0, 70).Select(i => model.Generate(LoopRig.Prompt(3, (ulong)i), new GenerationOptions { MaxTokens = 7, IgnoreEndTokens = true }))];
        foreach (GenerationSession session in sessions) _ = session.Complete();
        foreach (GenerationStatistics s in sessions.Select(s => s.Statistics)) Assert.Equal((true, s.DraftedTokens), (s.DraftedTokens > 0, s.AcceptedTokens));
    }

    [Theory]
    [InlineData(AcceptanceKind.Rejection, 1)]
    [InlineData(AcceptanceKind.Rejection, 3)]
    [InlineData(AcceptanceKind.Block, 1)]
    public void Draws_of_a_draft_equal_to_the_target_are_all_accepted_by_rules_that_know_its_distribution(AcceptanceKind rule, int width)
    {
        const int tokens = 4;
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 1, MaxSequences = 3, WeightType = WeightType.F32, KvType = KvType.F32, Acceptance = new AcceptanceOptions(rule),
            Draft = new DraftModelOptions { Directory = fixture.Directory, Tokens = tokens, Width = width, WeightType = WeightType.F32, KvType = KvType.F32, MinProbability = 0 },
        });
        GenerationSession[] sessions = [.. Enumerable.Range(0, 6).Select(i => model.Generate(LoopRig.Prompt(7 + 20 * i, (ulong)i), new GenerationOptions
        {
            MaxTokens = 12 * (tokens + 1), IgnoreEndTokens = true,
            Sampling = new SamplingOptions { Temperature = 1.3f, TopK = 100, TopP = 0.97f, MinP = 0.001f, RepetitionPenalty = 1.1f, FrequencyPenalty = 0.1f, Seed = (ulong)i },
        }))];
        foreach (GenerationSession session in sessions) Assert.InRange(session.Complete().Statistics.Steps, 12, 13);
    }

    [Fact]
    public void Its_buffers_are_part_of_the_plan()
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, Draft = new DraftModelOptions { Directory = fixture.Directory } });
        string[] groups = [.. model.Plan.Entries.Select(e => e.Group).Distinct()];
        foreach (string group in new[] { "draft weights", "draft kv", "draft activations" }) Assert.Contains(group, groups);
        Assert.Equal(
            model.Plan.Entries.Where(e => e.Group == "weights").Sum(e => e.Bytes), model.Plan.Entries.Where(e => e.Group == "draft weights").Sum(e => e.Bytes));
    }

    [Fact]
    public void Another_vocabulary_is_refused_and_mapped_by_text_when_asked()
    {
        using var directory = new TempDirectory();
        new TinyModel { Vocab = 300, Seed = 5 }.Write(directory.Path);
        var draft = new DraftModelOptions { Directory = directory.Path, MinProbability = 0 };
        DrafterException refused = Assert.Throws<DrafterException>(() => fixture.Load(new LanguageModelOptions { Threads = 1, Draft = draft }));
        Assert.Contains("300 tokens, not 277", refused.Message, StringComparison.Ordinal);

        (int[] Prompt, GenerationOptions Options)[] requests = DraftCases.Requests(3, 30);
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 2 };
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, options, requests);
        using LanguageModel model = fixture.Load(options with { Draft = draft with { MapVocabulary = true } });
        Assert.True(DraftCases.AssertSame(model, requests, alone).Drafted > 50);
    }

    [Fact]
    public void A_target_token_that_the_draft_lacks_becomes_its_pieces()
    {
        using TempDirectory small = new(), large = new();
        BpeTokenizer few = Tokenizer(small.Path, 261), many = Tokenizer(large.Path, 300);
        VocabularyMap map = VocabularyMap.Create(many, 300, few, 261, "draft", byText: true);
        var one = new int[1];
        Assert.False(map.IsIdentity);
        for (int id = 0; id < 300; id++)
        {
            int[] pieces = map.Pieces(id, one).ToArray();
            Assert.Equal(many.TokenBytes(id).ToArray(), pieces.SelectMany(p => few.TokenBytes(p).ToArray()));
            if (pieces.Length == 1) Assert.Equal(id, map.ToTarget(pieces[0]));
        }

        Assert.InRange(map.LongestToken, 2, 8);
        Assert.True(VocabularyMap.Create(many, 300, many, 320, "draft", byText: false).IsIdentity); // padded differently
    }

    [Theory]
    [InlineData("draft")]
    [InlineData("target")]
    public void A_tokenizer_that_cannot_be_read_is_an_error_of_ours_that_names_the_file(string whose)
    {
        using TempDirectory draft = new(), target = new();
        foreach (TempDirectory directory in new[] { draft, target }) new TinyModel().Write(directory.Path);
        string file = Path.Combine(whose == "draft" ? draft.Path : target.Path, "tokenizer.json");
        FileStream? held = null; // as another program holds a file that it writes
        var options = new LockingOptions(new DraftModelOptions { Directory = draft.Path }, () => held = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.None));
        var error = Assert.Throws<TokenizerException>(() => LanguageModel.Load(target.Path, new LanguageModelOptions { Threads = 1, Draft = options }));
        held!.Dispose();
        Assert.StartsWith($"{file}: file: cannot be read", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_draft_of_a_shorter_context_drafts_until_its_end()
    {
        using var directory = new TempDirectory();
        new TinyModel { MaxPositions = 64 }.Write(directory.Path);
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 1 };
        (int[] Prompt, GenerationOptions Options)[] requests = [(LoopRig.Prompt(30, 1), new GenerationOptions { MaxTokens = 80, IgnoreEndTokens = true })];
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, options, requests);
        using LanguageModel model = fixture.Load(options with { Draft = new DraftModelOptions { Directory = directory.Path, MinProbability = 0 } });
        Assert.InRange(DraftCases.AssertSame(model, requests, alone).Accepted, 20, 40);
    }

    private static BpeTokenizer Tokenizer(string directory, int vocab)
    {
        new TinyModel { Vocab = vocab }.Write(directory);
        return BpeTokenizer.FromDirectory(directory);
    }

    /// <summary>Does something between the loading of the target and that of its draft.</summary>
    private sealed record LockingOptions(DrafterOptions Inner, Action Before) : DrafterOptions
    {
        public override string Name => Inner.Name;

        public override int MaxNodes => Inner.MaxNodes;

        public override IDrafter Create(DrafterContext context)
        {
            Before();
            return Inner.Create(context);
        }
    }
}
