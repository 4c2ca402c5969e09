using System.Collections.Concurrent;
using System.Globalization;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Xunit.Sdk;

namespace Foretoken.Tests.Generation;

/// <summary>
/// One random history of a loop: requests of all kinds arrive, are cancelled, run out of time, are preempted, in a cache that is too small, with an oracle
/// that is right at times. Everything is drawn from the seed, which a failure names and which replays it.
/// </summary>
internal sealed class SchedulerSimulation : IDisposable
{
    public const string ReplayKind = "scheduler";
    private const int Context = 128, SlotsPerPage = 16;
    private static readonly IEvictionPolicy[] Policies =
    [
        new DensePolicy(), new DensePolicy(), new SlidingWindowPolicy(24), new PositionLives(),
        new DmsPolicy(5, SyntheticDecisions.ForCompression(1, 4)), new DmsPolicy(20, SyntheticDecisions.ForCompression(2, 8)),
    ];

    private static readonly PoolEntry[] Pool = [.. Enumerable.Range(0, 60).Select(MakeRequest)];
    private readonly SeededRandom _random;
    private readonly FakeClock _clock = new();
    private readonly DecodeLoopOptions _options;
    private readonly OracleOptions? _oracle;
    private readonly CheckedDrafter _drafter;
    private readonly LoopRig _rig;
    private readonly SchedulerModel _model;
    private readonly IEvictionPolicy _policy;
    private readonly int _priorities, _kvTokens, _maxArrivals, _prefixes;
    private readonly double _arrivalRate, _cancelRate, _deadlineRate, _sampleRate;

    private SchedulerSimulation(ulong seed, int sequences, string? everythingUnder, SchedulerDefect defect)
    {
        _random = new SeededRandom(seed, 7);
        bool everything = everythingUnder is not null;
        _prefixes = everything ? 20 : _random.Pick([0, 0, 3, 20]);
        _policy = everything ? _random.Pick([.. Policies.Where(p => p.Name == everythingUnder)]) : _random.Pick(Policies);
        int maxSequences = sequences > 0 ? sequences : _random.Pick([1, 2, 3, 5, 8, 17]);
        bool measured = everything || _random.Chance(0.5), enough = !measured || sequences > 0 || _random.Chance(0.6);
        _options = new DecodeLoopOptions
        {
            ContextLength = Context,
            MaxSequences = maxSequences,
            MaxRows = maxSequences + _random.Pick([0, 1, 6, 50, 250]),
            PrefillChunk = _random.Pick(_policy.ActsAtCommit ? new[] { 1, 3, 8 } : [1, 3, 8, 40]),
            MaxWaiting = sequences > 0 ? 4 * sequences : 1 + _random.Next(20),
            MaxOvertakes = 1 + _random.Next(6),
            KvAdmission = measured ? KvAdmission.Measured : KvAdmission.WorstCase,
            KvExhaustion = measured && _random.Chance(0.2) ? KvExhaustion.End : KvExhaustion.Preempt,
            ExpectedAnswerTokens = measured ? _random.Next(10) : 0,
            Time = _clock,
            Rules = defect == SchedulerDefect.None ? SchedulingRules.Default : new PlantedRules(defect),
        };
        _kvTokens = enough ? Context + _random.Next(sequences * 40, 20 + maxSequences * 60) : 16 + _random.Next(80);
        _oracle = DrawOracle(everything);
        _drafter = new CheckedDrafter(_oracle is null ? new NoDrafter() : MakeOracle(_oracle, _policy));
        IDrafter drafter = _drafter;
        if (defect == SchedulerDefect.RecomputesOneTokenLess)
            drafter = new ForgetfulRelease(_drafter, path => _model!.Entries.Any(e => e.Sequence.History == path && !e.Sequence.Finished));
        _rig = new LoopRig(_options, drafter, _kvTokens, policy: PlantedRules.Policy(defect, _policy), prefixes: _prefixes);
        _model = new SchedulerModel(_options, _rig.Cache.PagesTotal, SlotsPerPage);
        _priorities = _random.Pick([1, 1, 2, 4]);
        _maxArrivals = sequences > 0 ? 2 * sequences : 40;
        _arrivalRate = sequences > 0 ? 0.95 : _random.Pick([0.1, 0.4, 0.8]);
        _cancelRate = everything ? 0.02 : _random.Pick([0, 0.02, 0.1]);
        _deadlineRate = _random.Pick([0, 0.1, 0.5]);
        _sampleRate = everything || _random.Chance(0.3) ? 0.3 : 0;
    }

