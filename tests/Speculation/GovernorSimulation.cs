using Foretoken.Backends;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>
/// Steps of a loop whose model always says the next number, and whose passes and drafters take what they are set to on a clock of its own: what the Governor's choices
/// cost can be told exactly. A loaded machine is simulated too: the Governor then sees other times than those that count.
/// </summary>
internal sealed class GovernorSimulation
{
    private const double StepTicks = 1e9; // of a pass of one row per sequence
    private readonly Governor _governor;
    private readonly FeatureTaps _taps;
    private readonly SetDrafter[] _drafters;
    private readonly SimulatedClock _clock = new();
    private readonly TokenHistory[] _paths;
    private readonly int[] _ends;
    private readonly RowBatch _rows = new(4);
    private readonly TokenForest _forest;
    private readonly DraftRequest[] _requests;
    private readonly SeededRandom _random;
    private double _slowness = 1, _until; // of the loaded machine, and until when

    public GovernorSimulation(LoopRig rig, SetDrafter[] drafters, bool[]? readHidden = null, int sequences = 1, int answers = 100_000, int prompt = 1, ulong seed = 5)
    {
        _random = new SeededRandom(seed);
        var plan = new MemoryPlan();
        _drafters = drafters;
        foreach (SetDrafter d in drafters) (d.Clock, d.Sequences) = (_clock, sequences);
        _taps = new FeatureTaps(rig.Model.Shape, 64, plan);
        var context = new DrafterContext { Target = rig.Model, TargetCache = rig.Cache, Plan = plan, MaxSequences = sequences, ContextLength = 64, Taps = _taps };
        var options = new GovernorOptions(drafters.Select(_ => new NgramOptions()).ToArray());
        _governor = new Governor(options, context, drafters, readHidden ?? new bool[drafters.Length], _clock);
        (AnswerTokens, PromptTokens, _ends) = (answers, prompt, new int[sequences]);
        _paths = [.. Enumerable.Range(0, sequences).Select(s => NewPath(s))];
        _requests = new DraftRequest[sequences];
        _forest = new TokenForest(sequences, sequences * (1 + _governor.MaxNodes));
    }

    /// <summary>Cost of a further row of a pass, in passes of one row.</summary>
    public double PerRow { get; init; } = 0.1;

    /// <summary>Whether others use the machine too: it is slower for stretches, and stops now and then.</summary>
    public bool Loaded { get; init; }

    /// <summary>Which drafters that run models have to read.</summary>
    private int PromptTokens { get; }

    private int AnswerTokens { get; }

    public int Steps { get; private set; }

    public int StepsWithHiddenStates { get; private set; }

    /// <summary>Tokens of all sequences.</summary>
    public long Produced { get; private set; }

    /// <summary>Time so far over that of the same tokens without drafts, on a machine that is not loaded.</summary>
    public double Slowdown => Time * _paths.Length / Produced;

    /// <summary>Time so far without load, in plain steps of the batch.</summary>
    public double Time { get; private set; }

    public GovernorReport Report => _governor.Report;

    public GovernorSimulation Run(int tokens)
    {
        for (long end = Produced + tokens; Produced < end;) Step();
        return this;
    }

    private void Step()
    {
        int sequences = _paths.Length;
        _forest.Clear();
        for (int s = 0; s < sequences; s++)
        {
            if (_paths[s].Count >= _ends[s])
            {
                _governor.Release(s);
                _paths[s] = NewPath(s);
            }

            _forest.AddTree(_paths[s].Last, _governor.MaxNodes);
            _requests[s] = new DraftRequest(s, s, _paths[s], SamplingOptions.Greedy, _governor.MaxNodes, 30);
        }

        _clock.Slowness = Slowness();
        foreach (SetDrafter d in _drafters) d.SpentTicks = 0;
        long begin = _clock.GetTimestamp();
        _governor.Propose(_requests, _forest);
        long drafted = _clock.GetTimestamp();
        StepsWithHiddenStates += _taps.Paused ? 0 : 1;
        double cost = (1 + PerRow * (_forest.Count - 1)) / (1 + PerRow * (sequences - 1));
        _clock.Spend(StepTicks * cost);
        _clock.Stop(Interruption(cost));
        var acceptances = new Acceptance[sequences];
        for (int s = 0; s < sequences; s++)
        {
            int node = _forest.Root(s), accepted = 0;
            while (_forest.FindChild(node, _paths[s].Last + 1) is var next and >= 0)
            {
                _paths[s].Append(_paths[s].Last + 1);
                (node, accepted) = (next, accepted + 1);
            }

            _paths[s].Append(_paths[s].Last + 1);
            acceptances[s] = new Acceptance(s, s, 1 + accepted, 1 + accepted, AcceptanceEnd.Tree);
            Produced += 1 + accepted;
            _governor.Committed(s, _paths[s], _rows, [0]);
        }

        _governor.Observe(_requests, acceptances, _forest);
        _governor.Measured(new StepCost(_forest.Count, 0, 0, drafted - begin, _clock.GetTimestamp() - drafted));
        Time += cost + _drafters.Sum(d => d.SpentTicks) / StepTicks;
        Steps++;
        foreach (SetDrafter d in _drafters) (d.Steps, d.Tokens) = (Steps, Produced);
    }

