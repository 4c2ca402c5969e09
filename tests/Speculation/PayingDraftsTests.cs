using Foretoken.Speculation;
using Foretoken.Speculation.Trained;

namespace Foretoken.Tests.Speculation;

public sealed class PayingDraftsTests
{
    /// <summary>A step of the past took 20 + pass + 3 · row ticks on average; a draft pays if it is right more often than tokens · row / that.</summary>
    [Theory]
    [InlineData(100, 10, 2, 4, 4)]  // 0.13
    [InlineData(100, 50, 4, 1, 2)]  // 0.74
    [InlineData(100, 400, 4, 0, 0)] // 1.2
    [InlineData(1000, 1, 2, 6, 6)]  // 0.002
    public void As_many_drafts_are_taken_as_bring_more_than_they_cost(int pass, int row, int tokens, int least, int most)
    {
        float[] paths = [0.95f, 0.8f, 0.6f, 0.5f, 0.03f, 0.01f];
        PayingDrafts paying = Learned(pass, row, tokens);
        paying.BeginStep(1); // the fitted tree's turn
        Assert.InRange(paying.Count(paths), least, most);
    }

    [Fact]
    public void A_level_must_bring_what_it_costs()
    {
        PayingDrafts paying = Learned(100, 10, 2);
        for (int i = 0; i < 200; i++) paying.ObserveLevel(1, 30);
        Assert.InRange(paying.LeastOfLevel(1, 1), 0.3, 0.9); // (30 + 10) ticks at two tokens in 125 to 160
        Assert.True(paying.LeastOfLevel(8, 1) < paying.LeastOfLevel(1, 1) / 1.5, "a level for eight sequences costs each an eighth");
    }

    [Fact]
    public void Sizes_are_tried_in_the_beginning_and_prompts_are_not_counted()
    {
        var paying = new PayingDrafts(64, 8, 3, 0);
        float[] paths = [.. Enumerable.Repeat(0.9f, 64)];
        var tried = new HashSet<int>();
        for (int i = 0; i < 30; i++) // every other step reads a prompt
        {
            tried.Add(paying.Count(paths));
            paying.Observe(new StepCost(9, i % 2 == 0 ? 4 : 0, 0, 10, 100), 2);
        }

        Assert.False(paying.Ready);
        Assert.Equal([1, 2, 4, 8, 16, 32], tried.Order());
    }

    /// <summary>Only the first two of sixteen drafts that are all said to be right in nine of ten cases ever are.</summary>
    [Fact]
    public void A_small_tree_is_kept_where_more_brings_less_by_the_clock()
    {
        var paying = new PayingDrafts(64, 8, 3, 0);
        float[] paths = [.. Enumerable.Repeat(0.9f, 16)];
        int late = 0;
        for (int i = 0; i < 400; i++)
        {
            paying.BeginStep(1);
            int count = paying.Count(paths);
            paying.Observe(new StepCost(1 + count, 0, 0, 10, 100 + 20 * count), 1 + Math.Min(count, 2));
            if (i >= 300) late += count;
        }

        Assert.InRange(late / 100.0, 3, 5.5); // in one step of eight the larger one has its turn
    }

    /// <summary>After some hundred steps of trees of several sizes.</summary>
    private static PayingDrafts Learned(int pass, int row, int tokens)
    {
        var paying = new PayingDrafts(64, 8, 3, 0);
        for (int i = 0; i < 301; i++)
        {
            paying.BeginStep(1);
            int rows = 1 + i % 7;
            paying.Observe(new StepCost(rows, 0, 0, 20, pass + row * (rows - 1)), tokens);
        }

        Assert.True(paying.Ready);
        return paying;
    }
}
