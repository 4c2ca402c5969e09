using System.Diagnostics;
using System.Globalization;
using Foretoken.Numerics;
using Xunit.Abstractions;

namespace Foretoken.Tests.Seam;

/// <summary>
/// What ships drafts what it likes, and no answer changes by a bit: every drafter with every batch mix, eviction policy, KV type and weight type, under forks,
/// preemption, prefix reuse, penalties and threads as they are drawn. Any two axes always, the product in the slow category
/// (<c>FORETOKEN_EQUALITY=k/n</c> chooses a part).
/// </summary>
public sealed class SeamDrafterTests(DeepSeamModels models, ITestOutputHelper output) : IClassFixture<DeepSeamModels>
{
    private static readonly int[] s_levels = [SeamDrafts.Shipped.Count, .. SeamCombination.Levels.Skip(1)];
    private static readonly int[] s_product = [0, 1, 3, 4, 5]; // drafter, batch, policy, KV, weights

    private static int Count => s_product.Aggregate(1, (count, axis) => count * s_levels[axis]);

    [Fact]
    public void Shipped_drafters_give_the_bits_of_plain_decoding_alone() =>
        CheckAll(CoveringArray.Rows(s_levels, 2).Select((row, i) => SeamCombination.FromValues(row, SeamDrafts.Shipped, i)), "sample of all pairs");

    [Fact]
    [Trait("Category", "Slow")]
    public void Shipped_drafters_give_the_bits_of_plain_decoding_alone_in_the_product()
    {
        Assert.Equal(13 * 4 * 5 * 4 * 3, Count);
        (int part, int parts) = SeamTests.Part(Environment.GetEnvironmentVariable(SeamTests.PartVariable), "0/1");
        CheckAll(SeamCombination.Part(Enumerable.Range(0, Count).Select(Member), part, parts), $"part {part}/{parts} of the product of {Count}");
    }

    private static SeamCombination Member(int index)
    {
        var values = new int[s_levels.Length];
        int rest = index;
        for (int axis = 0; axis < values.Length; axis++) values[axis] = (int)(CounterRandom.Bits(3, (ulong)index, (uint)axis) % (ulong)s_levels[axis]);
        foreach (int axis in s_product)
        {
            values[axis] = rest % s_levels[axis];
            rest /= s_levels[axis];
        }

        return SeamCombination.FromValues(values, SeamDrafts.Shipped, index);
    }

    private void CheckAll(IEnumerable<SeamCombination> combinations, string what)
    {
        var totals = new SeamTotals();
        long start = Stopwatch.GetTimestamp();
        models.InLanes(combinations, (lane, c) => SeamRun.Check(c, lane, totals));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what}: {totals}; {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s"));
        output.WriteLine(string.Join(", ", totals.ByDrafter.Select(d => $"{d.Key} {d.Value.Accepted} of {d.Value.Drafted}")));
        Assert.Equal(SeamDrafts.Shipped.Select(d => d.Name).Order(), totals.ByDrafter.Keys.Order());
        foreach ((string drafter, (long drafted, long accepted)) in totals.ByDrafter) // how much the Governor drafts depends on what passes cost here and now
            Assert.True(accepted > (drafter == "auto" ? 0 : 20) && drafted > accepted, $"{drafter}: {accepted} of {drafted}");
        Assert.True(totals.Preemptions > 0 && totals.ReusedTokens > 0 && totals.SharedTokens > 0);
    }
}