    /// <summary>What happened, so that tests can tell that something did.</summary>
    public SchedulerStatistics Statistics { get; private set; }

    public long ReusedTokens { get; private set; }

    /// <summary>Tokens that samples shared with others of their request.</summary>
    public long SharedTokens { get; private set; }

    /// <summary>Drafts, forks, prefixes, preemptions and cancellations all happened.</summary>
    public bool HadEverything => AcceptedDrafts > 0 && ReusedTokens > 0 && SharedTokens > 0 && Statistics.Preemptions > 0 && Ends.ContainsKey(FinishReason.Cancelled);

    /// <summary>Name of the eviction policy.</summary>
    public string Policy => _policy.Name;

    /// <summary>Sequences that gave way, each held to the order of service.</summary>
    public int Victims { get; private set; }

    public long Steps => _rig.Loop.Steps;

    /// <summary>Arrivals, cancellations and passes.</summary>
    public long Events => Steps + _model.Entries.Count + _model.Entries.Count(e => e.Cancelled);

    public long AcceptedDrafts => _drafter.Accepted;

    public int LargestBatch { get; private set; }

    public Dictionary<FinishReason, int> Ends { get; } = [];

    /// <param name="seed">Names the whole history.</param>
    /// <param name="sequences">Sequences that run at a time; 0 = drawn.</param>
    /// <param name="everythingUnder">Name of a policy: drafts, prefixes, cancellations and measured admission then come together; null = all drawn.</param>
    /// <param name="defect">What is planted.</param>
    public static SchedulerSimulation Run(ulong seed, int sequences = 0, string? everythingUnder = null, SchedulerDefect defect = SchedulerDefect.None)
    {
        var simulation = new SchedulerSimulation(seed, sequences, everythingUnder, defect);
        try
        {
            simulation.Run();
            return simulation;
        }
        catch (Exception e)
        {
            string[] values = [seed.ToString(CultureInfo.InvariantCulture), sequences.ToString(CultureInfo.InvariantCulture), everythingUnder ?? "", defect.ToString()];
            throw new XunitException($"{SimulationReplay.Variable}={new SimulationReplay(ReplayKind, values)} fails: {simulation}\n{e}");
        }
        finally
        {
            simulation.Dispose();
        }
    }

    /// <summary>Runs a history that a failure has named.</summary>
    public static SchedulerSimulation Run(SimulationReplay replay) => Run(
        replay.Seed, int.Parse(replay.Values[1], CultureInfo.InvariantCulture), replay.Values[2] is { Length: > 0 } policy ? policy : null,
        Enum.Parse<SchedulerDefect>(replay.Values[3]));

    public override string ToString() => $"step {_rig.Loop.Steps}, {_options}, {_oracle}, KV of {_kvTokens} tokens, {_priorities} priorities, {_policy.Name}, {_prefixes} prefixes";

    public void Dispose() => _rig.Dispose();

    private void Run()
    {
        for (int steps = 0; steps < 20_000; steps++)
        {
            while (_model.Entries.Count < _maxArrivals && _random.Chance(_arrivalRate)) Arrive();
            foreach (ModelEntry e in _model.Entries.Where(e => !e.Sequence.Finished && _random.Chance(_cancelRate / 8)))
            {
                e.Sequence.Cancel();
                e.Cancelled = true;
            }

            _clock.Advance(_random.Next(3));
            if (!Step() && _model.Entries.Count == _maxArrivals) break;
        }

        Assert.Equal(0, _rig.Loop.ActiveCount);
        ReusedTokens = _rig.Cache.Statistics.Prefixes.ReusedTokens;
        _rig.AssertCacheEmpty();
        Assert.Equal(0, _drafter.Known);
        Assert.InRange(_rig.Backend.LargestPass, 0, _options.MaxRows);
        foreach (ModelEntry e in _model.Entries) CheckEnd(e);
        Statistics = _rig.Loop.Statistics;
        SharedTokens = _model.Entries.Sum(e => (long)e.Sequence.Statistics.SharedTokens);
        Assert.Equal(_model.Entries.Count, Statistics.Submitted);
    }

