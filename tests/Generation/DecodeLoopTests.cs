using Foretoken.Generation;
using Foretoken.Numerics;
using Foretoken.Sampling;

namespace Foretoken.Tests.Generation;

public class DecodeLoopTests
{
    private static readonly SamplingOptions Sampled = new() { Temperature = 0.8f, TopP = 0.9f, TopK = 30, MinP = 0.01f, Seed = 5, LogProbs = true };

    public static TheoryData<bool> GreedyOrSampled => [false, true];

    [Theory]
    [MemberData(nameof(GreedyOrSampled))]
    public void Answers_do_not_depend_on_chunks_batches_or_order_of_arrival(bool sampled)
    {
        LoopRequest[] requests = Requests(12, sampled);
        LoopAnswer[] alone = [.. requests.Select(r => r.RunAlone())];
        foreach (int chunk in new[] { 1, 7, 64, 300 })
        {
            using var rig = new LoopRig(LoopRig.Options(maxSequences: 5, maxRows: Math.Max(chunk + 5, 9), chunk: chunk));
            var random = new SeededRandom((ulong)chunk);
            int[] order = [.. Enumerable.Range(0, requests.Length)];
            random.Shuffle(order.AsSpan());
            var running = new Sequence[requests.Length];
            foreach (int i in order)
            {
                running[i] = requests[i].Submit(rig);
                for (int steps = random.Next(6); steps > 0; steps--) rig.Loop.Step();
            }

            rig.RunToEnd();
            for (int i = 0; i < requests.Length; i++) alone[i].AssertEqual(running[i]);
            rig.AssertCacheEmpty();
            Assert.InRange(rig.Backend.LargestPass, Math.Min(chunk, 6), Math.Max(chunk + 5, 9));
        }
    }

    [Theory]
    [InlineData(4, 4, 0, 0.0)]
    [InlineData(4, 4, 0, 1.0)]
    [InlineData(6, 6, 0, 0.3)]
    [InlineData(24, 6, 2, 0.3)]
    [InlineData(24, 6, 3, 0.0)]
    [InlineData(100, 9, 4, 0.15)]
    [InlineData(255, 40, 6, 0.05)]
    public void Drafts_right_or_wrong_never_change_an_answer(int nodes, int depth, int siblings, double wrongRate)
    {
        foreach (bool sampled in new[] { false, true })
        {
            LoopRequest[] requests = Requests(9, sampled);
            var drafter = new ScriptedDrafter(nodes, depth, siblings, wrongRate, LoopRig.Vocab);
            LoopAnswer[] plain = [.. requests.Select(r => r.RunAlone())];
            for (int i = 0; i < requests.Length; i++) drafter.Learn(requests[i].Prompt, plain[i].Tokens);
            using var rig = new LoopRig(LoopRig.Options(maxSequences: 4, maxRows: 320, chunk: 33), drafter);
            Sequence[] running = [.. requests.Select(r => r.Submit(rig))];
            rig.RunToEnd();
            for (int i = 0; i < requests.Length; i++) plain[i].AssertEqual(running[i]);
            rig.AssertCacheEmpty();
            Assert.Equal(requests.Length, drafter.Released);
            Assert.True(drafter.Observed > 0);
            if (wrongRate == 0) Assert.True(running.Sum(s => s.Statistics.AcceptedTokens) > 0);
        }
    }

    [Fact]
    public void A_drafter_that_is_always_right_gives_all_its_tokens_and_one_that_is_always_wrong_gives_none()
    {
        int[] prompt = LoopRig.Prompt(20, 3);
        LoopAnswer plain = new LoopRequest(prompt, 61, SamplingOptions.Greedy).RunAlone();
        foreach ((double wrongRate, int steps) in new[] { (0.0, 13), (1.0, 61) })
        {
            var drafter = new ScriptedDrafter(4, 4, 0, wrongRate, LoopRig.Vocab);
            drafter.Learn(prompt, plain.Tokens);
            using var rig = new LoopRig(LoopRig.Options(), drafter);
            Sequence sequence = new LoopRequest(prompt, 61, SamplingOptions.Greedy).Submit(rig);
            rig.RunToEnd();
            plain.AssertEqual(sequence);
            Assert.Equal(steps, sequence.Statistics.Steps); // 61 = 12 · 5 + 1
            Assert.Equal(steps, rig.Loop.Steps);
            Assert.Equal(61.0 / steps, sequence.Statistics.MeanAcceptedLength, 1e-9);
        }
    }

