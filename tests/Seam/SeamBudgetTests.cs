using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Xunit.Abstractions;

namespace Foretoken.Tests.Seam;

/// <summary>A KV budget that is too small: how many run, who gives way, and that no answer changes by it.</summary>
public sealed class SeamBudgetTests(SeamModels models, ITestOutputHelper output) : IClassFixture<SeamModels>
{
    public static TheoryData<SeamPolicy, int, KvType, bool, bool> Cases()
    {
        var cases = new TheoryData<SeamPolicy, int, KvType, bool, bool>();
        KvType[] types = [KvType.F32, KvType.BF16, KvType.F16, KvType.Int8];
        (SeamPolicy, int)[] policies = [(SeamPolicy.Dense, 6), (SeamPolicy.SlidingWindow, 32), (SeamPolicy.Dms2, 6), (SeamPolicy.Dms4, 16), (SeamPolicy.Dms8, 32), (SeamPolicy.Dms8, 64)];
        for (int i = 0; i < policies.Length; i++)
        {
            for (int j = 0; j < 2; j++) cases.Add(policies[i].Item1, policies[i].Item2, types[(i + 2 * j + i / 4) % 4], j == 1, i % 2 == j);
        }

        return cases;
    }

    /// <summary>
    /// Twelve answers of 100 tokens in 16 pages per head, of which eviction lets each need more in the end than its prompt. All have the same priority: whoever is
    /// preempted gave way because pages ran out, and came back.
    /// </summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void Pages_that_run_out_preempt_and_change_no_answer(SeamPolicy policy, int window, KvType kv, bool forked, bool prefixes)
    {
        const int count = 12, answer = 100;
        SeamCombination c = Combination(policy, window, kv) with { Sampled = true, Penalties = forked };
        int samples = forked ? 4 : 1;
        SeamRequest[] requests = [.. Enumerable.Range(0, count).Select(i => SeamRequest.Number(1 + i / samples % 7, c, i % samples + i / 7) with { MaxTokens = answer })];
        SeamAnswer[] alone = [.. requests.Select(r => models.Alone(c, r))];
        var drafter = new SeamDrafter(c.Drafts, models.Directory);
        for (int i = 0; i < count; i++) drafter.Record(requests[i], alone[i]);
        using SeamLoop run = models.Loop(c, new SeamSize(count, 64, prefixes ? 8 : 0, Budget: 16 * SeamModels.SlotsPerPage), drafter);
        Sequence[] all = [.. requests.Select(r => r.Sequence())];
        for (int i = 0; i < count; i += samples) run.Loop.Submit(all.AsSpan(i, samples));
        while (run.Loop.Step())
        {
            KvStatistics kept = run.Cache.Statistics;
            Assert.True(kept.PagesReserved <= kept.PagesTotal && kept.PagesHeld <= kept.PagesReserved);
        }

        for (int i = 0; i < count; i++)
        {
            SeamRun.AssertSame(alone[i].Tokens, all[i].History.Generated.ToArray(), $"request {i}", "token");
            SeamRun.AssertSame(alone[i].LogProbBits, SeamAnswer.Of(all[i]).LogProbBits, $"request {i}", "log-probability");
        }

        SchedulerStatistics s = run.Loop.Statistics;
        output.WriteLine($"{s.Preemptions} preemptions of {s.PreemptedTokens} tokens, {s.Forks} forks, {run.Cache.Statistics.Prefixes.ReusedTokens} reused tokens");
        Assert.True(s.Preemptions > 0 && s.PreemptedTokens > 0, "the budget was enough");
        Assert.Equal(0, s.EndedByKvBudget);
        run.Cache.ClearPrefixes();
        Assert.Equal((0, run.Cache.PagesTotal), (run.Cache.Statistics.PagesReserved, run.Cache.Statistics.PagesFree));
    }

    /// <summary>
    /// What eviction is for: under one budget of 80 pages per head, in which four dense requests of 17 pages run together, many more run once it is measured what
    /// delayed eviction at 8× leaves of them.
    /// </summary>
    [Fact]
    public void Under_one_budget_delayed_eviction_at_8_runs_several_times_as_many_requests_as_a_dense_cache()
    {
        const int requests = 30, answer = 220;
        SeamRequest Request(int i) => SeamRequest.Number(8 * (i % 3), Combination(SeamPolicy.Dense, 1, KvType.BF16)) with { MaxTokens = answer, Sampling = new SamplingOptions { Temperature = 1, Seed = (ulong)i } };
        int Most(SeamPolicy policy, out double live)
        {
            SeamCombination c = Combination(policy, 16, KvType.BF16);
            using SeamLoop run = models.Loop(c, new SeamSize(requests, 64, Budget: 80 * SeamModels.SlotsPerPage, Answer: answer), SeamPlain.Instance);
            Sequence[] all = [.. Enumerable.Range(0, requests).Select(i => Request(i).Sequence())];
            foreach (Sequence s in all) run.Loop.Submit(s);
            int most = 0;
            while (run.Loop.Step()) most = Math.Max(most, run.Loop.Statistics.Running);
            foreach (int i in new[] { 0, 7, 16, 29 }) SeamRun.AssertSame(models.Alone(c, Request(i)).Tokens, all[i].History.Generated.ToArray(), $"request {i}", "token");
            Assert.Equal(0, run.Loop.Statistics.EndedByKvBudget);
            live = run.Loop.Statistics.LiveFraction;
            output.WriteLine($"{policy}: {most} at a time, {live:P0} of the tokens live, {run.Loop.Steps} passes, {run.Loop.Statistics.Preemptions} preemptions");
            return most;
        }

        int dense = Most(SeamPolicy.Dense, out double all), evicting = Most(SeamPolicy.Dms8, out double left);
        Assert.Equal((4, 1.0), (dense, all));
        Assert.InRange(left, 0.1, 0.4);
        Assert.InRange(evicting, 3 * dense, requests);
    }

    private static SeamCombination Combination(SeamPolicy policy, int window, KvType kv) => SeamCombination.FromIndex(0) with
    {
        Drafts = SeamDrafts.Oracles[2], Policy = policy, Window = window, Kv = kv, Weights = WeightType.F32, Threads = 1, SharedTokens = 16,
        Penalties = false, Forked = false, Sampled = false,
    };
}
