using System.Diagnostics;
using System.Globalization;
using Foretoken.Backends;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Foretoken.Tests.Seam;

/// <summary>
/// Speculation, eviction, batching, chunking, forks, preemption, prefix reuse, penalties and threads compose without changing a bit: every answer equals plain
/// decoding alone, tokens and log-probability bits. A sample that holds every combination of any three axes runs always; of the product one part of 32 runs in
/// the slow category, and <c>FORETOKEN_EQUALITY=k/n</c> chooses part k of n.
/// </summary>
public sealed class SeamTests(SeamModels models, ITestOutputHelper output) : IClassFixture<SeamModels>
{
    public const string PartVariable = "FORETOKEN_EQUALITY";

    [Fact]
    public void Any_three_ways_to_serve_give_the_bits_of_plain_decoding_alone() => CheckAll(Covering(3), "sample of all triples");

    [Fact]
    [Trait("Category", "Slow")]
    public void The_product_gives_the_bits_of_plain_decoding_alone()
    {
        (int part, int parts) = Part(Environment.GetEnvironmentVariable(PartVariable), "0/32");
        CheckAll(
            SeamCombination.Part(Enumerable.Range(0, SeamCombination.Count).Select(SeamCombination.FromIndex), part, parts),
            $"part {part}/{parts} of the product of {SeamCombination.Count}");
    }

    [Theory]
    [InlineData(SeamDefect.SiblingsRow)]
    [InlineData(SeamDefect.WindowByPass)]
    [InlineData(SeamDefect.LogProbBit)]
    public void Canary_planted_defect_is_caught(SeamDefect defect)
    {
        SeamCombination[] sample = [.. Covering(3)
            .Where(c => defect != SeamDefect.WindowByPass || (c.Policy == SeamPolicy.SlidingWindow && c.Chunk > 1 && c.Window < 64))
            .Where(c => defect != SeamDefect.SiblingsRow || c.Drafts.Oracle!.Siblings > 0).Take(4)];
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
    public void The_product_has_76800_members_that_draw_every_value_of_the_other_axes()
    {
        Assert.Equal(5 * 4 * 4 * 5 * 4 * 3 * 2 * 2 * 2 * 2, SeamCombination.Count);
        Assert.Equal(76_800, SeamCombination.Count);
        SeamCombination[] some = [.. Enumerable.Range(0, SeamCombination.Count / 97).Select(i => SeamCombination.FromIndex(97 * i))];
        Assert.Equal(some.Length, some.Select(c => c with { Index = 0, Penalties = false, Forked = false, Window = 0, SharedTokens = 0 }).Distinct().Count());
        Assert.Equal(2 * 2 * 4 * 2, some.Select(c => (c.Penalties, c.Forked, c.Window, c.SharedTokens)).Distinct().Count());
        SeamCombination[] all = [.. Enumerable.Range(0, SeamCombination.Count).Select(SeamCombination.FromIndex)];
        SeamCombination[][] parts = [.. Enumerable.Range(0, 32).Select(k => SeamCombination.Part(all, k, 32).ToArray())];
        Assert.Equal(Enumerable.Range(0, SeamCombination.Count), parts.SelectMany(p => p).Select(c => c.Index).Order());
        Assert.All(parts, p => Assert.Equal(5 * 4 * 3 * 2, p.Select(c => (c.Drafts, c.Batch, c.Weights, c.Sampled)).Distinct().Count()));
        Assert.All(parts, p => Assert.Equal(5 * 4, p.Select(c => (c.Policy, c.Chunk)).Distinct().Count()));
        Assert.Equal((3, 8), Part("3/8", ""));
        foreach (string wrong in new[] { "8/8", "-1/4", "1", "a/b", "0/0" }) Assert.Throws<ArgumentException>(() => Part(wrong, ""));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void Covering_samples_hold_every_combination_of_so_many_values(int strength)
    {
        int[] levels = SeamCombination.Levels;
        List<int[]> rows = CoveringArray.Rows(levels, strength);
        Assert.InRange(rows.Count, strength == 2 ? 25 : 100, strength == 2 ? 50 : 250);
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

    /// <summary>Otherwise equality would prove nothing: the answers are different under each policy, window, type and way of sampling.</summary>
    [Fact]
    public void Policies_types_and_sampling_change_the_answers_of_plain_decoding()
    {
        SeamCombination c = SeamCombination.FromIndex(0) with { Penalties = false, Forked = false, Window = 6, SharedTokens = 16 };
        SeamCombination[] others =
        [
            c, c with { Policy = SeamPolicy.SlidingWindow }, c with { Policy = SeamPolicy.Dms2 }, c with { Policy = SeamPolicy.Dms4 }, c with { Policy = SeamPolicy.Dms8 },
            c with { Policy = SeamPolicy.Dms8, Window = 1 }, c with { Policy = SeamPolicy.Dms8, Window = 16 }, c with { Policy = SeamPolicy.Dms8, Window = 64 },
            c with { Sampled = true }, c with { Penalties = true }, c with { Sampled = true, Penalties = true }, c with { SharedTokens = 53 },
            c with { Kv = KvType.Int8 }, c with { Kv = KvType.BF16 }, c with { Kv = KvType.F16 }, c with { Weights = WeightType.Int8 }, c with { Weights = WeightType.BF16 },
        ];
        SeamAnswer[] answers = [.. others.Select(o => models.Alone(o, 8)), models.Alone(c with { Sampled = true }, 8, sample: 1)];
        Assert.Equal(answers.Length, answers.Select(a => string.Join(' ', a.LogProbBits)).Distinct().Count());
        Assert.True(answers.Select(a => string.Join(' ', a.Tokens)).Distinct().Count() >= 9);
    }

    internal static (int Part, int Parts) Part(string? text, string otherwise)
    {
        string[] numbers = (text ?? otherwise).Split('/');
        return numbers.Length == 2 && int.TryParse(numbers[0], NumberStyles.None, CultureInfo.InvariantCulture, out int part)
            && int.TryParse(numbers[1], NumberStyles.None, CultureInfo.InvariantCulture, out int parts) && part < parts
            ? (part, parts)
            : throw new ArgumentException($"{PartVariable} is '{text}': give part/parts, for example 0/32, or 0/1 for all of it.");
    }

    private static IEnumerable<SeamCombination> Covering(int strength) =>
        CoveringArray.Rows(SeamCombination.Levels, strength).Select((row, i) => SeamCombination.FromValues(row, SeamDrafts.Oracles, i));

    private void CheckAll(IEnumerable<SeamCombination> combinations, string what)
    {
        var totals = new SeamTotals();
        long start = Stopwatch.GetTimestamp();
        models.InLanes(combinations, (lane, c) => SeamRun.Check(c, lane, totals));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what}: {totals}; {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s"));
        Assert.True(totals.Preemptions > 0 && totals.ReusedTokens > 0 && totals.SharedTokens > 0 && totals.Counted.Forgotten > 0);
    }
}
