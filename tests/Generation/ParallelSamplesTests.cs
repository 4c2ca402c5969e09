using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Speculation;

namespace Foretoken.Tests.Generation;

/// <summary>Several answers to one prompt over the real backend: each the same bytes as a request of its own.</summary>
public sealed class ParallelSamplesTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    private static readonly GenerationOptions s_options = new()
    {
        MaxTokens = 40, IgnoreEndTokens = true, Samples = 6,
        Sampling = new SamplingOptions { Temperature = 0.6f, TopK = 60, TopP = 0.95f, MinP = 0.01f, RepetitionPenalty = 0.95f, FrequencyPenalty = 0.02f, Seed = 12, LogProbs = true },
    };

    public static TheoryData<string, KvType, string> Cases()
    {
        var cases = new TheoryData<string, KvType, string>();
        string[] drafters = ["none", .. DraftCases.Drafters];
        KvType[] types = [KvType.F32, KvType.BF16, KvType.F16, KvType.Int8];
        for (int i = 0; i < drafters.Length; i++)
        {
            for (int j = 0; j < 2; j++) cases.Add(drafters[i], types[(i + 2 * j) % 4], DraftCases.Policies[(i + j + i / 4) % 4]);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Each_sample_equals_a_request_of_its_own(string drafter, KvType type, string policy)
    {
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 4, ContextLength = 256, KvType = type, KvPolicy = DraftCases.Policy(policy) };
        int[] part = LoopRig.Prompt(20, 4), prompt = [.. part, .. LoopRig.Prompt(33, 5), .. part];
        GenerationResult[] alone;
        using (LanguageModel plain = fixture.Load(options))
        {
            alone = [.. Enumerable.Range(0, 6).Select(i => plain.Generate(prompt, s_options with { Samples = 1, Sampling = s_options.Sampling.OfSample(i) }).Complete())];
        }

        using LanguageModel model = fixture.Load(options with { Draft = drafter == "none" ? null : DraftCases.Options(drafter, fixture.Directory) });
        using ParallelSamples samples = model.GenerateSamples(prompt, s_options);
        GenerationResult[] results = samples.Complete();
        for (int i = 0; i < results.Length; i++)
        {
            Assert.Equal(alone[i].Tokens, results[i].Tokens);
            Assert.Equal(alone[i].LogProbs, results[i].LogProbs);
        }

        Assert.True(alone.Select(a => string.Join(' ', a.Tokens)).Distinct().Count() == 6);
        int least = policy == "dense" ? 4 : 3; // two wait for places: when they come, all others may have ended, or evicted what they could share
        Assert.InRange(model.Engine.Statistics.Forks, least, 5);
        Assert.Equal((0L, model.Cache.PagesTotal), (model.Cache.Statistics.PagesReserved, model.Cache.Statistics.PagesFree));
    }

    /// <summary>What the model decided while the prompt was read goes with the forks.</summary>
    [Theory]
    [InlineData("true", "true")]
    [InlineData("true", "false")]
    [InlineData("false", "true")]
    public void Samples_of_a_model_that_evicts_by_itself_equal_requests_of_their_own(string adapter, string shift)
    {
        using var directory = new TempDirectory();
        new TinyModel
        {
            Layers = 3, Hidden = 32, Intermediate = 48, Seed = 3,
            Config = [("dms_window_size", "5"), ("dms_separate_alpha", adapter), ("dms_one_token_shift", shift)],
        }.Write(directory.Path);
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 6, ContextLength = 256, LearnedEviction = true };
        int[] prompt = LoopRig.Prompt(77, 4);
        GenerationResult[] alone;
        using (LanguageModel plain = LanguageModel.Load(directory.Path, options with { PrefillChunk = 5 }))
        {
            alone = [.. Enumerable.Range(0, 6).Select(i => plain.Generate(prompt, s_options with { Samples = 1, Sampling = s_options.Sampling.OfSample(i) }).Complete())];
            Assert.True(plain.Cache.Statistics.EffectiveCompression > 1.2);
        }

        using LanguageModel model = LanguageModel.Load(directory.Path, options with { Draft = new RecyclingOptions() });
        using ParallelSamples samples = model.GenerateSamples(prompt, s_options);
        GenerationResult[] results = samples.Complete();
        for (int i = 0; i < results.Length; i++)
        {
            Assert.Equal(alone[i].Tokens, results[i].Tokens);
            Assert.Equal(alone[i].LogProbs, results[i].LogProbs);
        }

        Assert.Equal(5, model.Engine.Statistics.Forks);
    }

    [Fact]
    public void Answers_come_in_the_order_in_which_they_end_and_the_rest_can_be_left()
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, MaxSequences = 4, ContextLength = 256 });
        int[] prompt = LoopRig.Prompt(30, 8);
        GenerationOptions options = s_options with { StopTokens = [.. Enumerable.Range(0, 20)], MaxTokens = 200 };
        GenerationResult[] all;
        using (ParallelSamples samples = model.GenerateSamples(prompt, options)) all = samples.Complete();
        using (ParallelSamples samples = model.GenerateSamples(prompt, options))
        {
            (int Sample, GenerationResult Result)[] ended = [.. samples.InOrderOfEnd()];
            Assert.Equal(Enumerable.Range(0, 6), ended.Select(e => e.Sample).Order());
            foreach ((int sample, GenerationResult result) in ended) Assert.Equal(all[sample].Tokens, result.Tokens);
            int[] lengths = [.. ended.Where(e => e.Sample < 4).Select(e => e.Result.Tokens.Count)]; // these began together
            Assert.Equal(lengths.Order(), lengths);
            Assert.True(lengths.Distinct().Count() > 1);
        }

        using (ParallelSamples samples = model.GenerateSamples(prompt, options)) Assert.Equal(all.Take(4).Min(r => r.Tokens.Count), samples.InOrderOfEnd().First().Result.Tokens.Count);
        Assert.Equal(0, model.Engine.ActiveCount); // what was not read is ended
        Assert.Equal(model.Cache.PagesTotal, model.Cache.Statistics.PagesFree);
    }

    [Fact]
    public void A_draft_model_reads_the_prompt_of_all_samples_once()
    {
        var draft = new DraftModelOptions { Directory = fixture.Directory, Tokens = 4, MaxRows = 32, MinProbability = 0 };
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, MaxSequences = 6, ContextLength = 512, Draft = draft });
        using ParallelSamples samples = model.GenerateSamples(LoopRig.Prompt(300, 2), s_options with { MaxTokens = 20 });
        _ = samples.Complete();
        long rows = ((DraftModelDrafter)model.Drafter).Rows;
        Assert.InRange(rows, 300, 300 + 6 * 20 * 6); // and a few rows for each draft of each sample
        Assert.True(samples.Sum(s => s.Statistics.DraftedTokens) > 50);
    }

    [Fact]
    public void Samples_are_checked()
    {
        using LanguageModel model = fixture.Load();
        InvalidRequestException Refused(GenerationOptions options) => Assert.Throws<InvalidRequestException>(() => model.GenerateSamples("abc", options));
        Assert.Contains("samples is 0: it must be between 1", Refused(s_options with { Samples = 0 }).Message, StringComparison.Ordinal);
        Assert.Contains("temperature 0", Refused(s_options with { Sampling = SamplingOptions.Greedy }).Message, StringComparison.Ordinal);
        Assert.Contains("samples is 6", Assert.Throws<InvalidRequestException>(() => model.Generate("abc", s_options)).Message, StringComparison.Ordinal);
        using ParallelSamples one = model.GenerateSamples("abc", s_options with { Samples = 1, MaxTokens = 3, Sampling = SamplingOptions.Greedy });
        Assert.Equal(3, Assert.Single(one.Complete()).Tokens.Count);
        Assert.Equal(SamplingOptions.Greedy.Seed, one[0].Sampling.Seed);
    }
}
