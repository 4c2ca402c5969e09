using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Speculation;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>Answers that end inside drafts, requests that give way to others, and those that are given up, with every drafter.</summary>
public sealed class DrafterEndsTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    public static TheoryData<string> Drafters => [.. DraftCases.Drafters];

    [Theory]
    [MemberData(nameof(Drafters))]
    public void Stop_strings_stop_tokens_and_limits_inside_drafts_end_answers_where_plain_decoding_does(string drafter)
    {
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 4, ContextLength = 256, KvType = KvType.F32 };
        int[] part = LoopRig.Prompt(8, 3), prompt = [.. part, .. part, .. part];
        var requests = new List<(int[] Prompt, GenerationOptions Options)>();
        using (LanguageModel plain = fixture.Load(options))
        {
            GenerationResult whole = plain.Generate(prompt, new GenerationOptions { MaxTokens = 60, IgnoreEndTokens = true }).Complete();
            foreach (int at in new[] { 7, 18, 31 })
            {
                string stop = whole.Text.Substring(whole.Text.Length * at / 60, 2);
                requests.Add((prompt, new GenerationOptions { MaxTokens = 60, IgnoreEndTokens = true, StopStrings = [stop] }));
                requests.Add((prompt, new GenerationOptions { MaxTokens = 60, IgnoreEndTokens = true, StopTokens = [whole.Tokens[at]] }));
                requests.Add((prompt, new GenerationOptions { MaxTokens = at, IgnoreEndTokens = true }));
            }
        }

        (int[], GenerationOptions)[] all = [.. requests];
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, options, all);
        Assert.Contains(alone, a => a.FinishReason == FinishReason.Stop);
        using LanguageModel model = fixture.Load(options with { Draft = Sure(drafter) });
        (_, int accepted) = DraftCases.AssertSame(model, all, alone);
        Assert.True(accepted > 0 || DraftCases.IsRandom(drafter));
    }

    [Theory]
    [MemberData(nameof(Drafters))]
    public void Preempted_requests_are_drafted_for_again_with_the_same_answers(string drafter)
    {
        var options = new LanguageModelOptions
        {
            Threads = 1, MaxSequences = 6, ContextLength = 256, KvAdmission = KvAdmission.Measured, ExpectedAnswerTokens = 5,
            KvBytes = PagedKvCache.BytesFor(new KvLayout(2, 2, 16, KvType.BF16), 3, 256),
        };
        (int[] Prompt, GenerationOptions Options)[] requests =
            [.. DraftCases.Requests(8, 100).Select(r => (r.Prompt, r.Options with { MaxTokens = 100, IgnoreEndTokens = true, StopTokens = [] }))];
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, options, requests);
        using LanguageModel model = fixture.Load(options with { Draft = Sure(drafter) });
        DraftCases.AssertSame(model, requests, alone);
        Assert.True(model.Engine.Statistics.Preemptions > 0);
    }

    [Theory]
    [MemberData(nameof(Drafters))]
    public void Requests_that_are_given_up_leave_nothing_behind(string drafter)
    {
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 3, ContextLength = 256 };
        (int[] Prompt, GenerationOptions Options)[] requests = DraftCases.Requests(6, 60);
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, options, requests);
        using LanguageModel model = fixture.Load(options with { Draft = Sure(drafter) });
        for (int i = 0; i < 4; i++)
        {
            GenerationSession session = model.Generate(requests[i].Prompt, requests[i].Options);
            for (int step = 0; step < 3; step++) session.MoveNext();
            if (i % 2 == 0) session.Cancel();
            session.Dispose();
        }

        DraftCases.AssertSame(model, requests, alone); // the freed places are used by others
    }

    /// <summary>The drafter with a draft model, if it has one, that says exactly what the target says.</summary>
    private DrafterOptions Sure(string drafter) => drafter == "model"
        ? new DraftModelOptions { Directory = fixture.Directory, KvType = KvType.F32, MinProbability = 0 }
        : DraftCases.Options(drafter, fixture.Directory);
}
