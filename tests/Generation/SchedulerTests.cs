using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Generation;

public class SchedulerTests
{
    [Fact]
    public void A_full_queue_turns_a_request_away_and_takes_it_later()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 1) with { MaxWaiting = 2 });
        Sequence first = Request(1).Submit(rig);
        rig.Loop.Step(); // it runs and no longer waits
        Request(2).Submit(rig);
        Request(3).Submit(rig);
        var error = Assert.Throws<QueueFullException>(() => Request(4).Submit(rig));
        Assert.Equal(2, error.Waiting);
        Assert.Equal((2, 1L, 3L), (rig.Loop.Statistics.Waiting, rig.Loop.Statistics.Rejected, rig.Loop.Statistics.Submitted));
        while (!first.Finished) rig.Loop.Step();
        rig.Loop.Step();
        Sequence again = Request(4).Submit(rig);
        rig.RunToEnd();
        Request(4).RunAlone().AssertEqual(again);
    }

    /// <summary>
    /// A window of 28 tokens fits two pages of 16 for ever, but not together with the few expired slots that usually wait for more before survivors are moved.
    /// </summary>
    [Fact]
    public void Expired_slots_that_wait_to_be_reclaimed_end_no_answer_when_pages_are_short()
    {
        var policy = new SlidingWindowPolicy(28);
        using var rig = new LoopRig(
            LoopRig.Options(maxSequences: 1, chunk: 8) with { KvAdmission = KvAdmission.Measured, ExpectedAnswerTokens = 1 }, kvTokens: 32, policy: policy);
        LoopRequest request = Request(5, 90);
        Sequence sequence = request.Submit(rig);
        rig.RunToEnd();
        request.RunAlone(policy: policy).AssertEqual(sequence);
        Assert.Equal(0, rig.Loop.Statistics.EndedByKvBudget);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void Requests_are_served_by_priority_and_in_order_of_arrival_among_equals()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 1));
        int[] priorities = [0, 2, 1, 2, -1, 1, 0];
        Sequence[] sequences = [.. priorities.Select((p, i) => Request(i).Submit(rig, p))];
        var order = new List<int>();
        while (rig.Loop.Step()) order.AddRange(Enumerable.Range(0, 7).Where(i => sequences[i].Finished && !order.Contains(i)));
        Assert.Equal([1, 3, 2, 5, 0, 6, 4], order);
    }

    [Fact]
    public void A_request_of_higher_priority_preempts_one_of_lower_and_neither_answer_changes()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 2));
        LoopRequest[] requests = [Request(0, 40), Request(1, 40), Request(2, 5)];
        Sequence older = requests[0].Submit(rig), younger = requests[1].Submit(rig);
        for (int i = 0; i < 10; i++) rig.Loop.Step();
        Sequence equal = Request(3, 5).Submit(rig);
        rig.Loop.Step();
        Assert.Equal(0, equal.History.GeneratedCount); // equals wait
        Sequence urgent = requests[2].Submit(rig, priority: 1);
        rig.Loop.Step();
        Assert.Equal(1, urgent.History.GeneratedCount);
        Assert.Equal((0, 1), (older.Statistics.Preemptions, younger.Statistics.Preemptions));
        Assert.Equal(10 + 11 - 1, younger.Statistics.PreemptedTokens); // prompt and answer without its newest token
        while (!urgent.Finished) rig.Loop.Step();
        rig.RunToEnd();
        foreach ((LoopRequest r, Sequence s) in requests.Zip([older, younger, urgent])) r.RunAlone().AssertEqual(s);
        Assert.Equal((1L, 20L), (rig.Loop.Statistics.Preemptions, rig.Loop.Statistics.PreemptedTokens));
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void Nobody_is_preempted_for_a_request_that_would_not_fit_all_the_same()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 4), kvTokens: 96);
        Sequence high = Request(0, 55).Submit(rig, priority: 1); // 4 pages of 6
        Sequence low = Request(1, 7).Submit(rig);                // 1 page
        rig.Loop.Step();
        Request(2, 50).Submit(rig, priority: 1);                 // 4 pages: not even without the low one
        for (int i = 0; i < 3; i++) rig.Loop.Step();
        Assert.Equal((0, 4), (low.Statistics.Preemptions, low.History.GeneratedCount));
        Assert.Equal(0, high.Statistics.Preemptions);
        rig.RunToEnd();
    }

    [Fact]
    public void A_request_of_low_priority_is_passed_a_limited_number_of_times()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 1) with { MaxOvertakes = 5 });
        Request(0, 3).Submit(rig, priority: 9);
        rig.Loop.Step();
        Sequence low = Request(1, 30).Submit(rig, priority: 0);
        int served = 0;
        var urgent = new Queue<Sequence>();
        while (low.Statistics.Steps == 0)
        {
            urgent.Enqueue(Request(2, 2).Submit(rig, priority: 9));
            rig.Loop.Step();
            while (urgent.TryPeek(out Sequence? s) && s.Finished)
            {
                urgent.Dequeue();
                served++;
            }
        }

        Assert.Equal(5, served);
        while (!low.Finished)
        {
            Request(2, 2).Submit(rig, priority: 9);
            rig.Loop.Step();
        }

        Assert.Equal(0, low.Statistics.Preemptions); // nor is it preempted once its turn has come
    }

    [Fact]
    public void A_deadline_ends_a_waiting_and_a_running_request_and_keeps_the_answer_so_far()
    {
        var clock = new FakeClock();
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 1) with { Time = clock });
        LoopRequest request = Request(1, 50);
        Sequence running = request.Submit(rig, deadline: TimeSpan.FromMilliseconds(10));
        Sequence waiting = request.Submit(rig, deadline: TimeSpan.FromMilliseconds(5)), patient = request.Submit(rig, deadline: TimeSpan.FromDays(1));
        for (int i = 0; i < 10; i++)
        {
            Assert.Equal((i >= 6, false), (waiting.Finished, running.Finished));
            rig.Loop.Step();
            clock.Advance(1);
        }

        rig.RunToEnd();
        Assert.Equal((FinishReason.Deadline, 10), (running.FinishReason, running.History.GeneratedCount));
        Assert.Equal((FinishReason.Deadline, 0), (waiting.FinishReason, waiting.History.GeneratedCount));
        request.RunAlone().AssertBegins(running);
        request.RunAlone().AssertEqual(patient);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void Measured_admission_runs_more_at_a_time_than_the_worst_case()
    {
        int[] largest = new int[2];
        foreach (KvAdmission admission in new[] { KvAdmission.WorstCase, KvAdmission.Measured })
        {
            using var rig = new LoopRig(LoopRig.Options(maxSequences: 16) with { KvAdmission = admission }, kvTokens: 320);
            LoopRequest[] requests = [.. Enumerable.Range(0, 12).Select(i => new LoopRequest(LoopRig.Prompt(6, (ulong)i), 150, SamplingOptions.Greedy))];
            LoopAnswer[] alone = [.. requests.Select(r => (r with { StopTokens = [7, 9, 11, 20] }).RunAlone())];
            Sequence[] sequences = [.. requests.Select(r => (r with { StopTokens = [7, 9, 11, 20] }).Submit(rig))];
            while (rig.Loop.Step()) largest[(int)admission] = Math.Max(largest[(int)admission], rig.Loop.Statistics.Running);
            for (int i = 0; i < 12; i++) alone[i].AssertEqual(sequences[i]);
            SchedulerStatistics statistics = rig.Loop.Statistics;
            Assert.Equal(admission, statistics.KvAdmission);
            Assert.InRange(statistics.MeanAnswerTokens!.Value, 1, 60);
            Assert.Equal(1, statistics.LiveFraction);
            rig.AssertCacheEmpty();
        }

        Assert.Equal(2, largest[(int)KvAdmission.WorstCase]); // 10 pages of 20 each
        Assert.True(largest[(int)KvAdmission.Measured] > 4);
    }

    [Theory]
    [InlineData(KvExhaustion.Preempt)]
    [InlineData(KvExhaustion.End)]
    public void When_the_budget_runs_out_the_youngest_gives_way(KvExhaustion exhaustion)
    {
        DecodeLoopOptions options = LoopRig.Options(maxSequences: 3) with
        {
            KvAdmission = KvAdmission.Measured, KvExhaustion = exhaustion, ExpectedAnswerTokens = 1,
        };
        using var rig = new LoopRig(options, kvTokens: 128); // 8 pages; each of the three comes to need 4
        LoopRequest[] requests = [.. Enumerable.Range(0, 3).Select(i => Request(i, 50))];
        Sequence[] sequences = [.. requests.Select(r => r.Submit(rig))];
        rig.RunToEnd();
        requests[0].RunAlone().AssertEqual(sequences[0]);
        requests[1].RunAlone().AssertEqual(sequences[1]);
        Assert.Equal((0, 0), (sequences[0].Statistics.Preemptions, sequences[1].Statistics.Preemptions));
        if (exhaustion == KvExhaustion.Preempt)
        {
            requests[2].RunAlone().AssertEqual(sequences[2]);
            Assert.Equal(1, sequences[2].Statistics.Preemptions);
        }
        else
        {
            requests[2].RunAlone().AssertBegins(sequences[2]);
            Assert.Equal(FinishReason.KvBudget, sequences[2].FinishReason);
            Assert.InRange(sequences[2].History.GeneratedCount, 20, 49);
        }

        Assert.Equal(exhaustion == KvExhaustion.Preempt ? 0 : 1, rig.Loop.Statistics.EndedByKvBudget);
        rig.AssertCacheEmpty();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(6)]
    public void An_answer_that_outgrows_the_whole_budget_ends_there_and_not_before(int drafts)
    {
        LoopRequest request = Request(5, 90);
        LoopAnswer alone = request.RunAlone();
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = LoopRig.Vocab, Depth = Math.Max(drafts, 1), Siblings = 2 });
        if (drafts > 0) oracle.Record(request.Prompt, request.Sampling, alone.Tokens);
        using var rig = new LoopRig(LoopRig.Options() with { KvAdmission = KvAdmission.Measured }, oracle, kvTokens: 64);
        Sequence sequence = request.Submit(rig), longPrompt = new LoopRequest(LoopRig.Prompt(70, 1), 3, SamplingOptions.Greedy).Submit(rig);
        Sequence small = Request(6, 20).Submit(rig);
        rig.RunToEnd();
        Assert.Equal((FinishReason.KvBudget, 65), (sequence.FinishReason, sequence.History.Count)); // the newest token needs no slot
        alone.AssertBegins(sequence);
        Assert.Equal((FinishReason.KvBudget, 0), (longPrompt.FinishReason, longPrompt.History.GeneratedCount));
        Request(6, 20).RunAlone().AssertEqual(small);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void Drafts_take_free_pages_only_and_displace_nobody()
    {
        DecodeLoopOptions options = LoopRig.Options(maxSequences: 2) with { KvAdmission = KvAdmission.Measured, ExpectedAnswerTokens = 40 };
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = LoopRig.Vocab, Depth = 8, Siblings = 7 });
        LoopRequest[] requests = [Request(0, 45), Request(1, 45)];
        LoopAnswer[] alone = [.. requests.Select(r => r.RunAlone())];
        for (int i = 0; i < 2; i++) oracle.Record(requests[i].Prompt, requests[i].Sampling, alone[i].Tokens);
        using var rig = new LoopRig(options, oracle, kvTokens: 128); // 8 pages: just what the two come to need without drafts
        Sequence[] sequences = [.. requests.Select(r => r.Submit(rig))];
        rig.RunToEnd();
        for (int i = 0; i < 2; i++) alone[i].AssertEqual(sequences[i]);
        Assert.Equal((0L, 0L), (rig.Loop.Statistics.Preemptions, rig.Loop.Statistics.Stalls));
        Assert.True(sequences.Sum(s => s.Statistics.AcceptedTokens) > 60);
    }

    [Fact]
    public void A_long_prompt_stalls_neither_running_answers_nor_short_prompts()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 4, maxRows: 24, chunk: 20));
        Sequence running = Request(0, 100).Submit(rig);
        rig.Loop.Step();
        Sequence slow = new LoopRequest(LoopRig.Prompt(400, 2), 5, SamplingOptions.Greedy).Submit(rig);
        rig.Loop.Step();
        Sequence quick = new LoopRequest(LoopRig.Prompt(10, 3), 5, SamplingOptions.Greedy).Submit(rig);
        for (int step = 0; step < 6; step++) rig.Loop.Step();
        Assert.Equal(1 + 1 + 6, running.History.GeneratedCount);
        Assert.Equal((5, 0), (quick.History.GeneratedCount, slow.History.GeneratedCount)); // 5 rows of its prompt per pass, then one of its answer
        rig.RunToEnd();
        Assert.Equal(1 + 2 + 17, slow.Statistics.PrefillSteps); // 20, twice 15, then 20 rows each, the last 10 with its first token
    }

    [Fact]
    public void Sizes_that_the_cache_was_not_planned_for_are_refused()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 2, context: 64));
        DecodeLoopOptions larger = LoopRig.Options(maxSequences: 2, context: 128);
        var error = Assert.Throws<ArgumentException>(
            () => new DecodeLoop(rig.Backend.Model(larger.MaxRows, larger.MaxRows), rig.Cache, new NoDrafter(), larger));
        Assert.Contains("128", error.Message, StringComparison.Ordinal);
    }

    private static LoopRequest Request(int seed, int maxTokens = 6) => new(LoopRig.Prompt(10, (ulong)(seed + 1)), maxTokens, SamplingOptions.Greedy);
}