    private TokenHistory NewPath(int sequence)
    {
        int[] prompt = [.. Enumerable.Range(0, PromptTokens)];
        _ends[sequence] = prompt.Length + (Steps == 0 ? AnswerTokens * (sequence + 1) / _ends.Length : AnswerTokens); // not all end at once
        return new TokenHistory(prompt, prompt.Length + AnswerTokens + 40);
    }

    private double Slowness()
    {
        if (!Loaded) return 1;
        if (_clock.GetTimestamp() >= _until)
        {
            _slowness = 1 + _random.Next(1000) / 1000.0;
            _until = _clock.GetTimestamp() + StepTicks * (20 + _random.Next(300));
        }

        return _slowness * (0.95 + _random.Next(100) / 1000.0);
    }

    /// <summary>Stops of one to nine steps, one in thirty steps.</summary>
    private double Interruption(double steps) => Loaded && _random.Chance(1 - Math.Pow(29.0 / 30, steps)) ? StepTicks * (1 + _random.Next(800) / 100.0) : 0;
}

/// <summary>A clock that moves as it is told.</summary>
internal sealed class SimulatedClock : TimeProvider
{
    private double _now = 1000;

    public double Slowness { get; set; } = 1;

    public override long TimestampFrequency => 1_000_000_000;

    public override long GetTimestamp() => (long)_now;

    public void Spend(double ticks) => _now += ticks * Slowness;

    public void Stop(double ticks) => _now += ticks;
}

/// <summary>Drafts the numbers that follow, or others.</summary>
internal sealed class SetDrafter : IDrafter
{
    public const int Depth = 6;
    private const double StepTicks = 1e9;
    private readonly int[] _read = new int[64];

    public SimulatedClock Clock { get; set; } = null!;

    public int Sequences { get; set; } = 1;

    public int Steps { get; set; }

    public long Tokens { get; set; }

    /// <summary>Ticks of the step without load.</summary>
    public double SpentTicks { get; set; }

    /// <summary>Whether it is right, by the steps and tokens that have passed.</summary>
    public Func<int, long, bool> IsRight { get; set; } = (_, _) => false;

    /// <summary>Drafts of this many tokens are right in any case.</summary>
    public int RightTo { get; init; }

    /// <summary>Share of drafts that are right where others were to be, by chance.</summary>
    public double Share { get; init; }

    public float Confidence { get; init; } = 0.9f;

    /// <summary>Its first calls take longer, as code is compiled for them, and once in a while one is interrupted for long.</summary>
    public bool OneOffs { get; init; }

    /// <summary>Plain steps of a call.</summary>
    public double CallCost { get; init; }

    /// <summary>Plain steps of a depth of one sequence.</summary>
    public double DepthCost { get; init; }

    /// <summary>What a call costs for several sequences, over one.</summary>
    public Func<int, double> RowsCost { get; init; } = _ => 1;

    /// <summary>Plain steps of a token that it has to read first.</summary>
    public double ReadCost { get; init; }

    /// <summary>Plain steps of a step in which it is handed hidden states.</summary>
    public double CarryCost { get; init; }

    public int Calls { get; private set; }

    public int Drafted { get; private set; }

    public int RequestsWithRoom { get; private set; }

    public int CommittedCalls { get; private set; }

    public int MeasuredCalls { get; private set; }

    public string Name => "set";

    public int MaxNodes => Depth;

    public bool RunsModel { get; init; }

    private readonly SeededRandom _random = new(9), _interruptions = new(11);
    private int _observed;

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        Calls++;
        bool right = IsRight(Steps, Tokens);
        int deepest = 0, included = 0;
        Spend(CallCost + 1e-6);
        OneOff(Calls, 0);
        foreach (DraftRequest r in requests)
        {
            int node = forest.Root(r.Tree), limit = Math.Min(Math.Min(r.MaxNodes, r.MaxDepth), Depth);
            if (limit <= 0) continue;
            RequestsWithRoom++;
            included++;
            int unread = r.Path.Count - _read[r.Sequence];
            if (unread > 1 + Depth) Spend(ReadCost * unread);
            _read[r.Sequence] = r.Path.Count;
            deepest = Math.Max(deepest, limit);
            for (int d = 1; d <= limit; d++, Drafted++)
                node = forest.Add(node, right || d <= RightTo || (Share > 0 && _random.Chance(Share)) ? r.Path.Last + d : -d, Confidence);
        }

        Spend((DepthCost + 1e-6) * deepest * RowsCost(included));
    }

    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        if (sequence != 0) return;
        CommittedCalls++;
        Spend(CarryCost);
        if (CommittedCalls <= 2) OneOff(CommittedCalls, 1);
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        if (++_observed <= 2) OneOff(_observed, 2);
    }

    public void Measured(in StepCost cost) => MeasuredCalls++;

    public void Release(int sequence) => _read[sequence] = 0;

    public void Dispose()
    {
    }

    /// <summary>Compiling code takes 50 plain steps of one request, an interruption 8: neither is counted as time that speculation costs.</summary>
    private void OneOff(int call, int kind)
    {
        if (!OneOffs) return;
        if (call <= 2) Clock.Stop(StepTicks * (call == 1 ? 50 : 10) / (1 + kind) / Math.Sqrt(Sequences));
        else if (_interruptions.Chance(0.01)) Clock.Stop(StepTicks * 8 / Math.Sqrt(Sequences));
    }

    private void Spend(double steps)
    {
        SpentTicks += steps * StepTicks;
        Clock.Spend(steps * StepTicks);
    }
}
