using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Generation;

/// <summary>The loop over the real CPU backend and a tiny model of random weights.</summary>
public sealed class LanguageModelTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    private static readonly SamplingOptions Sampled = new() { Temperature = 0.9f, TopK = 100, TopP = 0.95f, MinP = 0.001f, LogProbs = true };

    [Theory]
    [InlineData(WeightType.F32, KvType.F32)]
    [InlineData(WeightType.F32, KvType.BF16)]
    [InlineData(WeightType.BF16, KvType.F32)]
    [InlineData(WeightType.BF16, KvType.BF16)]
    [InlineData(WeightType.Int8, KvType.F32)]
    [InlineData(WeightType.Int8, KvType.BF16)]
    public void Answers_are_the_same_bytes_alone_batched_chunked_threaded_and_drafted(WeightType weightType, KvType kvType)
    {
        var options = new LanguageModelOptions { Threads = 1, WeightType = weightType, KvType = kvType, ContextLength = 256 };
        (int[] Prompt, GenerationOptions Options)[] requests = Requests(7);
        GenerationResult[] alone;
        using (LanguageModel model = fixture.Load(options with { MaxSequences = 1, MaxRows = 256, PrefillChunk = 256 }))
            alone = [.. requests.Select(r => Run(model, r))];

        Assert.True(alone.SelectMany(a => a.Tokens).Distinct().Count() > 40); // the comparison is of something
        foreach ((int chunk, int threads, int sequences) in new[] { (1, 1, 3), (7, 2, 7), (64, 1, 4) })
            CheckBatch(options with { PrefillChunk = chunk, Threads = threads, MaxSequences = sequences }, requests, alone, (ulong)chunk);

        foreach ((int nodes, int depth, int siblings) in new[] { (5, 5, 0), (40, 6, 3) })
        {
            var drafter = new ScriptedDrafter(nodes, depth, siblings, 0.2, 277);
            for (int i = 0; i < requests.Length; i++) drafter.Learn(requests[i].Prompt, [.. alone[i].Tokens]);
            CheckBatch(options with { PrefillChunk = 20, Drafter = drafter, MaxSequences = 4 }, requests, alone, 5);
        }
    }

    [Fact]
    public void Sessions_that_outlive_their_model_fail_and_touch_no_freed_memory()
    {
        LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, MaxSequences = 2, ContextLength = 64 });
        var options = new GenerationOptions { MaxTokens = 20, IgnoreEndTokens = true };
        GenerationSession running = model.Generate("abc", options), waiting = model.Generate("abc", options), unread = model.Generate("abc", options);
        Assert.True(running.MoveNext());
        model.Dispose();
        model.Dispose();
        Assert.Contains("disposed", Assert.Throws<GenerationException>(() => running.MoveNext()).Message, StringComparison.Ordinal);
        Assert.Throws<GenerationException>(() => waiting.Complete());
        unread.Dispose();
        running.Dispose();
        Assert.Throws<ObjectDisposedException>(() => model.Generate("abc", options));
    }

    [Fact]
    public void Text_is_the_decoded_answer_and_arrives_in_whole_characters()
    {
        using LanguageModel model = fixture.Load();
        var options = new GenerationOptions { MaxTokens = 120, Sampling = Sampled with { Seed = 4 }, IgnoreEndTokens = true };
        using GenerationSession session = model.Generate("hello world", options);
        var pieces = new List<string>();
        var tokens = new List<int>();
        while (session.MoveNext())
        {
            pieces.Add(session.NewText);
            tokens.AddRange(session.NewTokens);
        }

        Assert.Equal(120, tokens.Count);
        Assert.Equal(tokens, session.Tokens.ToArray());
        Assert.Equal(model.Tokenizer!.Decode(tokens, skipSpecialTokens: true), string.Concat(pieces));
        Assert.Equal(session.Text, string.Concat(pieces));
        Assert.Equal(FinishReason.Length, session.FinishReason);
        Assert.Equal(120, session.LogProbs.Length);
        Assert.All(session.LogProbs.ToArray(), p => Assert.InRange(p, -20f, 0f));
        Assert.True(pieces.Count > 60);
    }

    [Fact]
    public void A_stop_string_cuts_the_text_before_it_wherever_tokens_end()
    {
        using LanguageModel model = fixture.Load();
        var options = new GenerationOptions { MaxTokens = 60, Sampling = Sampled with { Seed = 11 }, IgnoreEndTokens = true };
        string whole = Run(model, (model.Encode("abc"), options)).Text;
        for (int at = 0; at + 4 < whole.Length; at += 5)
        {
            string stop = whole.Substring(at, 4);
            if (stop.Contains('\uFFFD')) continue;
            using GenerationSession session = model.Generate("abc", options with { StopStrings = ["never to be found", stop] });
            string shown = "";
            while (session.MoveNext())
            {
                shown += session.NewText;
                Assert.StartsWith(shown, whole, StringComparison.Ordinal);
                Assert.DoesNotContain(stop, shown, StringComparison.Ordinal);
            }

            Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], shown);
            Assert.Equal(FinishReason.Stop, session.FinishReason);
        }
    }

    [Fact]
    public void The_models_end_token_ends_the_answer_unless_ignored()
    {
        using LanguageModel model = fixture.Load();
        var options = new GenerationOptions { MaxTokens = 400, Sampling = new SamplingOptions { Temperature = 50f } };
        GenerationResult result;
        do
        {
            options = options with { Sampling = options.Sampling with { Seed = options.Sampling.Seed + 1 } };
            result = Run(model, (model.Encode("x"), options));
        }
        while (result.FinishReason != FinishReason.Stop && options.Sampling.Seed < 20);

        Assert.Equal(FinishReason.Stop, result.FinishReason);
        Assert.Equal(256, result.Tokens[^1]);
        Assert.DoesNotContain(256, result.Tokens.SkipLast(1));
        Assert.DoesNotContain("<|end|>", result.Text, StringComparison.Ordinal);
        GenerationResult ignored = Run(model, (model.Encode("x"), options with { IgnoreEndTokens = true }));
        Assert.Equal(400, ignored.Tokens.Count);
        Assert.Equal(result.Tokens, ignored.Tokens.Take(result.Tokens.Count));
    }

    [Fact]
    public void A_chat_is_its_template_and_its_messages_cannot_write_control_tokens()
    {
        using LanguageModel model = fixture.Load();
        int[] ids = model.EncodeChat([new ChatMessage("user", "hi<|end|>")]);
        Assert.Equal((TinyModel.UserToken, TinyModel.AssistantToken), (ids[0], ids[^1]));
        Assert.DoesNotContain(TinyModel.EndToken, ids);
        Assert.Equal("<|user|>hi<|end|><|assistant|>", model.Tokenizer!.Decode(ids));
        var options = new GenerationOptions { MaxTokens = 12 };
        using GenerationSession chat = model.Chat([new ChatMessage("user", "hi<|end|>")], options), plain = model.Generate(ids, options);
        Assert.Equal(plain.Complete().Tokens, chat.Complete().Tokens);
    }

    [Fact]
    public async Task Cancelling_and_leaving_free_the_cache()
    {
        using LanguageModel model = fixture.Load();
        var endless = new GenerationOptions { IgnoreEndTokens = true };
        using var source = new CancellationTokenSource();
        GenerationSession left = model.Generate("one", endless), streamed = model.Generate("two", endless), cancelled = model.Generate("three", endless);
        await Assert.ThrowsAsync<OperationCanceledException>(async () =>
        {
            int pieces = 0;
            await foreach (string piece in streamed.StreamAsync(source.Token))
            {
                if (++pieces == 5) await source.CancelAsync();
            }
        });
        cancelled.MoveNext();
        cancelled.Cancel();
        GenerationResult result = cancelled.Complete();
        Assert.Equal(FinishReason.Cancelled, result.FinishReason);
        Assert.InRange(result.Tokens.Count, 1, 60);
        left.Dispose();
        KvStatistics cache = model.Cache.Statistics;
        Assert.Equal((0, 0, cache.PagesTotal), (cache.Sequences, cache.PagesReserved, cache.PagesFree));
        Assert.Equal(0, model.Engine.ActiveCount);
    }

    [Fact]
    public void Sessions_may_be_pulled_from_several_threads()
    {
        (int[] Prompt, GenerationOptions Options)[] requests = Requests(6);
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, MaxSequences = 6 });
        GenerationResult[] alone = [.. requests.Select(r => Run(model, r))];
        var together = new GenerationResult[requests.Length];
        Thread[] threads = [.. Enumerable.Range(0, requests.Length).Select(i => new Thread(() => together[i] = Run(model, requests[i])))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        for (int i = 0; i < requests.Length; i++) Assert.Equal(alone[i].Tokens, together[i].Tokens);
    }

    [Fact]
    public void Statistics_count_what_was_done()
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, PrefillChunk = 10 });
        GenerationResult result = Run(model, ([.. Enumerable.Range(0, 35)], new GenerationOptions { MaxTokens = 9, IgnoreEndTokens = true }));
        GenerationStatistics s = result.Statistics;
        Assert.Equal((35, 9, 9, 3, 1.0), (s.PromptTokens, s.GeneratedTokens, s.Steps, s.PrefillSteps, s.MeanAcceptedLength));
        Assert.True(s is { PrefillMilliseconds: > 0, DecodeMilliseconds: > 0, TokensPerSecond: > 0, PromptTokensPerSecond: > 0 });
    }

    [Fact]
    public void Requests_that_cannot_run_are_refused_before_anything_runs()
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, ContextLength = 64 });
        AssertRefused("prompt", "64", () => model.Generate(new int[64]));
        AssertRefused("prompt", "empty", () => model.Generate(ReadOnlySpan<int>.Empty));
        AssertRefused("prompt", "277", () => model.Generate([1, 277]));
        AssertRefused("prompt", "-1", () => model.Generate([-1]));
        AssertRefused("max-tokens", "-3", () => model.Generate([1], new GenerationOptions { MaxTokens = -3 }));
        AssertRefused("stop", "empty", () => model.Generate([1], new GenerationOptions { StopStrings = ["a", ""] }));
        AssertRefused("stop-token", "300", () => model.Generate([1], new GenerationOptions { StopTokens = [300] }));
        AssertRefused("top-p", "1.5", () => model.Generate([1], new GenerationOptions { Sampling = new SamplingOptions { TopP = 1.5f } }));
        AssertRefused("context", "513", () => fixture.Load(new LanguageModelOptions { ContextLength = 513 }));
        AssertRefused("threads", "-1", () => fixture.Load(new LanguageModelOptions { Threads = -1 }));
        Assert.Equal(0, model.Engine.Steps);
        GenerationResult full = Run(model, (new int[63], new GenerationOptions { IgnoreEndTokens = true }));
        Assert.Equal((FinishReason.Length, 1), (full.FinishReason, full.Tokens.Count));
    }

    [Theory]
    [InlineData(KvAdmission.WorstCase)]
    [InlineData(KvAdmission.Measured)]
    public void A_hundred_and_thirty_requests_together_answer_as_alone(KvAdmission admission)
    {
        (int[] Prompt, GenerationOptions Options)[] requests = Requests(130);
        var options = new LanguageModelOptions { Threads = 2, ContextLength = 256, MaxRows = 700, PrefillChunk = 500 };
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = 277, Depth = 4, Siblings = 2, Acceptance = 0.7 });
        GenerationResult[] alone;
        using (LanguageModel model = fixture.Load(options with { MaxSequences = 1, MaxRows = 64 })) alone = [.. requests.Select(r => Run(model, r))];
        for (int i = 0; i < 130; i++) oracle.Record(requests[i].Prompt, requests[i].Options.Sampling, alone[i].Tokens.ToArray());
        int tokens = admission == KvAdmission.WorstCase ? 130 * 256 : 20 * 256;
        using LanguageModel together = fixture.Load(options with
        {
            MaxSequences = 130, Drafter = oracle, KvAdmission = admission, ExpectedAnswerTokens = 1,
            KvBytes = PagedKvCache.BytesFor(new KvLayout(2, 2, 16, KvType.BF16), 1, tokens),
        });
        var sessions = new GenerationSession[130];
        for (int i = 0; i < 130; i += 2) sessions[i] = together.Generate(requests[i].Prompt, requests[i].Options);
        for (int i = 0; i < 3; i++) together.Engine.Loop.Step();
        for (int i = 1; i < 130; i += 2) sessions[i] = together.Generate(requests[i].Prompt, requests[i].Options with { Priority = 1 });
        int most = 0;
        while (together.Engine.Loop.Step()) most = Math.Max(most, together.Engine.Statistics.Running);
        for (int i = 0; i < 130; i++)
        {
            GenerationResult result = sessions[i].Complete();
            Assert.Equal(alone[i].Tokens, result.Tokens);
            Assert.Equal(alone[i].LogProbs, result.LogProbs);
        }

        SchedulerStatistics statistics = together.Engine.Statistics;
        if (admission == KvAdmission.WorstCase) Assert.Equal((128, 0L), (Math.Min(most, 128), statistics.Preemptions));
        else Assert.InRange(statistics.Preemptions, 5, 1000);
        Assert.Equal(together.Cache.Statistics.PagesTotal, together.Cache.Statistics.PagesFree);
    }

    [Fact]
    public void A_busy_model_turns_requests_away_and_ends_those_that_are_late()
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, MaxSequences = 1, MaxWaiting = 1 });
        var endless = new GenerationOptions { IgnoreEndTokens = true, MaxTokens = 300 };
        using GenerationSession running = model.Generate([1, 2, 3], endless with { Deadline = TimeSpan.FromDays(1) });
        running.MoveNext();
        using GenerationSession late = model.Generate([1, 2], endless with { Deadline = TimeSpan.FromTicks(1) });
        Assert.Throws<QueueFullException>(() => model.Generate([1], endless));
        running.MoveNext(); // one step later there is room again
        Assert.Equal((FinishReason.Deadline, 0), (late.Complete().FinishReason, late.Tokens.Length));
        using GenerationSession urgent = model.Generate([1], new GenerationOptions { MaxTokens = 2, Priority = 1 });
        Assert.Equal(2, urgent.Complete().Tokens.Count);
        Assert.Equal(FinishReason.None, running.FinishReason);
        Assert.Equal(300, running.Complete().Tokens.Count);
        Assert.Equal((1, 2L, 1L), (running.Statistics.Preemptions, model.Engine.Statistics.Submitted - 1, model.Engine.Statistics.Rejected));
        AssertRefused("deadline", "0", () => model.Generate([1], new GenerationOptions { Deadline = TimeSpan.Zero }));
        AssertRefused("max-waiting", "0", () => fixture.Load(new LanguageModelOptions { MaxWaiting = 0 }));
    }

    private static void AssertRefused(string field, string part, Action action)
    {
        var error = Assert.Throws<InvalidRequestException>(action);
        Assert.Equal(field, error.Field);
        Assert.Contains(part, error.Message, StringComparison.Ordinal);
    }

    private void CheckBatch(LanguageModelOptions options, (int[] Prompt, GenerationOptions Options)[] requests, GenerationResult[] expected, ulong seed)
    {
        using LanguageModel model = fixture.Load(options);
        var random = new SeededRandom(seed);
        int[] order = [.. Enumerable.Range(0, requests.Length)];
        random.Shuffle(order.AsSpan());
        var sessions = new GenerationSession[requests.Length];
        foreach (int i in order)
        {
            sessions[i] = model.Generate(requests[i].Prompt, requests[i].Options);
            for (int steps = random.Next(5); steps > 0; steps--) model.Engine.Loop.Step();
        }

        for (int i = 0; i < requests.Length; i++)
        {
            GenerationResult result = sessions[i].Complete();
            Assert.Equal(expected[i].Tokens, result.Tokens);
            Assert.Equal(expected[i].LogProbs, result.LogProbs);
            Assert.Equal(expected[i].Text, result.Text);
        }

        Assert.Equal(model.Cache.Statistics.PagesTotal, model.Cache.Statistics.PagesFree);
    }

    private static (int[] Prompt, GenerationOptions Options)[] Requests(int count)
    {
        var random = new SeededRandom(31);
        return [.. Enumerable.Range(0, count).Select(i => (
            Enumerable.Range(0, 1 + random.Next(i % 3 == 0 ? 150 : 20)).Select(_ => random.Next(277)).ToArray(),
            new GenerationOptions
            {
                MaxTokens = 10 + random.Next(40), IgnoreEndTokens = true,
                Sampling = i % 2 == 0 ? new SamplingOptions { LogProbs = true } : Sampled with { Seed = (ulong)i },
            }))];
    }

    private static GenerationResult Run(LanguageModel model, (int[] Prompt, GenerationOptions Options) request)
    {
        using GenerationSession session = model.Generate(request.Prompt, request.Options);
        return session.Complete();
    }
}
