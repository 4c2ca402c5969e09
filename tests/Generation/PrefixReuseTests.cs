using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Xunit.Sdk;

namespace Foretoken.Tests.Generation;

/// <summary>Requests that begin with what others have computed answer with the same bits as alone.</summary>
public sealed class PrefixReuseTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    public static TheoryData<string, KvType> Cases() => new()
    {
        { "dense", KvType.BF16 }, { "dense", KvType.Int8 }, { "window", KvType.F32 }, { "dms", KvType.BF16 }, { "dms", KvType.F16 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Answers_are_the_same_with_and_without_reuse(string policy, KvType type)
    {
        var options = new LanguageModelOptions
        {
            Threads = 1, ContextLength = 512, MaxSequences = 4, KvType = type,
            KvPolicy = policy switch
            {
                "dense" => new DensePolicy(), "window" => new SlidingWindowPolicy(50), _ => new DmsPolicy(16, SyntheticDecisions.ForCompression(3, 4)),
            },
        };
        (int[] Prompt, GenerationOptions Options)[] requests = [.. Enumerable.Range(0, 12).Select(Request)];
        GenerationResult[] alone;
        using (LanguageModel plain = fixture.Load(options)) alone = [.. requests.Select(r => plain.Generate(r.Prompt, r.Options).Complete())];
        using LanguageModel reusing = fixture.Load(options with { MaxPrefixes = 6 });
        int reused = AssertSame(reusing, requests, alone);
        KvStatistics statistics = reusing.Cache.Statistics;
        Assert.Equal(statistics.Prefixes.ReusedTokens, reused);
        Assert.True(statistics.Prefixes.Hits >= 6 && reused >= 6 * 96, $"{statistics.Prefixes}");
        Assert.Equal(0, statistics.PagesReserved);
        reusing.Cache.ClearPrefixes();
        Assert.Equal(statistics.PagesTotal, reusing.Cache.Statistics.PagesFree);
    }

    /// <summary>Keys and values of one prompt are stored under the tokens of another, as a hash without comparison would find them.</summary>
    [Fact]
    public void Canary_prefix_of_another_prompt_is_caught()
    {
        var options = new LanguageModelOptions { Threads = 1, ContextLength = 512, MaxSequences = 4 };
        (int[] Prompt, GenerationOptions Options)[] requests = [.. Enumerable.Range(0, 3).Select(Request)];
        GenerationResult[] alone;
        using (LanguageModel plain = fixture.Load(options)) alone = [.. requests.Select(r => plain.Generate(r.Prompt, r.Options).Complete())];
        var drafter = new HookedDrafter(new NoDrafter());
        using LanguageModel model = fixture.Load(options with { MaxPrefixes = 6, Drafter = drafter });
        drafter.ProposingFor = r =>
        {
            if (r.Length > 0) model.Cache.PublishPrefix(r[0].Sequence, requests[0].Prompt);
        };
        int[] other = LoopRig.Prompt(requests[0].Prompt.Length, 3);
        model.Generate(other, new GenerationOptions { MaxTokens = 4, IgnoreEndTokens = true }).Complete();
        drafter.ProposingFor = null;
        Assert.Throws<EqualException>(() => AssertSame(model, requests, alone));
        model.Cache.ClearPrefixes();
        AssertSame(model, requests, alone);
    }

    /// <summary>Serves the requests, three at a time, and holds their answers to those alone.</summary>
    /// <returns>Tokens that were not computed again.</returns>
    private static int AssertSame(LanguageModel reusing, (int[] Prompt, GenerationOptions Options)[] requests, GenerationResult[] alone)
    {
        int reused = 0;
        for (int first = 0; first < requests.Length; first += 3)
        {
            GenerationSession[] sessions = [.. requests.AsSpan(first, 3).ToArray().Select(r => reusing.Generate(r.Prompt, r.Options))];
            for (int i = 0; i < 3; i++)
            {
                GenerationResult result = sessions[i].Complete();
                Assert.Equal(alone[first + i].Tokens, result.Tokens);
                Assert.Equal(alone[first + i].LogProbs, result.LogProbs);
                reused += sessions[i].Statistics.ReusedTokens;
            }
        }

        return reused;
    }

    /// <summary>Prompts share their first 128 tokens, a system prompt; every third is longer than the one before by a turn.</summary>
    private static (int[] Prompt, GenerationOptions Options) Request(int i)
    {
        var random = new SeededRandom(5);
        int[] prompt = [.. Enumerable.Range(0, 128 + 24 * (i / 3)).Select(_ => random.Next(277)), i];
        var sampling = new SamplingOptions { Temperature = i % 2 == 0 ? 0 : 0.8f, TopP = 0.9f, Seed = (ulong)i, LogProbs = true };
        return (prompt, new GenerationOptions { MaxTokens = 20, IgnoreEndTokens = true, Sampling = sampling });
    }
}