    [Fact]
    public void A_stop_token_inside_a_draft_ends_the_answer_exactly_there()
    {
        int[] prompt = LoopRig.Prompt(15, 8);
        LoopAnswer whole = new LoopRequest(prompt, 40, SamplingOptions.Greedy).RunAlone();
        for (int at = 0; at < 40; at++)
        {
            int stop = whole.Tokens[at];
            int first = Array.IndexOf(whole.Tokens, stop);
            var drafter = new ScriptedDrafter(7, 7, 0, 0, LoopRig.Vocab);
            drafter.Learn(prompt, whole.Tokens);
            using var rig = new LoopRig(LoopRig.Options(), drafter);
            Sequence sequence = LoopRig.Sequence(prompt, 40, stopTokens: [stop]);
            rig.Loop.Submit(sequence);
            rig.RunToEnd();
            Assert.Equal(whole.Tokens[..(first + 1)], sequence.History.Generated.ToArray());
            Assert.Equal(FinishReason.Stop, sequence.FinishReason);
            Assert.Equal(first, sequence.TextTokens);
            Assert.Equal(first + 1, sequence.Statistics.GeneratedTokens);
            Assert.Equal(first + 1, sequence.Statistics.Steps + sequence.Statistics.AcceptedTokens); // drafts beyond the stop are not counted
            Assert.Equal((first + 8) / 8, sequence.Statistics.Steps);
            rig.AssertCacheEmpty();
        }
    }

    [Fact]
    public void A_stop_string_inside_a_draft_ends_the_answer_exactly_there()
    {
        int[] prompt = LoopRig.Prompt(15, 8);
        LoopAnswer whole = new LoopRequest(prompt, 40, SamplingOptions.Greedy).RunAlone();
        string text = string.Concat(whole.Tokens.Select(t => (char)('A' + t)));
        for (int at = 0; at <= 37; at++)
        {
            string stop = text.Substring(at, 3);
            int start = text.IndexOf(stop, StringComparison.Ordinal);
            foreach (int nodes in new[] { 0, 7 })
            {
                var drafter = new ScriptedDrafter(nodes, nodes, 0, 0, LoopRig.Vocab);
                drafter.Learn(prompt, whole.Tokens);
                using var rig = new LoopRig(LoopRig.Options(), drafter);
                Sequence sequence = LoopRig.Sequence(prompt, 40, stopStrings: [stop]);
                rig.Loop.Submit(sequence);
                rig.RunToEnd();
                Assert.Equal(FinishReason.Stop, sequence.FinishReason);
                Assert.Equal(whole.Tokens[..(start + 3)], sequence.History.Generated.ToArray());
                Assert.Equal(start, sequence.ShownBytes);
            }
        }
    }

    [Fact]
    public void The_answer_ends_at_its_token_limit_and_may_fill_the_context()
    {
        foreach (int maxTokens in new[] { 1, 2, 3, 44 })
        {
            var drafter = new ScriptedDrafter(6, 6, 1, 0, LoopRig.Vocab);
            int[] prompt = LoopRig.Prompt(20, 4);
            drafter.Learn(prompt, new LoopRequest(prompt, 44, SamplingOptions.Greedy).RunAlone().Tokens);
            using var rig = new LoopRig(LoopRig.Options(context: 64, chunk: 8), drafter);
            Sequence sequence = LoopRig.Sequence(prompt, maxTokens);
            rig.Loop.Submit(sequence);
            rig.RunToEnd();
            Assert.Equal((FinishReason.Length, maxTokens), (sequence.FinishReason, sequence.History.GeneratedCount));
            Assert.Equal((maxTokens, StopConditions.All), (sequence.TextTokens, sequence.ShownBytes));
        }

        using var full = new LoopRig(LoopRig.Options(context: 64));
        var error = Assert.Throws<InvalidRequestException>(() => full.Loop.Submit(LoopRig.Sequence(LoopRig.Prompt(20, 4), 45)));
        Assert.Contains("64", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Cancellation_frees_the_cache_and_leaves_the_others_alone()
    {
        LoopRequest[] requests = Requests(6, sampled: true);
        LoopAnswer[] alone = [.. requests.Select(r => r.RunAlone())];
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 3, chunk: 5));
        Sequence[] running = [.. requests.Select(r => r.Submit(rig))];
        for (int i = 0; i < 9; i++) rig.Loop.Step();
        running[1].Cancel(); // runs or reads its prompt
        running[5].Cancel(); // waits
        rig.RunToEnd();
        Assert.Equal(FinishReason.Cancelled, running[1].FinishReason);
        Assert.Equal((FinishReason.Cancelled, 0), (running[5].FinishReason, running[5].History.GeneratedCount));
        foreach (int i in new[] { 0, 2, 3, 4 }) alone[i].AssertEqual(running[i]);
        rig.AssertCacheEmpty();
        Assert.Equal(0, rig.Loop.ActiveCount);
    }

