using System.Diagnostics;
using System.Globalization;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Foretoken.Tests.Seam;

/// <summary>
/// Speculation, eviction, batching, chunking, preemption, prefix reuse and threads compose without changing a bit: every answer equals plain decoding alone,
/// tokens and log-probability bits. A sample that holds every combination of any three axes runs always; of the full product one part of 32 runs in the slow
/// category, and <c>FORETOKEN_EQUALITY=k/n</c> chooses part k of n (0/1 is all of it, about twenty minutes on two cores).
/// </summary>
public sealed class SeamTests(SeamModels models, ITestOutputHelper output) : IClassFixture<SeamModels>
{
    public const string PartVariable = "FORETOKEN_EQUALITY";

    [Fact]
    public void Any_three_ways_to_serve_give_the_bits_of_plain_decoding_alone() => CheckAll(
        CoveringArray.Rows(SeamCombination.Levels, 3).Select(row => SeamCombination.FromValues(row)), "sample of all triples");

    [Fact]
    [Trait("Category", "Slow")]
    public void The_full_product_gives_the_bits_of_plain_decoding_alone()
    {
        (int part, int parts) = Part(Environment.GetEnvironmentVariable(PartVariable));
        CheckAll(
            Enumerable.Range(0, SeamCombination.Count).Where(i => SeamCombination.IsIn(i, part, parts)).Select(SeamCombination.FromIndex),
            $"part {part}/{parts} of the full product of {SeamCombination.Count}");
    }

    [Theory]
    [InlineData(SeamDefect.SiblingsRow)]
    [InlineData(SeamDefect.WindowByPass)]
    [InlineData(SeamDefect.LogProbBit)]
    public void Canary_planted_defect_is_caught(SeamDefect defect)
    {
        var sample = CoveringArray.Rows(SeamCombination.Levels, 2).Select(row => SeamCombination.FromValues(row))
            .Where(c => defect != SeamDefect.WindowByPass || (c.Policy == SeamPolicy.SlidingWindow && c.Chunk > 1))
            .Where(c => defect != SeamDefect.SiblingsRow || c.Oracle.Siblings > 0).Take(4).ToArray();
        foreach (SeamCombination c in sample)
        {
            SeamRun.Check(c, models, new SeamTotals());
            var caught = Assert.ThrowsAny<XunitException>(() => SeamRun.Check(c, models, new SeamTotals(), defect));
            Assert.Contains($"combination {c.Index}: ", caught.Message, StringComparison.Ordinal);
            Assert.Contains("differs from plain decoding alone in", caught.Message, StringComparison.Ordinal);
        }

        Assert.Equal(4, sample.Length);
    }

    [Fact]
    public void The_product_has_57600_members_with_their_own_indices()
    {
        Assert.Equal(5 * 4 * 4 * 5 * 3 * 3 * 2 * 2 * 2 * 2, SeamCombination.Count);
        Assert.Equal(57_600, SeamCombination.Count);
        for (int i = 0; i < SeamCombination.Count; i += 97) Assert.Equal(i, SeamCombination.FromIndex(i).Index);
        Assert.Equal(SeamCombination.Count, Enumerable.Range(0, 7).Sum(k => Enumerable.Range(0, SeamCombination.Count).Count(i => SeamCombination.IsIn(i, k, 7))));
        Assert.Equal((3, 8), Part("3/8"));
        foreach (string wrong in new[] { "8/8", "-1/4", "1", "a/b", "0/0" }) Assert.Throws<ArgumentException>(() => Part(wrong));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void Covering_samples_hold_every_combination_of_so_many_values(int strength)
    {
        int[] levels = SeamCombination.Levels;
        List<int[]> rows = CoveringArray.Rows(levels, strength);
        Assert.InRange(rows.Count, strength == 2 ? 25 : 100, strength == 2 ? 45 : 250);
        for (int a = 0; a < levels.Length; a++)
        {
            for (int b = 0; b < a; b++)
            {
                Assert.Equal(levels[a] * levels[b], rows.Select(r => (r[a], r[b])).Distinct().Count());
                for (int c = 0; c < b && strength == 3; c++)
                    Assert.Equal(levels[a] * levels[b] * levels[c], rows.Select(r => (r[a], r[b], r[c])).Distinct().Count());
            }
        }
    }

    /// <summary>Otherwise equality would prove nothing: the answers are different under each policy, type and way of sampling.</summary>
    [Fact]
    public void Policies_types_and_sampling_change_the_answers_of_plain_decoding()
    {
        SeamCombination c = SeamCombination.FromIndex(0);
        SeamAnswer Answer(SeamCombination other) => models.Alone(other, 8);
        SeamAnswer[] answers =
        [
            Answer(c), Answer(c with { Policy = SeamPolicy.SlidingWindow }), Answer(c with { Policy = SeamPolicy.Dms2 }), Answer(c with { Policy = SeamPolicy.Dms4 }),
            Answer(c with { Policy = SeamPolicy.Dms8 }), Answer(c with { Sampled = true }), Answer(c with { Kv = Foretoken.Backends.KvType.Int8 }),
            Answer(c with { Kv = Foretoken.Backends.KvType.BF16 }), Answer(c with { Weights = Foretoken.Backends.WeightType.Int8 }),
            Answer(c with { Weights = Foretoken.Backends.WeightType.BF16 }),
        ];
        Assert.Equal(answers.Length, answers.Select(a => string.Join(' ', a.LogProbBits)).Distinct().Count());
        Assert.True(answers.Select(a => string.Join(' ', a.Tokens)).Distinct().Count() >= 6);
    }

    private void CheckAll(IEnumerable<SeamCombination> combinations, string what)
    {
        var totals = new SeamTotals();
        long start = Stopwatch.GetTimestamp();
        foreach (SeamCombination c in combinations) SeamRun.Check(c, models, totals);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what}: {totals}; {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s"));
        Assert.True(totals.Combinations > 0 && totals.Preemptions > 0 && totals.ReusedTokens > 0);
    }

    private static (int Part, int Parts) Part(string? text)
    {
        string[] numbers = (text ?? "0/32").Split('/');
        return numbers.Length == 2 && int.TryParse(numbers[0], NumberStyles.None, CultureInfo.InvariantCulture, out int part)
            && int.TryParse(numbers[1], NumberStyles.None, CultureInfo.InvariantCulture, out int parts) && part < parts
            ? (part, parts)
            : throw new ArgumentException($"{PartVariable} is '{text}': give part/parts, for example 0/32, or 0/1 for the full product.");
    }
}
