using System.Numerics;

namespace Foretoken.Speculation;

/// <summary>
/// One drafter of a <see cref="Governor"/>, an arm as bandit algorithms call it: what asking it costs, how often it is right, and when it is asked again.
/// </summary>
internal sealed class DrafterArm(IDrafter drafter, TokenForest forest, int nodes, int maxSequences, bool readsHidden)
{
    private const int FirstCalls = 8;        // the fastest counts, as code is compiled and caches fill
    private const int ModelTrials = 4;       // calls that cost what they cost when made every step
    private const int LongestTrial = 32;     // calls, for models that never become steady
    private const int ShortestInterval = 4, LongestInterval = 4096;
    private const int Stay = 16, Wait = 64;  // steps that hidden states are handed on after a call, and that a whole sequence is waited for
    private const float DepthPrior = 0.6f;
    private const double Surest = 0.995;
    private const double CostRate = 1.0 / 16, ValueRate = 1.0 / 3, CorrectionFade = 0.95, CorrectionPrior = 8, Interrupted = 2, LongReturn = 3;
    private readonly long[] _asked = Filled(maxSequences);   // [sequences] step of the last call with the sequence
    private readonly bool[] _known = new bool[maxSequences]; // [sequences] a row was committed
    private readonly bool[] _whole = new bool[maxSequences]; // [sequences] hidden states were handed on from its first row on
    private readonly double[] _perDepth = new double[12];    // [log2 of sequences] ticks of a depth, in passes of as many rows; 0 = unknown
    private readonly long[] _perDepthCalls = new long[12];
    private double _cost, _value, _learnCost, _loss, _return;
    private double _tokens = CorrectionPrior, _plannedTokens = CorrectionPrior;
    private long _steadyCalls, _returns, _wantedUntil, _due = -1;
    private int _interval = ShortestInterval, _skipped;
    private bool _again;
    private readonly LazyDrafter? _lazy = drafter as LazyDrafter;
    private long _readySince = -1;                           // step in which weights that were read later came; -1 = there from the start

    public IDrafter Drafter => drafter;

    public TokenForest Forest => forest;

    public AcceptanceModel Acceptance { get; } = new(maxSequences);

    /// <summary>Most nodes of one tree.</summary>
    public int Nodes => nodes;

    /// <summary>Every depth costs a good part of a pass: of such drafters one is asked at a time.</summary>
    public bool IsCostly { get; } = drafter.RunsModel || readsHidden;

    /// <summary>It is handed hidden states while it is in play.</summary>
    public bool ReadsHidden => readsHidden;

    /// <summary>Enough is known to compare it with others.</summary>
    public bool IsTried => IsCostly ? _steadyCalls >= ModelTrials || Calls >= LongestTrial : Calls >= FirstCalls;

    /// <summary>It was asked in this step.</summary>
    public bool Called { get; private set; }

    /// <summary>Sequences that it was asked about in this step.</summary>
    public int CalledSequences { get; private set; }

    public long Calls { get; private set; }

    public long Proposed { get; private set; }

    public long Chosen { get; private set; }

    /// <summary>What was last expected of it at its best depth.</summary>
    public ArmPlan LastPlan { get; set; }

    /// <summary>Ticks of this step for handing hidden states on.</summary>
    public long CarriedNow { get; set; }

    /// <summary>Ticks of a call about one sequence.</summary>
    public double Cost => _cost;

    /// <summary>Ticks of every step for handing hidden states on.</summary>
    public double CarryTicks { get; private set; }

    /// <summary>Share of its trees whose first level held the right token.</summary>
    public double FirstAcceptance => Acceptance.AtDepth(1, DepthPrior);

    public void BeginStep(long step)
    {
        if (_lazy is { IsReady: false })
        {
            _lazy.Poll();
            if (_lazy.IsReady) _readySince = step;
        }

        (Called, CalledSequences) = (false, 0);
        (WasCarried, IsCarried) = (IsCarried, IsReady && readsHidden && (!IsTried || step <= _wantedUntil));
    }

    /// <summary>Its weights are there.</summary>
    public bool IsReady => _lazy is null || _lazy.IsReady;

    /// <summary>How far it is with its weights.</summary>
    public DrafterState State => _lazy is null || _lazy.IsReady ? DrafterState.Ready : _lazy.State;

    /// <summary>Why its weights could not be read.</summary>
    public string? Problem => _lazy?.Problem;

    /// <summary>What reading them took.</summary>
    public double LoadMilliseconds => _lazy?.LoadMilliseconds ?? 0;

    /// <summary>Begins to read its weights.</summary>
    public void Load() => _lazy?.Load();

    /// <summary>
    /// Whether it may be asked for the first time. One that has keys of its own and came when answers were under way would make a bad impression with those: it waits for
    /// one that it can follow from its beginning, for a while.
    /// </summary>
    public bool MayBegin(ReadOnlySpan<DraftRequest> requests, long step)
    {
        if (_readySince < 0 || Calls > 0 || !readsHidden || !drafter.RunsModel || step - _readySince > Wait) return true;
        foreach (DraftRequest r in requests)
        {
            if (_whole[r.Sequence]) return true;
        }

        return false;
    }