    private void Arrive()
    {
        PoolEntry drawn = _random.Pick(Pool);
        int samples = _sampleRate > 0 && _random.Chance(_sampleRate) ? 2 + _random.Next(PoolEntry.Samples - 1) : 1;
        LoopRequest request = drawn.Request;
        bool full = _model.Waiting.Count() + samples > _options.MaxWaiting;
        int priority = _random.Next(_priorities);
        int milliseconds = _random.Chance(_deadlineRate) ? 1 + _random.Next(80) : 0;
        TimeSpan? deadline = milliseconds > 0 ? TimeSpan.FromMilliseconds(milliseconds) : null;
        if (full)
        {
            Assert.Equal(_model.Waiting.Count(), Assert.Throws<QueueFullException>(() => drawn.Submit(_rig, samples, priority, deadline)).Waiting);
            _clock.Advance(1);
            Step();
            return;
        }

        long end = milliseconds > 0 ? _clock.GetTimestamp() + milliseconds : long.MaxValue;
        foreach (Sequence s in drawn.Submit(_rig, samples, priority, deadline)) _model.Entries.Add(new ModelEntry(s, request, _model.Entries.Count, end));
    }

    private bool Step()
    {
        long now = _clock.GetTimestamp();
        ModelEntry[] live = [.. _model.Entries.Where(e => !e.Sequence.Finished)];
        bool[] ran = [.. live.Select(e => e.Running)], held = [.. live.Select(e => e.Sequence.CacheIndex >= 0)];
        ModelEntry[] overdue = [.. live.Where(e => e.Sequence is { Overdue: true, CacheIndex: >= 0 })];
        bool[] decoding = [.. live.Select(e => e.Sequence.CacheIndex is var c and >= 0 && e.Sequence.History.Count - _rig.Cache.Length(c) == 1)];
        int[] tokens = [.. live.Select(e => e.Sequence.History.GeneratedCount)], preemptions = [.. live.Select(e => e.Sequence.Statistics.Preemptions)];
        bool exact = _options.KvAdmission == KvAdmission.WorstCase && !_policy.Evicts && _prefixes == 0 && _sampleRate == 0; // these admit more
        if (exact) _model.Admit(now);
        long stalls = _rig.Loop.Statistics.Stalls;
        bool active = _rig.Loop.Step();
        stalls = _rig.Loop.Statistics.Stalls - stalls;
        for (int i = 0; i < live.Length; i++)
        {
            Sequence s = live[i].Sequence;
            bool ended = _model.Ends(live[i], now), running = s.CacheIndex >= 0;
            if (ended) Assert.Equal(live[i].Cancelled ? FinishReason.Cancelled : FinishReason.Deadline, s.FinishReason);
            else Assert.False(s.FinishReason is FinishReason.Cancelled or FinishReason.Deadline or FinishReason.Error, s.Error ?? "ended too early");
            if (exact && !ended) Assert.Equal(live[i].Running, running || s.Finished);
            if (!exact && _sampleRate == 0) NoteAdmission(live, live[i], ran[i], running || (s.Finished && !ended));
            bool stays = decoding[i] && running && s.Statistics.Preemptions == preemptions[i];
            if (stays && stalls == 0) Assert.True(s.History.GeneratedCount > tokens[i], "a running answer got no token");
            Assert.InRange(live[i].Passed, 0, _options.MaxOvertakes);
        }

        if (_sampleRate > 0)
        {
            foreach (ModelEntry e in live) e.Running = e.Sequence.CacheIndex >= 0;
        }

        if (_options.KvAdmission == KvAdmission.WorstCase)
            Assert.Equal((0, 0), ((int)stalls, _priorities == 1 ? live.Sum(e => e.Sequence.Statistics.Preemptions) : 0));
        CheckVictims(live, held, overdue, preemptions);
        LargestBatch = Math.Max(LargestBatch, live.Count(e => e.Running));
        CheckBooks();
        return active;
    }

