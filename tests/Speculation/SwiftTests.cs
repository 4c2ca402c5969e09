using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Models;
using Foretoken.Numerics;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>Self-drafting: skipped sublayers, rows that leave no trace, the search for sublayers.</summary>
public sealed class SwiftTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public SwiftTests() => new TinyModel { Layers = 5, Hidden = 32, Heads = 2, KvHeads = 1, Intermediate = 48 }.Write(_directory.Path);

    [Theory]
    [InlineData("dense", KvType.F32)]
    [InlineData("dense", KvType.Int8)]
    [InlineData("window", KvType.BF16)]
    [InlineData("sinks", KvType.F16)]
    [InlineData("dms", KvType.BF16)]
    public void Answers_are_those_of_plain_decoding_under_every_policy(string policy, KvType kv)
    {
        LanguageModel Load(LanguageModelOptions options) => LanguageModel.Load(_directory.Path, options);
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 3, ContextLength = 512, KvType = kv, KvPolicy = DraftCases.Policy(policy) };
        (int[] Prompt, GenerationOptions Options)[] requests = DraftCases.Requests(6, 70);
        GenerationResult[] alone = DraftCases.Alone(Load, options, requests);
        using LanguageModel model = Load(options with { Draft = new SwiftOptions { Tokens = 5, Width = 2, MinConfidence = 0, Window = 8 }, MaxPrefixes = 4 });
        (int drafted, int accepted) = DraftCases.AssertSame(model, requests, alone);
        Assert.True(drafted > 500 && accepted > 5, $"{accepted} of {drafted}");
    }

    [Fact]
    public void Models_of_too_few_layers_are_refused() => Assert.Throws<DrafterException>(
        () => LanguageModel.Load(_directory.Path, new LanguageModelOptions { Threads = 1, Draft = new SwiftOptions { MinLayers = 6 } }));

    [Fact]
    public void The_search_finds_sublayers_that_are_not_missed()
    {
        var search = new SkipSearch(new SwiftOptions { SkipRatio = 0.4, Window = 40 }, 10);
        Assert.Equal(8, Enumerable.Range(0, search.Current.Count).Count(i => search.Current[i]));
        Assert.True(search.Current.Attention(1) && search.Current.Mlp(1) && !search.Current.Attention(0) && !search.Current.Mlp(9));
        double first = Quality(search.Current);
        var random = new SeededRandom(2);
        for (int i = 0; i < 40 * 500 && !search.Settled; i++) search.Observe(random.Chance(Quality(search.Current)) ? 1 : 0, 1);
        Assert.Equal(8, Enumerable.Range(0, search.Current.Count).Count(i => search.Current[i]));
        Assert.InRange(search.Trials, 1, 400);
        Assert.True(search.Matchness > first + 0.15, $"{first} to {search.Matchness}: {search.Current}");
        for (int i = 0; i < 2; i++) Assert.False(search.Current[i] || search.Current[18 + i]);
    }

    /// <summary>MLPs of the first half are missed, other sublayers hardly.</summary>
    private static double Quality(LayerSkips skips)
    {
        double quality = 0.99;
        for (int layer = 0; layer < 5; layer++) quality -= skips.Mlp(layer) ? 0.15 : 0;
        return quality;
    }

    public void Dispose() => _directory.Dispose();
}