    /// <summary>Whether hidden states of this step's pass are handed on to it.</summary>
    public bool IsCarried { get; private set; }

    /// <summary>Whether those of the last step's were.</summary>
    public bool WasCarried { get; private set; }

    /// <summary>Asks for hidden states from the next pass on.</summary>
    public void Want(long step) => _wantedUntil = Math.Max(_wantedUntil, step + Stay);

    /// <summary>
    /// Whether to ask a drafter that is not the one that drafts: one that costs little always while it pays, all after a while. A costly one is then asked twice: the
    /// first time it has to read what it missed, and only the second tells what it costs. One that reads hidden states waits for a sequence that it has whole.
    /// </summary>
    public bool IsDue(ReadOnlySpan<DraftRequest> requests, long step)
    {
        if (!IsCostly && (!IsTried || _value > _cost + _learnCost)) return true;
        if (_again)
        {
            _again = false;
            return true;
        }

        if (_due < 0 && ++_skipped < _interval) return false;
        if (_due < 0) _due = step;
        if (readsHidden)
        {
            _wantedUntil = Math.Max(_wantedUntil, step + 2);
            bool whole = step - _due > Wait;
            foreach (DraftRequest r in requests) whole |= _whole[r.Sequence] && _known[r.Sequence];
            if (!whole) return false;
        }

        _again = IsCostly;
        _due = -1;
        return true;
    }

    /// <summary>Whether it pays to ask it about every sequence.</summary>
    public bool Pays => _value > _cost + _learnCost;

    /// <summary>The sequence that it has to read least of before it can draft: the one to find out with.</summary>
    public int Readiest(ReadOnlySpan<DraftRequest> requests)
    {
        int best = 0;
        for (int i = 1; i < requests.Length; i++)
        {
            if (Readiness(requests[i].Sequence) > Readiness(requests[best].Sequence)) best = i;
        }

        return best;
    }

    /// <summary>Depth at which it is expected to bring most tokens per tick, by what its drafts of each depth were worth, and how many that are.</summary>
    public ArmPlan Best(ReadOnlySpan<DraftRequest> requests, StepCostModel costs, double keys, double keysPerRow)
    {
        int n = requests.Length, limit = Math.Min(Math.Min(nodes, drafter.MaxDepth), AcceptanceModel.MaxDepth), room = 0;
        double tokens = n, all = 1, ratio = 0, perDepth = DepthTicks(n, costs), correction = Correction;
        float share = DepthPrior;
        foreach (DraftRequest r in requests)
        {
            ratio += Acceptance.Ratio(r.Sequence) / n;
            room = Math.Max(room, Math.Min(r.MaxNodes, r.MaxDepth));
        }

        ArmPlan best = default;
        for (int depth = 1; depth <= Math.Min(limit, room); depth++)
        {
            share = Acceptance.AtDepth(depth, share); // deeper drafts are thought as good as those before them until they are tried
            all *= Math.Min(Surest, share * ratio);
            tokens += n * all;
            double pass = costs.Predict(n * (1 + depth), keys + n * depth * keysPerRow), ticks = depth * perDepth + CarryTicks + pass;
            if (tokens / ticks * correction <= best.Rate) continue;
            double perRow = (pass - costs.Predict(n, keys)) / depth;
            best = new ArmPlan(depth, tokens, ticks, correction, (perDepth + perRow) / n);
        }

        return best;
    }

    /// <summary>It was asked.</summary>
    /// <param name="limited">The requests that it got.</param>
    /// <param name="ticks">What it took.</param>
    /// <param name="step">The step.</param>
    /// <param name="costs">What passes cost.</param>
    /// <returns>Ticks that it took without interruptions.</returns>
    public double Asked(ReadOnlySpan<DraftRequest> limited, double ticks, long step, StepCostModel costs)
    {
        bool steady = true;
        int depth = 0;
        Called = true;
        foreach (DraftRequest r in limited)
        {
            if (r.MaxNodes <= 0 || r.MaxDepth <= 0) continue;
            CalledSequences++;
            depth = Math.Max(depth, forest.DepthOf(r.Tree));
            steady &= !IsCostly || _asked[r.Sequence] == step - 1;
            _asked[r.Sequence] = step;
        }

        _skipped = 0;
        Calls++;
        Proposed += forest.Count - limited.Length;
        Want(step);
        if (!IsCostly)
        {
            _cost = Mean(_cost, ticks / Math.Max(1, CalledSequences), Calls);
            return Calls == 1 ? 0 : Math.Min(ticks, Interrupted * _cost * CalledSequences); // in the first one its code was compiled
        }

        if (!steady || depth == 0)
        {
            _return = Mean(_return, ticks, ++_returns); // what it missed has to be read
            return Math.Min(ticks, LongReturn * _return);
        }

        _steadyCalls++;
        _cost = Mean(_cost, ticks, _steadyCalls);
        int size = Math.Min(BitOperations.Log2((uint)CalledSequences), _perDepth.Length - 1);
        _perDepth[size] = Mean(_perDepth[size], ticks / depth / costs.Fixed(CalledSequences), ++_perDepthCalls[size]);
        return Math.Min(ticks, Interrupted * depth * DepthTicks(CalledSequences, costs));
    }