    /// <summary>Under measured admission the model does not foresee who is admitted, but it holds the order and the limit of overtaking.</summary>
    private void NoteAdmission(ModelEntry[] live, ModelEntry admitted, bool ran, bool runs)
    {
        admitted.Running = runs;
        if (ran || !runs || admitted.Sequence.Overdue) return;
        foreach (ModelEntry waits in live)
        {
            Sequence w = waits.Sequence;
            if (w.CacheIndex >= 0 || w.Finished || w.Statistics.Preemptions > 0) continue; // one preempted may have run when the other was admitted
            Assert.True(
                w.Priority < admitted.Sequence.Priority || (w.Priority == admitted.Sequence.Priority && waits.Arrival > admitted.Arrival),
                $"request {admitted.Arrival} was admitted ahead of request {waits.Arrival}");
            if (waits.Arrival < admitted.Arrival) waits.Passed++;
        }
    }

    /// <summary>
    /// Whoever gives way in a step stands behind all that run after it and did not: the last in rank give way first. Where one may pass samples that wait for
    /// their prompt, those who are new are left out.
    /// </summary>
    /// <param name="live">All that had not ended before the step.</param>
    /// <param name="held">Whether each ran before it.</param>
    /// <param name="overdue">Those who ran and whom nobody was allowed to pass; once they wait again, that may change.</param>
    /// <param name="preemptions">How often each had given way.</param>
    private void CheckVictims(ModelEntry[] live, bool[] held, ModelEntry[] overdue, int[] preemptions)
    {
        bool GaveWay(int i) =>
            live[i].Sequence.Statistics.Preemptions > preemptions[i] || (held[i] && live[i].Sequence.FinishReason == FinishReason.KvBudget);
        for (int v = 0; v < live.Length; v++)
        {
            if (!GaveWay(v)) continue;
            ModelEntry victim = live[v];
            bool wasOverdue = held[v] ? overdue.Contains(victim) : victim.Sequence.Overdue;
            Victims++;
            for (int i = 0; i < live.Length; i++)
            {
                if (GaveWay(i) || live[i].Sequence.CacheIndex < 0 || (!held[i] && _sampleRate > 0)) continue;
                Assert.True(
                    SchedulerModel.Precedes(live[i], live[i].Sequence.Overdue, victim, wasOverdue),
                    $"request {victim.Arrival} gave way and request {live[i].Arrival} did not, which stands behind it");
            }
        }
    }

    private void CheckBooks()
    {
        KvStatistics kv = _rig.Cache.Statistics;
        Assert.True(kv.PagesReserved <= kv.PagesTotal && kv.PagesHeld <= kv.PagesReserved);
        Assert.Equal(_rig.Loop.Statistics.Running, kv.Sequences);
        Assert.True(kv.Sequences <= _options.MaxSequences);
    }

    private void CheckEnd(ModelEntry e)
    {
        Sequence s = e.Sequence;
        LoopAnswer alone = Pool.Single(p => ReferenceEquals(p.Request, e.Request)).Alone(_policy, s.Sampling);
        Ends[s.FinishReason] = Ends.GetValueOrDefault(s.FinishReason) + 1;
        if (s.FinishReason is FinishReason.Stop or FinishReason.Length) alone.AssertEqual(s);
        else alone.AssertBegins(s);
        if (s.FinishReason == FinishReason.KvBudget && _options.KvExhaustion == KvExhaustion.Preempt && !_policy.Evicts)
        {
            int all = _rig.Cache.PagesTotal * SlotsPerPage; // the newest token needs no slot
            Assert.True(s.History.GeneratedCount > 0 ? s.History.Count == all + 1 : s.History.Count > all, "ended although the budget had room");
        }

        GenerationStatistics statistics = s.Statistics;
        Assert.Equal((s.History.GeneratedCount, s.History.GeneratedCount), (statistics.GeneratedTokens, statistics.Steps + statistics.AcceptedTokens));
        Assert.True(statistics.AcceptedTokens <= statistics.DraftedTokens);
        Assert.Equal(statistics.AcceptedTokens, statistics.AcceptedAt.ToArray().Sum()); // the oracle's trees are not deeper than what is counted
        for (int i = 0; i < statistics.AcceptedAt.Length; i++) Assert.True(statistics.AcceptedAt[i] <= statistics.DraftedAt[i]);
    }

