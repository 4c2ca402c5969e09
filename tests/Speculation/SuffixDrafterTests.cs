using Foretoken.Memory;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Speculation;

public class SuffixDrafterTests
{
    [Fact]
    public void Frequent_continuations_come_first_and_rare_ones_as_siblings()
    {
        SuffixDrafter drafter = Make(new SuffixOptions { Depth = 2, MinProbability = 0.1f });
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
    public void Values_are_found_again_in_another_notation()
    {
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(Path.Combine(RepoFiles.Root, "models", "reasoner"));
        int cat = tokenizer.TokenToId("Ġcat")!.Value;
        Assert.Equal([cat], tokenizer.EncodeToIds(" cat"));
        int[] bare = [.. tokenizer.EncodeToIds("cat")];
        Assert.DoesNotContain(cat, bare); // the two notations share no token
        var plan = new MemoryPlan();
        var words = new WordTable(tokenizer, plan);
        Assert.Equal(bare, words.PiecesOf(cat).ToArray());
        Assert.Equal((WordKind.Spaced, WordKind.Bare, WordKind.None), (words.KindOf(cat), words.KindOf(bare[0]), words.KindOf(tokenizer.EncodeToIds("\n")[0])));

        string[] records = [.. new[] { "Ruby cat 24 Monday", "Otto dog 61 Sunday", "Kate owl 38 Friday", "Finn duck 75 Tuesday", "Jane cow 52 Thursday" }.Select(r =>
        {
            string[] v = r.Split(' ');
            return $"name: {v[0]}\npet: {v[1]}\nage: {v[2]}\nday: {v[3]}\n{{\"name\": \"{v[0]}\", \"pet\": \"{v[1]}\", \"age\": {v[2]}, \"day\": \"{v[3]}\"}}\n";
        })];
        int[] text = [.. tokenizer.EncodeToIds(string.Concat(records))];
        int from = tokenizer.EncodeToIds(string.Concat(records[..4])).Count + tokenizer.EncodeToIds("name: Jane\npet: cow\nage: 52\nday: Thursday\n").Count;
        int known = Steps(Make(new SuffixOptions(), tokenizer: tokenizer), text, from), repeated = Steps(Make(new SuffixOptions { Words = false }, tokenizer: tokenizer), text, from);
        Assert.InRange(known, 3, repeated / 2);
    }

    [Fact]
    public void A_line_goes_on_in_the_layout_of_the_lines_before_with_words_of_its_own()
    {
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(Path.Combine(RepoFiles.Root, "models", "reasoner"));
        SuffixDrafter drafter = Make(new SuffixOptions { MinProbability = 0.01f }, tokenizer: tokenizer);
        string text = "cow horse goat pig.\n- cow -> 1\n- horse -> 2\n- goat";
        List<int> drafts = NgramDrafterTests.Chain(drafter, [.. tokenizer.EncodeToIds(text)]);
        Assert.StartsWith(" ->", tokenizer.Decode(drafts), StringComparison.Ordinal);
    }

    [Fact]
    public void Findings_that_turn_out_wrong_lose_weight()
    {
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(Path.Combine(RepoFiles.Root, "models", "reasoner"));
        SuffixDrafter drafter = Make(new SuffixOptions { MinProbability = 1e-6f, Depth = 1, StoredTokens = 0 }, tokenizer: tokenizer);
        int[] text = [10, 11, 12, 20, 10, 11, 12, 21, 10, 11, 12, 22, 10, 11];
        float before = Confidence(drafter, text);
        for (int i = 0; i < 20; i++)
        {
            var path = new TokenHistory(text, text.Length + 4);
            var forest = new TokenForest(1, 8);
            DraftRequest[] requests = [new(forest.AddTree(path.Last, 1, 1), 0, path, SamplingOptions.Greedy, 1, 1)];
            drafter.Propose(requests, forest);
            Assert.Equal(12, forest.Token(forest.FirstChild(0)));
            path.Append(30);
            drafter.Observe(requests, [new Acceptance(0, 0, 1, 1, AcceptanceEnd.Tree)], forest);
            drafter.Release(0);
        }

        Assert.InRange(Confidence(drafter, text), 1e-6f, 0.6f * before);
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

    /// <summary>Passes that a text takes from a place on, if every right draft is accepted; the drafter watches from the beginning.</summary>
    private static int Steps(SuffixDrafter drafter, int[] text, int from)
    {
        var path = new TokenHistory(text[..2], text.Length);
        int steps = 0;
        while (path.Count < text.Length)
        {
            var forest = new TokenForest(1, 40);
            DraftRequest[] requests = [new(forest.AddTree(path.Last, 16, text.Length - path.Count - 1), 0, path, SamplingOptions.Greedy, 16, text.Length - path.Count - 1)];
            drafter.Propose(requests, forest);
            if (path.Count >= from) steps++;
            int accepted = 0, node = forest.Root(0);
            while ((node = forest.FindChild(node, text[path.Count])) >= 0)
            {
                path.Append(text[path.Count]);
                accepted++;
            }

            path.Append(text[path.Count]);
            drafter.Observe(requests, [new Acceptance(0, 0, accepted + 1, accepted + 1, AcceptanceEnd.Tree)], forest);
        }

        return steps;
    }

    private static float Confidence(SuffixDrafter drafter, int[] path)
    {
        TokenForest forest = NgramDrafterTests.Propose(drafter, path);
        return forest.Confidence(forest.FirstChild(0));
    }

    private static SuffixDrafter Make(SuffixOptions options, int sequences = 1, BpeTokenizer? tokenizer = null) => new(options, new DrafterContext
    {
        Target = null!, TargetCache = null!, Plan = new MemoryPlan(), MaxSequences = sequences, ContextLength = 1024, Tokenizer = tokenizer,
    });
}
