using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Speculation;

public class NgramDrafterTests
{
    [Theory]
    [InlineData(new[] { 1, 2, 3, 9, 4, 1, 2, 3 }, new[] { 9, 4, 1, 2 })]           // the whole repetition of three
    [InlineData(new[] { 5, 1, 2, 7, 8, 6, 1, 2, 9, 1, 2 }, new[] { 9, 1, 2 })]     // the most recent of equals; up to the path's end
    [InlineData(new[] { 3, 1, 2, 7, 4, 1, 2, 8, 3, 1, 2 }, new[] { 7, 4, 1, 2 })]  // the longer match, though it is older
    [InlineData(new[] { 6, 6, 6, 6 }, new[] { 6 })]                                // overlapping itself
    [InlineData(new[] { 1, 2, 3, 4 }, new int[0])]
    [InlineData(new[] { 9, 1, 8, 1 }, new int[0])]                                 // one token is too little
    [InlineData(new[] { 1 }, new int[0])]
    public void What_followed_the_longest_repetition_is_drafted(int[] path, int[] draft)
    {
        Assert.Equal(draft, Chain(new NgramDrafter(new NgramOptions { Tokens = 4 }), path));
    }

    [Fact]
    public void Budgets_limit_the_draft()
    {
        int[] path = [1, 2, 3, 4, 5, 6, 1, 2];
        Assert.Equal([3, 4], Chain(new NgramDrafter(), path, maxNodes: 2));
        Assert.Equal([3], Chain(new NgramDrafter(), path, maxDepth: 1));
        Assert.Empty(Chain(new NgramDrafter(), path, maxNodes: 0));
        Assert.Equal([9], Chain(new NgramDrafter(new NgramOptions { MinMatch = 1 }), [9, 9], maxNodes: 3));
    }

    [Fact]
    public void Matches_longer_than_the_limit_count_as_equal()
    {
        int[] path = [1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3];
        Assert.Equal(7, Chain(new NgramDrafter(), path)[0]);
        Assert.Equal(8, Chain(new NgramDrafter(new NgramOptions { MaxMatch = 2 }), path)[0]);
    }

    [Fact]
    public void Options_out_of_range_are_refused()
    {
        foreach (NgramOptions wrong in new NgramOptions[] { new() { Tokens = 0 }, new() { Tokens = 256 }, new() { MinMatch = 0 }, new() { MinMatch = 9 } })
            Assert.ThrowsAny<ArgumentException>(() => new NgramDrafter(wrong));
    }

    internal static List<int> Chain(IDrafter drafter, int[] path, int maxNodes = 20, int maxDepth = 20)
    {
        TokenForest forest = Propose(drafter, path, maxNodes, maxDepth);
        var tokens = new List<int>();
        for (int node = forest.Next(forest.Root(0)); node >= 0; node = forest.Next(node))
        {
            Assert.Equal(tokens.Count + 1, forest.Depth(node));
            Assert.InRange(forest.Confidence(node), 0.01f, 1);
            tokens.Add(forest.Token(node));
        }

        return tokens;
    }

    internal static TokenForest Propose(IDrafter drafter, int[] path, int maxNodes = 20, int maxDepth = 20, int sequence = 0)
    {
        var history = new TokenHistory(path, path.Length + 50);
        var forest = new TokenForest(1, 64);
        int tree = forest.AddTree(history.Last, maxNodes, maxDepth);
        drafter.Propose([new DraftRequest(tree, sequence, history, SamplingOptions.Greedy, maxNodes, maxDepth)], forest);
        return forest;
    }
}