    /// <summary>Ticks of a step with it for learning and handing hidden states on.</summary>
    public double ExtraTicks => (Called ? _learnCost * CalledSequences : 0) + (IsCarried ? CarryTicks : 0);

    /// <summary>It learned from the step's tokens in so many ticks.</summary>
    public void Learned(double ticks) => _learnCost = Mean(_learnCost, ticks / Math.Max(1, CalledSequences), Calls);

    /// <summary>What was chosen of its drafts was worth so many ticks, over those that verifying it took.</summary>
    /// <param name="value">Ticks, of all sequences that it was asked about.</param>
    /// <param name="chosen">Nodes.</param>
    /// <param name="share">Share of the time that may go into asking it while it does not pay.</param>
    /// <param name="stepTicks">What a step takes.</param>
    public void Credit(double value, int chosen, double share, double stepTicks)
    {
        Chosen += chosen;
        _value += (value / Math.Max(1, CalledSequences) - _value) * ValueRate;
        double price = IsCostly ? 2 * _loss : _cost + _learnCost;
        int longest = (int)Math.Clamp(Math.Ceiling(price / (share * stepTicks)), ShortestInterval, LongestInterval);
        _interval = !IsCostly && Pays ? 1 : _again ? Math.Min(_interval, longest) : Math.Min(longest, _interval * 2);
    }

    /// <summary>It was asked to find out what it is worth, and the step took so many ticks more than its tokens otherwise do.</summary>
    public void Lost(double ticks) => _loss += (Math.Max(ticks, _cost / 4) - _loss) * ValueRate;

    /// <summary>It drafted as planned for, and this is what came of it.</summary>
    public void Compare(in ArmPlan plan, double tokens)
    {
        _plannedTokens = _plannedTokens * CorrectionFade + plan.Tokens;
        _tokens = _tokens * CorrectionFade + tokens;
        _interval = ShortestInterval;
    }

    public void Carried(double ticks) => CarryTicks += (ticks - CarryTicks) * CostRate;

    /// <summary>Rows of a sequence were committed, and their hidden states handed on or not.</summary>
    public void Committed(int sequence)
    {
        _whole[sequence] = IsCarried && (_whole[sequence] || !_known[sequence]);
        _known[sequence] = true;
    }

    public void Fork(int source, int sequence) => (_known[sequence], _whole[sequence]) = (true, _whole[source]);

    public void Release(int sequence)
    {
        Acceptance.Release(sequence);
        (_asked[sequence], _known[sequence], _whole[sequence]) = (-1, false, false);
    }

    /// <summary>How much better or worse than planned it did when it drafted.</summary>
    private double Correction => Math.Clamp(_tokens / _plannedTokens, 0.5, 1.3);

    private long Readiness(int sequence) => _asked[sequence] + (readsHidden && _whole[sequence] ? long.MaxValue / 2 : 0);

    /// <summary>Ticks of a depth for so many sequences at once: measured, or as many passes as for the nearest number that was.</summary>
    private double DepthTicks(int sequences, StepCostModel costs)
    {
        int size = Math.Min(BitOperations.Log2((uint)sequences), _perDepth.Length - 1);
        for (int distance = 0; distance < _perDepth.Length; distance++)
        {
            if (size >= distance && _perDepth[size - distance] > 0) return _perDepth[size - distance] * costs.Fixed(sequences);
            if (size + distance < _perDepth.Length && _perDepth[size + distance] > 0) return _perDepth[size + distance] * costs.Fixed(sequences);
        }

        return costs.Fixed(sequences); // it never drafted anything: no better than the target
    }

    private static double Mean(double mean, double value, long count)
    {
        if (count <= FirstCalls) return count == 1 ? value : Math.Min(mean, value);
        return mean + (Math.Min(value, 1.3 * mean) - mean) * CostRate; // what took longer was interrupted
    }

    private static long[] Filled(int count)
    {
        var values = new long[count];
        values.AsSpan().Fill(-1);
        return values;
    }
}

/// <summary>What a drafter is expected to bring at one depth.</summary>
/// <param name="Depth">Drafts of a path.</param>
/// <param name="Tokens">Tokens that the step brings, over all sequences.</param>
/// <param name="Ticks">Time that it takes, the draft included.</param>
/// <param name="Correction">By which plans for this drafter were wrong so far.</param>
/// <param name="DraftTicks">Time of one more draft of one sequence, its row in the target's pass included.</param>
internal readonly record struct ArmPlan(int Depth, double Tokens, double Ticks, double Correction, double DraftTicks)
{
    /// <summary>Tokens per tick.</summary>
    public double Rate => Ticks > 0 ? Tokens / Ticks * Correction : 0;
}
