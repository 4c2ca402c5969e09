using System.Globalization;
using System.Text.RegularExpressions;
using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.KvCache;

/// <summary>Random interleavings of all operations against lists of tokens. A failure names its seed, which replays it.</summary>
public sealed class PagedKvCacheSimulationTests
{
    private const string ReplayKind = "cache";

    public static TheoryData<int> FewSeeds() => [.. Enumerable.Range(0, 24)];

    [Theory]
    [MemberData(nameof(FewSeeds))]
    public void Cache_equals_lists_of_tokens_under_random_operations(int seed) => Run(seed, 250);

    [Fact]
    [Trait("Category", "Slow")]
    public void Cache_equals_lists_of_tokens_under_random_operations_of_many_seeds()
    {
        for (int seed = 1000; seed < 1200; seed++) Run(seed, 400);
    }

    [Fact]
    public void Every_kind_of_operation_happens()
    {
        var done = new SortedDictionary<string, int>();
        for (int seed = 0; seed < 12; seed++)
        {
            foreach ((string what, int count) in Run(seed, 250)) done[what] = done.GetValueOrDefault(what) + count;
        }

        foreach (string what in new[] { "attach", "cancel", "fork", "no pages", "pass", "preempt", "publish", "reclaim", "release", "truncate" })
            Assert.True(done.GetValueOrDefault(what) >= 20, $"{what} happened {done.GetValueOrDefault(what)} times");
    }

    [Fact]
    public void Canary_flag_applied_one_token_early_is_caught()
    {
        Exception? caught = Record.Exception(() => Run(3, 250, new DmsPolicy(4, new EveryThird(-1)), new DmsPolicy(4, new EveryThird(0))));
        Assert.Contains("seed 3, step ", caught?.Message);
        Assert.Matches("expires at|is lost", caught?.Message);
    }

    /// <summary>In the sequence that was corrupted, and not only when the books are closed at the end.</summary>
    [Theory]
    [InlineData(CacheDefect.ForgetsHolder)]
    [InlineData(CacheDefect.StoresUnderOtherTokens)]
    public void Canary_planted_defect_of_sharing_is_caught(CacheDefect defect)
    {
        string[] caught = [.. Enumerable.Range(0, 24).Select(seed => Record.Exception(() => Run(seed, 250, defect: defect))?.Message).OfType<string>()];
        Assert.True(caught.Length >= 6, $"{caught.Length} of 24 runs with {defect} failed");
        Assert.All(caught, c => Assert.StartsWith($"{SimulationReplay.Variable}=cache:", c, StringComparison.Ordinal));
        Assert.True(caught.Count(c => Regex.IsMatch(c, "position [0-9]+ of [0-9]+, sequence [0-9], layer [0-9], head [0-9](: (key|value)| is lost| expires)")) >= caught.Length / 2, string.Join('\n', caught));
    }

    [Fact]
    public void Replay_of_a_printed_seed_fails_again_in_the_same_place()
    {
        string failure = Enumerable.Range(0, 24).Select(seed => Record.Exception(() => Run(seed, 250, defect: CacheDefect.ForgetsHolder))?.Message).OfType<string>().First();
        var replay = SimulationReplay.Parse(failure[(SimulationReplay.Variable.Length + 1)..failure.IndexOf(' ', StringComparison.Ordinal)]);
        Assert.Equal(ReplayKind, replay.Kind);
        Assert.Equal(failure, Record.Exception(() => Run(replay))?.Message);
    }

    /// <summary>The run that the environment names.</summary>
    [Fact]
    public void Replay_of_the_run_that_the_environment_names()
    {
        if (SimulationReplay.FromEnvironment() is { Kind: ReplayKind } replay) Run(replay);
    }

    private static void Run(SimulationReplay replay) => Run((int)replay.Seed, int.Parse(replay.Values[1], CultureInfo.InvariantCulture), defect: Enum.Parse<CacheDefect>(replay.Values[2]));

    private static SortedDictionary<string, int> Run(
        int seed, int steps, IEvictionPolicy? planted = null, IEvictionPolicy? expected = null, CacheDefect defect = CacheDefect.None)
    {
        IEvictionPolicy policy = planted ?? PolicyOf(seed);
        KvType[] types = Enum.GetValues<KvType>();
        int reclaimBatch = seed % 3 == 0 ? 1 : seed % 3 * 7;
        using var simulation = new CacheSimulation((ulong)seed, types[seed % types.Length], policy, reclaimBatch, prefixes: seed % 5, expected, defect);
        int step = 0;
        try
        {
            for (; step < steps; step++) simulation.Step();
            simulation.ReleaseAll();
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{SimulationReplay.Variable}={ReplayKind}:{seed}/{steps}/{defect} fails: seed {seed}, step {step}, {policy.Name}: {e.Message}", e);
        }

        return simulation.Done;
    }

    private static IEvictionPolicy PolicyOf(int seed) => (seed / 2 % 6) switch
    {
        0 => new DensePolicy(),
        1 => new SlidingWindowPolicy(1 + seed % 40),
        2 => new SinksPolicy(5 + seed % 50),
        3 => new RandomPolicy(0.4, 1 + seed % 20, (ulong)seed),
        4 => new DmsPolicy(1 + seed % 5, new SyntheticDecisions((ulong)seed, 0.7), shift: seed / 6 % (2 + seed % 5)),
        _ => new DmsPolicy(16, new SyntheticDecisions((ulong)seed, 0.875)),
    };

    private sealed class EveryThird(int shift) : IDmsDecisionSource
    {
        public bool Evicts(int layer, int kvHead, int position, int token) => (position + shift) % 3 == 0;
    }
}
