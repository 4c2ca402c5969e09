using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>Drafts change how fast tokens come, never which: every drafter, weight type, KV type and eviction policy, in a batch, against plain decoding alone.</summary>
public sealed class DrafterEqualityTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    public static TheoryData<string, WeightType, KvType, string> Some()
    {
        var cases = new TheoryData<string, WeightType, KvType, string>();
        WeightType[] weights = [WeightType.F32, WeightType.BF16, WeightType.Int8];
        KvType[] kv = [KvType.F32, KvType.BF16, KvType.F16, KvType.Int8];
        for (int i = 0; i < DraftCases.Drafters.Length; i++)
        {
            for (int j = 0; j < 4; j++) cases.Add(DraftCases.Drafters[i], weights[(i + j) % 3], kv[(i + 2 * j + j / 2) % 4], DraftCases.Policies[j]);
        }

        return cases;
    }

    public static TheoryData<string, WeightType, KvType, string> All()
    {
        var cases = new TheoryData<string, WeightType, KvType, string>();
        foreach (string drafter in DraftCases.Drafters)
            foreach (WeightType weight in new[] { WeightType.F32, WeightType.BF16, WeightType.Int8 })
                foreach (KvType kv in new[] { KvType.F32, KvType.BF16, KvType.F16, KvType.Int8 })
                    foreach (string policy in DraftCases.Policies)
                        cases.Add(drafter, weight, kv, policy);
        return cases;
    }

    [Theory]
    [MemberData(nameof(Some))]
    public void Drafted_answers_equal_plain_ones(string drafter, WeightType weight, KvType kv, string policy) => AssertEqual(drafter, weight, kv, policy, 6, 48);

    [Theory]
    [Trait("Category", "Slow")]
    [MemberData(nameof(All))]
    public void Drafted_answers_equal_plain_ones_in_every_combination(string drafter, WeightType weight, KvType kv, string policy) =>
        AssertEqual(drafter, weight, kv, policy, 10, 120);

    private void AssertEqual(string drafter, WeightType weight, KvType kv, string policy, int count, int tokens)
    {
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 4, ContextLength = 512, WeightType = weight, KvType = kv, KvPolicy = DraftCases.Policy(policy) };
        (int[] Prompt, GenerationOptions Options)[] requests = DraftCases.Requests(count, tokens);
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, options, requests);
        foreach (int prefixes in new[] { 0, 8 })
        {
            using LanguageModel model = fixture.Load(options with { Draft = DraftCases.Options(drafter, fixture.Directory), MaxPrefixes = prefixes });
            (int drafted, int accepted) = DraftCases.AssertSame(model, requests, alone);
            bool chooses = drafter is "auto" or "auto-trained"; // by the clock, between drafters that are rarely right
            Assert.True(chooses ? drafted > 0 : drafted > 20 && accepted > 0, $"{drafter}: {drafted} drafted, {accepted} accepted");
        }
    }
}