    private OracleOptions? DrawOracle(bool always)
    {
        double acceptance = always ? 0.7 : _random.Pick([0, 0.5, 0.9, 1]);
        return (always ? 1 + _random.Next(2) : _random.Next(4)) switch
        {
            0 => null,
            1 => new OracleOptions { VocabSize = LoopRig.Vocab, Depth = 1 + _random.Next(9), Acceptance = acceptance, Seed = _random.NextBits() },
            _ => new OracleOptions
            {
                VocabSize = LoopRig.Vocab, Depth = 1 + _random.Next(6), Siblings = 1 + _random.Next(4), SiblingDepth = 1 + _random.Next(4),
                Acceptance = acceptance, Seed = _random.NextBits(),
            },
        };
    }

    private static OracleDrafter MakeOracle(OracleOptions options, IEvictionPolicy policy)
    {
        var oracle = new OracleDrafter(options);
        foreach (PoolEntry e in Pool)
        {
            for (int i = 0; i < PoolEntry.Samples; i++) oracle.Record(e.Request.Prompt, e.Request.Sampling.OfSample(i), e.Alone(policy, e.Request.Sampling.OfSample(i)).Tokens);
        }

        return oracle;
    }

    private static PoolEntry MakeRequest(int i)
    {
        var random = new SeededRandom((ulong)i, 8);
        int[] prompt = LoopRig.Prompt(1 + random.Next(i % 3 == 0 ? 40 : 8), (ulong)(1000 + i / 2)); // in pairs that differ in their options only
        if (i % 3 == 0) prompt = [.. LoopRig.Prompt(32, 999), .. prompt]; // a system prompt of two blocks
        var sampling = new SamplingOptions { LogProbs = random.Chance(0.5) };
        if (random.Chance(0.6))
        {
            sampling = sampling with
            {
                Temperature = 0.9f, TopK = random.Pick([0, 30]), TopP = random.Pick([1f, 0.9f]), MinP = random.Pick([0f, 0.02f]), Seed = (ulong)i,
            };
        }

        if (random.Chance(0.5)) sampling = sampling with { RepetitionPenalty = 1.2f, PresencePenalty = 0.3f, FrequencyPenalty = 0.1f };
        var request = new LoopRequest(prompt, 1 + random.Next(50), sampling)
        {
            StopTokens = random.Chance(0.3) ? [random.Next(LoopRig.Vocab)] : [],
            StopStrings = random.Chance(0.3) ? [Letters(2), Letters(1)] : [],
        };
        string Letters(int count) => string.Concat(Enumerable.Range(0, count).Select(_ => (char)('A' + random.Next(LoopRig.Vocab))));
        return new PoolEntry(request);
    }

    private sealed class PoolEntry(LoopRequest request)
    {
        /// <summary>Most samples of a request.</summary>
        public const int Samples = 4;

        private readonly ConcurrentDictionary<(IEvictionPolicy, ulong Seed), LoopAnswer> _alone = [];

        public LoopRequest Request => request;

        public LoopAnswer Alone(IEvictionPolicy policy, SamplingOptions sampling) => _alone.GetOrAdd(
            (policy, sampling.IsGreedy ? 0 : sampling.Seed), _ => (request with { Sampling = sampling }).RunAlone(policy: policy, chunk: 1));

        public Sequence[] Submit(LoopRig rig, int samples, int priority, TimeSpan? deadline)
        {
            Sequence[] sequences = [.. Enumerable.Range(0, samples).Select(i => LoopRig.Sequence(
                request.Prompt, request.MaxTokens, request.Sampling.OfSample(i), request.StopTokens, request.StopStrings, priority, deadline))];
            rig.Loop.Submit(sequences);
            return sequences;
        }
    }
}
