using Foretoken.Generation;
using Foretoken.KvCache;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Foretoken.Tests.Generation;

public class SchedulerSimulationTests(ITestOutputHelper output)
{
    private const int FastRuns = 160, SlowRuns = 4000, Batches = 2, TogetherRuns = 60;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Any_history_gives_every_request_its_solo_answer_in_the_order_of_service(int batch) =>
        AssertEverythingHappened([.. Enumerable.Range(0, FastRuns / Batches).Select(i => SchedulerSimulation.Run((ulong)(batch * FastRuns + i)))]);

    /// <summary>Evictions, drafts, forks, stored prefixes, preemptions and cancellations in one history, of which many have them all.</summary>
    [Theory]
    [InlineData("dms")]
    [InlineData("window")]
    [InlineData("dense")]
    public void Everything_together_gives_every_request_its_solo_answer(string policy)
    {
        SchedulerSimulation[] runs = [.. Enumerable.Range(0, TogetherRuns).Select(i => SchedulerSimulation.Run((ulong)(5000 + i), everythingUnder: policy))];
        Assert.True(runs.Count(r => r.HadEverything) >= TogetherRuns / 10, $"{runs.Count(r => r.HadEverything)} of {TogetherRuns} histories had everything");
        Assert.Equal(policy != "dense", runs.Min(r => r.Statistics.LiveFraction) < 0.9);
        Report(runs);
    }

    [Fact]
    public void Canary_window_one_position_too_long_is_caught()
    {
        var caught = Assert.ThrowsAny<XunitException>(() => SchedulerSimulation.Run(
            5000, everythingUnder: "dms", plant: p => new DmsPolicy(p.DecisionWindow + 1, p.Decisions)));
        Assert.StartsWith("SchedulerSimulation.Run(5000, 0, dms) fails: step ", caught.Message, StringComparison.Ordinal);
    }

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

    private void AssertEverythingHappened(SchedulerSimulation[] runs)
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
        Assert.True(runs.Sum(r => r.SharedTokens) > 200);
        Assert.True(runs.Min(r => r.Statistics.LiveFraction) < 0.9);
        Report(runs);
    }

    private void Report(SchedulerSimulation[] runs) => output.WriteLine(
        $"{runs.Length} histories of {runs.Sum(r => r.Events)} events ({runs.Sum(r => r.Steps)} passes): {runs.Sum(r => r.Statistics.Preemptions)} preemptions, "
        + $"{runs.Sum(r => r.Statistics.Rejected)} rejections, {runs.Sum(r => r.AcceptedDrafts)} accepted drafts, {runs.Sum(r => r.ReusedTokens)} tokens from prefixes, {runs.Sum(r => r.SharedTokens)} from other samples, "
        + $"{runs.Count(r => r.HadEverything)} histories with all of these and cancellations; ends: "
        + $"{string.Join(", ", runs.SelectMany(r => r.Ends).GroupBy(e => e.Key).Select(g => $"{g.Key} {g.Sum(e => e.Value)}"))}; "
        + $"policies: {string.Join(", ", runs.GroupBy(r => r.Policy).Select(g => $"{g.Key} {g.Count()}"))}");
}
