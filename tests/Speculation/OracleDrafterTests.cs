using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

public class OracleDrafterTests
{
    private static readonly SamplingOptions Sampled = new()
    {
        Temperature = 0.8f, TopK = 40, TopP = 0.95f, MinP = 0.001f, RepetitionPenalty = 1.2f, PresencePenalty = 0.2f, FrequencyPenalty = 0.1f, Seed = 3,
        LogProbs = true,
    };

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(40)]
    public void Always_right_gives_every_draft_and_the_bonus_and_always_wrong_one_token_per_step(int depth)
    {
        foreach (SamplingOptions sampling in new[] { SamplingOptions.Greedy, Sampled })
        {
            var request = new LoopRequest(LoopRig.Prompt(20, 3), 6 * (depth + 1) + 1, sampling);
            foreach (bool right in new[] { true, false })
            {
                OracleDrafter oracle = right ? OracleDrafter.AlwaysRight(LoopRig.Vocab, depth) : OracleDrafter.AlwaysWrong(LoopRig.Vocab, depth);
                (GenerationStatistics s, LoopRig rig) = RunWith(oracle, request);
                int steps = right ? 7 : request.MaxTokens; // the last token of all is a step of its own
                Assert.Equal((steps, (long)steps), (s.Steps, rig.Loop.Steps));
                Assert.Equal((double)request.MaxTokens / steps, s.MeanAcceptedLength, 1e-12);
                Assert.Equal(right ? 6 * depth : 0, s.AcceptedTokens);
                int positions = Math.Min(depth, GenerationStatistics.MaxDraftPositions);
                Assert.Equal(Enumerable.Repeat(right ? 6 : 0, positions), s.AcceptedAt.ToArray());
                Assert.Equal(right ? 6 : request.MaxTokens - 1, s.DraftedAt[0]);
            }
        }
    }

    [Theory]
    [InlineData(8, 3, 1)]
    [InlineData(5, 10, 5)]   // 255 nodes
    [InlineData(15, 4, 4)]   // 255 nodes
    [InlineData(1, 254, 1)]  // 255 nodes
    [InlineData(255, 0, 1)]
    public void Trees_with_wrong_siblings_are_walked_as_far_as_the_chain_alone(int depth, int siblings, int siblingDepth)
    {
        const int vocab = 300;
        var request = new LoopRequest(LoopRig.Prompt(1, 5), 2 * (depth + 1) + 1, Sampled);
        LoopAnswer alone = request.RunAlone(vocab);
        foreach (double acceptance in depth > 100 ? [1.0] : new[] { 1.0, 0.0, 0.8 })
        {
            var oracle = new OracleDrafter(new OracleOptions
            {
                VocabSize = vocab, Depth = depth, Siblings = siblings, SiblingDepth = siblingDepth, Acceptance = acceptance,
            });
            oracle.Record(request.Prompt, request.Sampling, alone.Tokens);
            using var rig = new LoopRig(LoopRig.Options(maxSequences: 1, maxRows: 600, context: 1024), oracle, vocab: vocab);
            Sequence sequence = request.Submit(rig);
            rig.RunToEnd();
            alone.AssertEqual(sequence);
            Assert.Equal(depth * (1 + siblings * siblingDepth), oracle.MaxNodes);
            Assert.Equal(1 + oracle.MaxNodes, rig.Backend.LargestPass);
            if (acceptance == 1) Assert.Equal(3, sequence.Statistics.Steps);
            if (acceptance == 0) Assert.Equal(request.MaxTokens, sequence.Statistics.Steps);
        }
    }

    [Fact]
    public void Drafts_are_right_at_the_set_rate_at_every_position()
    {
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = LoopRig.Vocab, Depth = 5, Siblings = 1, Acceptance = 0.7, Seed = 12 });
        var request = new LoopRequest(LoopRig.Prompt(10, 1), 490, Sampled);
        (GenerationStatistics s, LoopRig _) = RunWith(oracle, request);
        double expected = (1 - Math.Pow(0.7, 6)) / (1 - 0.7);
        Assert.InRange(s.MeanAcceptedLength, 0.93 * expected, 1.07 * expected);
        for (int i = 0; i < 5; i++) Assert.InRange((double)s.AcceptedAt[i] / s.DraftedAt[i], Math.Pow(0.7, i + 1) - 0.08, Math.Pow(0.7, i + 1) + 0.08);
    }

    [Fact]
    public void Answers_are_known_by_prompt_and_options_and_only_on_their_own_path()
    {
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = 100, Depth = 3 });
        oracle.Record([1, 2], Sampled, [10, 11, 12, 13, 14]);
        oracle.Record([1, 2], Sampled with { Seed = 4 }, [20, 21]);
        oracle.Record([1, 2], Sampled with { Seed = 4 }, [30, 31]); // replaces
        Assert.Equal([10, 11, 12], Chain(oracle, 0, [1, 2], [], Sampled));
        Assert.Equal([13, 14], Chain(oracle, 1, [1, 2], [10, 11, 12], Sampled));
        Assert.Equal([30, 31], Chain(oracle, 2, [1, 2], [], Sampled with { Seed = 4 }));
        Assert.Empty(Chain(oracle, 3, [1, 2], [], Sampled with { Seed = 5 }));
        Assert.Empty(Chain(oracle, 3, [1, 2, 3], [], Sampled)); // the index is still known as another request
        oracle.Release(3);
        Assert.Empty(Chain(oracle, 4, [1, 2], [10, 99], Sampled)); // left the recorded path
        Assert.Empty(Chain(oracle, 5, [1, 2], [10, 11, 12, 13, 14], Sampled));
        Assert.Equal([10, 11, 12], Chain(oracle, 3, [1, 2], [], Sampled));
        Assert.Equal([10], Chain(oracle, 6, [1, 2], [], Sampled, maxNodes: 1));
        Assert.Equal([10, 11], Chain(oracle, 6, [1, 2], [], Sampled, maxDepth: 2));
    }

    [Fact]
    public void Shapes_that_no_pass_can_verify_are_refused()
    {
        var fits = new OracleOptions { VocabSize = 100, Depth = 51, Siblings = 4 };
        Assert.Equal(255, new OracleDrafter(fits).MaxNodes);
        foreach (OracleOptions wrong in new[]
        {
            fits with { Depth = 52 }, fits with { SiblingDepth = 2 }, fits with { Depth = 1, Siblings = 99 }, fits with { Acceptance = 1.01 },
            fits with { Acceptance = double.NaN }, fits with { Depth = 0 }, fits with { VocabSize = 1 },
        })
            Assert.ThrowsAny<ArgumentException>(() => new OracleDrafter(wrong));
    }

    private static List<int> Chain(
        OracleDrafter oracle, int sequence, int[] prompt, int[] answer, SamplingOptions sampling, int maxNodes = 9, int maxDepth = 9)
    {
        var path = new TokenHistory(prompt, 50);
        foreach (int token in answer) path.Append(token);
        var forest = new TokenForest(1, 10);
        int tree = forest.AddTree(path.Last, maxNodes, maxDepth);
        oracle.Propose([new DraftRequest(tree, sequence, path, sampling, maxNodes, maxDepth)], forest);
        var tokens = new List<int>();
        for (int node = forest.Next(forest.Root(tree)); node >= 0; node = forest.Next(node)) tokens.Add(forest.Token(node));
        return tokens;
    }

    private static (GenerationStatistics Statistics, LoopRig Rig) RunWith(OracleDrafter oracle, LoopRequest request)
    {
        LoopAnswer alone = request.RunAlone();
        oracle.Record(request.Prompt, request.Sampling, alone.Tokens);
        var rig = new LoopRig(LoopRig.Options(maxRows: 320), oracle);
        Sequence sequence = request.Submit(rig);
        rig.RunToEnd();
        alone.AssertEqual(sequence);
        rig.AssertCacheEmpty();
        rig.Dispose();
        return (sequence.Statistics, rig);
    }
}
