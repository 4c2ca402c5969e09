using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;

namespace Foretoken.Tests.Generation;

/// <summary>What callers do wrong, and what several of them do at the same time.</summary>
public sealed class MisuseTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    private static readonly int[] s_prompt = [5, 6, 7, 8, 9];

    private static GenerationOptions Endless => new() { IgnoreEndTokens = true };

    [Fact]
    public void Null_arguments_are_named()
    {
        using LanguageModel model = fixture.Load();
        Assert.Equal("path", Assert.Throws<ArgumentNullException>(() => LanguageModel.Load(null!)).ParamName);
        Assert.Equal("source", Assert.Throws<ArgumentNullException>(() => LanguageModel.Load(null!, tokenizer: null)).ParamName);
        Assert.Equal("text", Assert.Throws<ArgumentNullException>(() => model.Generate((string)null!)).ParamName);
        Assert.Equal("options", Assert.Throws<ArgumentNullException>(() => model.GenerateSamples(s_prompt, null!)).ParamName);
        Assert.Equal("options", Assert.Throws<ArgumentNullException>(() => model.GenerateBeams(s_prompt, null!)).ParamName);
        Assert.Equal("messages", Assert.Throws<ArgumentNullException>(() => model.Chat(null!)).ParamName);
        foreach (GenerationOptions options in new[] { new() { Sampling = null! }, new() { StopTokens = null! }, new GenerationOptions { StopStrings = null! } })
            Assert.Contains("is null", Assert.Throws<InvalidRequestException>(() => model.Generate(s_prompt, options)).Message, StringComparison.Ordinal);
        Assert.Equal(0, model.Engine.ActiveCount);
    }

    [Fact]
    public void A_disposed_model_refuses_requests_and_may_be_disposed_again()
    {
        LanguageModel model = fixture.Load();
        GenerationSession session = model.Generate(s_prompt, Endless);
        model.Dispose();
        model.Dispose();
        Assert.Throws<ObjectDisposedException>(() => model.Generate(s_prompt));
        Assert.Throws<ObjectDisposedException>(() => model.GenerateSamples(s_prompt, new GenerationOptions()));
        Assert.Throws<ObjectDisposedException>(() => model.GenerateBeams(s_prompt, new BeamOptions(1)));
        Assert.Throws<ObjectDisposedException>(() => model.Engine.Statistics);
        Assert.Throws<GenerationException>(() => session.MoveNext());
        session.Cancel();
        session.Dispose();
        session.Dispose();
    }

    [Fact]
    public void Beams_that_find_no_room_give_everything_back()
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, MaxSequences = 4, ContextLength = 64 });
        int[] expected = [.. model.Generate(s_prompt, Endless).Complete().Tokens];
        using (GenerationSession one = model.Generate(s_prompt, Endless), two = model.Generate(s_prompt, Endless))
        {
            Assert.True(one.MoveNext() && two.MoveNext()); // both hold places: two are left, and four beams take four
            Assert.Contains("4 beams", Assert.Throws<GenerationException>(() => model.GenerateBeams(s_prompt, new BeamOptions(4) { IgnoreEndTokens = true })).Message, StringComparison.Ordinal);
            Assert.Equal(2, model.Cache.Statistics.Sequences);
            Assert.Equal(expected, one.Complete().Tokens);
            Assert.Equal(expected, two.Complete().Tokens);
        }

        Assert.Equal(4, model.GenerateBeams(s_prompt, new BeamOptions(4) { IgnoreEndTokens = true, MaxTokens = 5 }).Answers.Count);
        KvStatistics kv = model.Cache.Statistics;
        Assert.Equal((0, 0L, kv.PagesTotal), (kv.Sequences, kv.PagesReserved, kv.PagesFree));
    }

    [Fact]
    public void Callers_that_cancel_dispose_and_search_meanwhile_disturb_no_other()
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 2, MaxSequences = 6, ContextLength = 64 });
        int[] expected = [.. model.Generate(s_prompt, Endless).Complete().Tokens];
        Action[] callers =
        [
            () => Assert.Equal(expected, model.Generate(s_prompt, Endless).Complete().Tokens),
            () =>
            {
                using GenerationSession session = model.Generate(s_prompt, Endless);
                _ = session.MoveNext();
                session.Cancel();
                Assert.Equal(FinishReason.Cancelled, session.Complete().FinishReason);
            },
            () =>
            {
                using GenerationSession session = model.Generate(s_prompt, Endless);
                for (int i = 0; i < 3; i++) _ = session.MoveNext();
            },
            () => Assert.Single(model.GenerateBeams(s_prompt, new BeamOptions(1) { MaxTokens = 4, IgnoreEndTokens = true }).Answers),
            () =>
            {
                using ParallelSamples samples = model.GenerateSamples(s_prompt, Endless with { Samples = 2, Sampling = new SamplingOptions { Temperature = 1 }, MaxTokens = 6 });
                Assert.Equal(2, samples.InOrderOfEnd().Count());
            },
        ];
        var failures = new Exception?[callers.Length];
        Thread[] threads = [.. callers.Select((caller, i) => new Thread(() =>
        {
            try
            {
                for (int round = 0; round < 8; round++) caller();
            }
            catch (Exception e)
            {
                failures[i] = e;
            }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Assert.Empty(failures.OfType<Exception>());
        Assert.Equal((0, 0, 0), (model.Engine.ActiveCount, model.Cache.Statistics.Sequences, model.Cache.Statistics.PagesReserved));
    }
}
