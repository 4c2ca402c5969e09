using Foretoken.Generation;
using Foretoken.Tests.Fixtures;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Foretoken.Tests.Generation;

public class SchedulerSimulationTests(ITestOutputHelper output)
{
    private const int FastRuns = 160, SlowRuns = 4000, Batches = 2, TogetherRuns = 60, CanaryRuns = 60;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Any_history_gives_every_request_its_solo_answer_in_the_order_of_service(int batch) =>
        AssertEverythingHappened([.. Enumerable.Range(0, FastRuns / Batches).Select(i => SchedulerSimulation.Run((ulong)(batch * FastRuns + i)))]);

    /// <summary>Evictions, drafts, forks, stored prefixes, preemptions and cancellations in one history, of which many have them all.</summary>
    [Theory]
    [InlineData("dms-random")]
    [InlineData("window")]
    [InlineData("dense")]
    public void Everything_together_gives_every_request_its_solo_answer(string policy)
    {
        SchedulerSimulation[] runs = [.. Enumerable.Range(0, TogetherRuns).Select(i => SchedulerSimulation.Run((ulong)(5000 + i), everythingUnder: policy))];
        Assert.True(runs.Count(r => r.HadEverything) >= TogetherRuns / 10, $"{runs.Count(r => r.HadEverything)} of {TogetherRuns} histories had everything");
        Assert.Equal(policy != "dense", runs.Min(r => r.Statistics.LiveFraction) < 0.9);
        Report(runs);
    }

    /// <summary>Each defect is found by what every history checks, in several of those that always run.</summary>
    [Theory]
    [InlineData(SchedulerDefect.SkipsOne, "a running answer got no token")]
    [InlineData(SchedulerDefect.PreemptsFirstInRank, "which stands behind it")]
    [InlineData(SchedulerDefect.RecomputesOneTokenLess, "Assert.Equal() Failure")]
    [InlineData(SchedulerDefect.WindowTooLong, "Assert.Equal() Failure")]
    public void Canary_planted_defect_is_caught(SchedulerDefect defect, string how)
    {
        string[] caught = [.. Enumerable.Range(0, CanaryRuns).Select(i => Failure((ulong)i, defect)).OfType<string>()];
        Assert.True(caught.Length >= CanaryRuns / 10, $"{caught.Length} of {CanaryRuns} histories with {defect} failed");
        Assert.All(caught, c => Assert.Matches($"^{SimulationReplay.Variable}=scheduler:[0-9]+/0//{defect} fails: step [0-9]+, ", c));
        Assert.True(caught.Count(c => c.Contains(how, StringComparison.Ordinal)) >= caught.Length / 2, string.Join("\n\n", caught));
        output.WriteLine($"{defect}: {caught.Length} of {CanaryRuns}; {string.Join(" | ", caught.Select(c => c.Split('\n')[1]).GroupBy(c => c).Select(g => $"{g.Count()} {g.Key}"))}");
    }

    /// <summary>What a failure prints runs the same history to the same failure; the same history without the defect is sound.</summary>
    [Fact]
    public void Replay_of_a_printed_seed_fails_again_in_the_same_place()
    {
        string failure = Enumerable.Range(0, CanaryRuns).Select(i => Failure((ulong)i, SchedulerDefect.PreemptsFirstInRank)).OfType<string>().First();
        string printed = failure[(SimulationReplay.Variable.Length + 1)..failure.IndexOf(' ', StringComparison.Ordinal)];
        var replay = SimulationReplay.Parse(printed);
        Assert.Equal((SchedulerSimulation.ReplayKind, printed), (replay.Kind, replay.ToString()));
        Assert.Equal(failure, Assert.Throws<XunitException>(() => SchedulerSimulation.Run(replay)).Message);
        SchedulerSimulation first = Sound(), second = Sound();
        Assert.Equal((first.Events, first.AcceptedDrafts, first.Victims, first.ToString()), (second.Events, second.AcceptedDrafts, second.Victims, second.ToString()));
        foreach (string wrong in new[] { "scheduler", "5001", ":1", "scheduler:" }) Assert.Throws<FormatException>(() => SimulationReplay.Parse(wrong));
        SchedulerSimulation Sound() => SchedulerSimulation.Run(SimulationReplay.Parse(printed.Replace(nameof(SchedulerDefect.PreemptsFirstInRank), "None", StringComparison.Ordinal)));
    }

    /// <summary>The history that the environment names.</summary>
    [Fact]
    public void Replay_of_the_history_that_the_environment_names()
    {
        if (SimulationReplay.FromEnvironment() is { Kind: SchedulerSimulation.ReplayKind } replay) Report([SchedulerSimulation.Run(replay)]);
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

    private static string? Failure(ulong seed, SchedulerDefect defect) =>
        (Record.Exception(() => SchedulerSimulation.Run(seed, defect: defect)) as XunitException)?.Message;

    private void AssertEverythingHappened(SchedulerSimulation[] runs)
    {
        string ends = string.Join(", ", runs.SelectMany(r => r.Ends).GroupBy(e => e.Key).Select(g => $"{g.Key} {g.Sum(e => e.Value)}"));
        FinishReason[] reasons = [FinishReason.Stop, FinishReason.Length, FinishReason.Cancelled, FinishReason.Deadline, FinishReason.KvBudget];
        foreach (FinishReason reason in reasons)
            Assert.True(runs.Any(r => r.Ends.ContainsKey(reason)), $"no request ended with {reason}: {ends}");
        Assert.True(runs.Sum(r => r.Statistics.Preemptions) > 20);
        Assert.True(runs.Sum(r => r.Statistics.PreemptedTokens) > 200);
        Assert.True(runs.Sum(r => r.Victims) > 20); // each held to the model's order
        Assert.True(runs.Sum(r => r.Statistics.Rejected) > 20);
        Assert.True(runs.Sum(r => r.AcceptedDrafts) > 200);
        Assert.True(runs.Sum(r => r.ReusedTokens) > 200);
        Assert.True(runs.Sum(r => r.SharedTokens) > 200);
        Assert.True(runs.Min(r => r.Statistics.LiveFraction) < 0.9);
        Report(runs);
    }

    private void Report(SchedulerSimulation[] runs) => output.WriteLine(
        $"{runs.Length} histories of {runs.Sum(r => r.Events)} events ({runs.Sum(r => r.Steps)} passes): {runs.Sum(r => r.Statistics.Preemptions)} preemptions, {runs.Sum(r => r.Victims)} victims as the model says, "
        + $"{runs.Sum(r => r.Statistics.Rejected)} rejections, {runs.Sum(r => r.AcceptedDrafts)} accepted drafts, {runs.Sum(r => r.ReusedTokens)} tokens from prefixes, {runs.Sum(r => r.SharedTokens)} from other samples, "
        + $"{runs.Count(r => r.HadEverything)} histories with all of these and cancellations; ends: "
        + $"{string.Join(", ", runs.SelectMany(r => r.Ends).GroupBy(e => e.Key).Select(g => $"{g.Key} {g.Sum(e => e.Value)}"))}; "
        + $"policies: {string.Join(", ", runs.GroupBy(r => r.Policy).Select(g => $"{g.Key} {g.Count()}"))}");
}