    [Fact]
    public void Logits_that_are_not_numbers_end_that_request_only()
    {
        int[] shortPrompt = LoopRig.Prompt(10, 1), longPrompt = LoopRig.Prompt(30, 2);
        LoopAnswer plain = new LoopRequest(shortPrompt, 12, SamplingOptions.Greedy).RunAlone();
        using var rig = new LoopRig(LoopRig.Options());
        rig.Backend.BrokenFrom = 32; // the row at position 32 predicts the token at 33
        Sequence broken = LoopRig.Sequence(longPrompt, 20), fine = LoopRig.Sequence(shortPrompt, 12);
        rig.Loop.Submit(broken);
        rig.Loop.Submit(fine);
        rig.RunToEnd();
        plain.AssertEqual(fine);
        Assert.Equal((FinishReason.Error, 3), (broken.FinishReason, broken.History.GeneratedCount));
        Assert.Contains("position 33", broken.Error!, StringComparison.Ordinal);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void Sequences_wait_until_the_cache_can_hold_the_longest_they_may_become()
    {
        // 3 pages of 16 slots: one sequence of 40 tokens at a time, or two of 16 and less
        using var rig = new LoopRig(LoopRig.Options(), kvTokens: 48);
        Sequence first = LoopRig.Sequence(LoopRig.Prompt(10, 1), 31), second = LoopRig.Sequence(LoopRig.Prompt(10, 2), 31);
        rig.Loop.Submit(first);
        rig.Loop.Submit(second);
        while (!first.Finished)
        {
            rig.Loop.Step();
            Assert.Equal(0, second.History.GeneratedCount);
        }

        rig.RunToEnd();
        new LoopRequest(LoopRig.Prompt(10, 2), 31, SamplingOptions.Greedy).RunAlone().AssertEqual(second);
        var error = Assert.Throws<InvalidRequestException>(() => rig.Loop.Submit(LoopRig.Sequence(LoopRig.Prompt(10, 3), 40)));
        Assert.Contains("budget", error.Message, StringComparison.Ordinal);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void A_long_prompt_does_not_stall_a_running_answer()
    {
        using var rig = new LoopRig(LoopRig.Options(chunk: 10));
        Sequence running = LoopRig.Sequence(LoopRig.Prompt(5, 1), 100);
        rig.Loop.Submit(running);
        rig.Loop.Step();
        Sequence late = LoopRig.Sequence(LoopRig.Prompt(95, 2), 5);
        rig.Loop.Submit(late);
        for (int step = 1; step <= 10; step++)
        {
            rig.Loop.Step();
            Assert.Equal(1 + step, running.History.GeneratedCount);
            Assert.Equal(step == 10 ? 1 : 0, late.History.GeneratedCount);
        }
    }

    private static LoopRequest[] Requests(int count, bool sampled)
    {
        var random = new SeededRandom(99);
        return [.. Enumerable.Range(0, count).Select(i => new LoopRequest(
            LoopRig.Prompt(1 + random.Next(i % 3 == 0 ? 150 : 12), (ulong)i), 1 + random.Next(60),
            sampled
                ? Sampled with { Seed = (ulong)i, RepetitionPenalty = i % 2 == 0 ? 1 : 1.2f, PresencePenalty = i % 3 == 0 ? 0.3f : 0 }
                : SamplingOptions.Greedy with { LogProbs = true }))];
    }
}
