using Foretoken.Generation;

namespace Foretoken.Tests.Generation;

public class SchedulerSimulationTests
{
    private const int FastRuns = 160, SlowRuns = 2000, Batches = 2;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Any_history_gives_every_request_its_solo_answer_in_the_order_of_service(int batch) =>
        AssertEverythingHappened([.. Enumerable.Range(0, FastRuns / Batches).Select(i => SchedulerSimulation.Run((ulong)(batch * FastRuns + i)))]);

    [Fact]
    public void More_than_a_hundred_sequences_run_together()
    {
        SchedulerSimulation[] runs = [.. Enumerable.Range(0, 4).Select(i => SchedulerSimulation.Run((ulong)(900 + i), sequences: 130))];
        Assert.True(runs.Max(r => r.LargestBatch) >= 128);
        Assert.All(runs, r => Assert.True(r.LargestBatch > 20));
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Thousands_of_histories_give_every_request_its_solo_answer() =>
        AssertEverythingHappened([.. Enumerable.Range(0, SlowRuns).Select(i => SchedulerSimulation.Run((ulong)(10_000 + i)))]);

    private static void AssertEverythingHappened(SchedulerSimulation[] runs)
    {
        string ends = string.Join(", ", runs.SelectMany(r => r.Ends).GroupBy(e => e.Key).Select(g => $"{g.Key} {g.Sum(e => e.Value)}"));
        FinishReason[] reasons = [FinishReason.Stop, FinishReason.Length, FinishReason.Cancelled, FinishReason.Deadline, FinishReason.KvBudget];
        foreach (FinishReason reason in reasons)
            Assert.True(runs.Any(r => r.Ends.ContainsKey(reason)), $"no request ended with {reason}: {ends}");
        Assert.True(runs.Sum(r => r.Statistics.Preemptions) > 20);
        Assert.True(runs.Sum(r => r.Statistics.PreemptedTokens) > 200);
        Assert.True(runs.Sum(r => r.Statistics.Rejected) > 20);
        Assert.True(runs.Sum(r => r.AcceptedDrafts) > 200);
        Assert.True(runs.Sum(r => r.ReusedTokens) > 200);
        Assert.True(runs.Min(r => r.Statistics.LiveFraction) < 0.9);
    }
}
