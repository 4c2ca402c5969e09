using Foretoken.Memory;
using Foretoken.Numerics;
using Foretoken.Speculation;

namespace Foretoken.Tests.Speculation;

public class SuffixDrafterTests
{
    [Fact]
    public void Frequent_continuations_come_first_and_rare_ones_as_siblings()
    {
        SuffixDrafter drafter = Make(new SuffixOptions { Depth = 2 });
        TokenForest forest = NgramDrafterTests.Propose(drafter, [10, 1, 2, 5, 6, 11, 1, 2, 7, 6, 12, 1, 2, 5, 6, 13, 1, 2, 5, 6, 14, 1, 2]);
        int root = forest.Root(0), five = forest.FindChild(root, 5), seven = forest.FindChild(root, 7);
        Assert.Equal(five, forest.FirstChild(root));
        Assert.Equal([6], Children(forest, five));
        Assert.Equal([6], Children(forest, seven));
        Assert.Equal(3 * forest.Confidence(seven), forest.Confidence(five), 1e-6f);
        Assert.InRange(forest.Confidence(five), 0.7f, 0.75f);
        Assert.Equal(5, forest.CountOf(0));
        Assert.Equal(2, forest.DepthOf(0));
    }

    [Fact]
    public void Longer_matches_outweigh_more_frequent_shorter_ones()
    {
        SuffixDrafter drafter = Make(new SuffixOptions { Depth = 1 });
        TokenForest forest = NgramDrafterTests.Propose(drafter, [3, 4, 1, 2, 9, 7, 1, 2, 5, 6, 1, 2, 5, 3, 4, 1, 2]);
        Assert.Equal(9, forest.Token(forest.FirstChild(forest.Root(0))));
    }

    [Fact]
    public void Ended_requests_are_remembered_until_newer_ones_push_them_out()
    {
        SuffixDrafter drafter = Make(new SuffixOptions { StoredTokens = 64 }, sequences: 2);
        NgramDrafterTests.Propose(drafter, [10, 11, 12, 13, 14, 15]);
        Assert.Equal(1, NgramDrafterTests.Propose(drafter, [10, 11, 12], sequence: 1).Count);
        drafter.Release(0);
        Assert.Equal([13, 14, 15], NgramDrafterTests.Chain(drafter, [10, 11, 12]));
        drafter.Release(0);
        drafter.Release(1);
        for (int i = 0; i < 12; i++)
        {
            NgramDrafterTests.Propose(drafter, [20 + i, 30 + i, 40 + i, 50 + i, 60 + i, 70 + i], sequence: 1);
            drafter.Release(1);
        }

        Assert.Empty(NgramDrafterTests.Chain(drafter, [10, 11, 12]));
    }

    [Fact]
    public void A_repetition_does_not_reach_into_the_next_request()
    {
        SuffixDrafter drafter = Make(new SuffixOptions(), sequences: 1);
        NgramDrafterTests.Propose(drafter, [1, 2, 3]);
        drafter.Release(0);
        NgramDrafterTests.Propose(drafter, [4, 5, 6]);
        drafter.Release(0);
        Assert.Equal([3], NgramDrafterTests.Chain(drafter, [1, 2]));
    }

    [Fact]
    public void The_index_finds_what_a_search_over_the_remembered_text_finds()
    {
        var index = new SuffixIndex(100, "test", new MemoryPlan()); // 128 tokens
        var random = new SeededRandom(3);
        var text = new List<int>();
        for (int i = 0; i < 700; i++)
        {
            int token = random.Next(6);
            index.Add(token);
            text.Add(token);
            int[] path = [.. Enumerable.Range(0, 9).Select(_ => random.Next(6))];
            var found = new List<(int, int)>();
            for (int end = index.NewestEnd(path); end >= 0; end = index.OlderEnd(end))
            {
                if (index.MatchLength(path, end, 8) is var length and >= 2) found.Add((end, length));
            }

            Assert.Equal(Search(text, path, Math.Max(0, text.Count - 128)), found);
        }
    }

    private static List<(int, int)> Search(List<int> text, int[] path, int first)
    {
        var found = new List<(int, int)>();
        for (int end = text.Count - 1; end >= first; end--)
        {
            int length = 0;
            while (length < 8 && end - length >= first && text[end - length] == path[^(1 + length)]) length++;
            if (length >= 2) found.Add((end, length));
        }

        return found;
    }

    private static int[] Children(TokenForest forest, int node)
    {
        var tokens = new List<int>();
        for (int child = forest.FirstChild(node); child >= 0; child = forest.NextSibling(child)) tokens.Add(forest.Token(child));
        return [.. tokens];
    }

    private static SuffixDrafter Make(SuffixOptions options, int sequences = 1) => new(options, new DrafterContext
    {
        Target = null!, TargetCache = null!, Plan = new MemoryPlan(), MaxSequences = sequences, ContextLength = 128,
    });
}
