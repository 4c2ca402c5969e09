using System.Numerics;

namespace Foretoken.Speculation;

/// <summary>
/// One drafter of a <see cref="Governor"/>, an arm as bandit algorithms call it: what asking it costs, how often it is right, and when it is asked again.
/// </summary>
internal sealed class DrafterArm(IDrafter drafter, TokenForest forest, int nodes, int maxSequences, bool readsHidden)
{
    private const int FirstCalls = 8;        // the fastest counts, as code is compiled and caches fill
    private const int Compiled = 3;          // calls in which code is compiled: what they take is no fault of the drafts
    private const int ModelTrials = 4;       // calls that cost what they cost when made every step
    private const int LongestTrial = 32;     // calls, for models that never become steady
    private const int ShortestInterval = 4, LongestInterval = 4096;
    private const int Wait = 64;             // steps that a whole sequence is waited for
    private const int Kept = 4;              // steps in a row that a promise has to hold
    private const float DepthPrior = 0.6f;
    private const double Surest = 0.995;
    private const double CostRate = 1.0 / 16, ValueRate = 1.0 / 3, CorrectionFade = 0.95, CorrectionPrior = 8, Interrupted = 2, LongReading = 3;
    private const double Together = 0.3;     // of what a sequence takes by itself it may take among many
    private const double DepthPart = 0.25;   // of a pass of the target that a depth takes, before anything is known
    private const double ReadingPrior = 0.3; // of a further row of the target
    private const int Horizon = 32;          // steps in which reading has to pay
    private const double Investment = 1.2;   // times as fast as plain decoding, for several sequences to be read
    private const double MostCredit = 48;    // tokens' plain time that reading some of them may take in a step
    private const int LongRead = 32;         // tokens that tell what one costs
    private const double ReadRate = 0.25, LeastReading = 0.1;
    private const int KeptBack = 64;         // tokens of a sequence that heads are reckoned to have yet to read, at most: they came by the others
    private const int Along = 8;             // tokens that the pass of the first draft reads along
    private readonly long[] _asked = Filled(maxSequences);   // [sequences] step of the last call with the sequence
    private readonly int[] _read = new int[maxSequences];    // [sequences] tokens that the sequence had then
    private readonly bool[] _included = new bool[maxSequences]; // [requests] that the plan is for
    private readonly double[] _perDepth = new double[12];    // [log2 of sequences] ticks of a depth, in passes of as many rows; 0 = unknown
    private readonly long[] _perDepthCalls = new long[12];
    private double _cost, _togetherCost, _value, _learnCost, _loss, _perToken; // _perToken: ticks of a token that it had missed
    private double _tokens = CorrectionPrior, _plannedTokens = CorrectionPrior;
    private long _steadyCalls, _togetherCalls, _readings, _due = -1;
    private int _interval = ShortestInterval, _skipped, _promises;
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

    /// <summary>The hidden states that it is handed.</summary>
    public HiddenStateFeed Feed { get; } = new(maxSequences);

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

    /// <summary>Ticks of a call about one sequence.</summary>
    public double Cost => _cost;

    /// <summary>Share of its trees whose first level held the right token.</summary>
    public double FirstAcceptance => Acceptance.AtDepth(1, DepthPrior);

    /// <param name="step">The step.</param>
    /// <param name="sequences">Sequences of the step.</param>
    /// <param name="allowed">Drafts may be tried.</param>
    /// <param name="spares">Time may be spent on finding out what drafters are worth.</param>
    public void BeginStep(long step, int sequences, bool allowed, bool spares)
    {
        if (_lazy is { IsReady: false })
        {
            _lazy.Poll();
            if (_lazy.IsReady) _readySince = step;
        }

        (Called, CalledSequences) = (false, 0);
        if (readsHidden) Feed.BeginStep(step, sequences, IsReady && allowed, spares, !IsTried);
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
        if (readsHidden && requests.Length > 1 && !Feed.HasTrial(requests, step)) return false;
        if (!readsHidden || !drafter.RunsModel || step - Math.Max(_readySince, 0) > Wait) return true;
        foreach (DraftRequest r in requests)
        {
            if (Feed.IsWhole(r.Sequence)) return true;
        }

        return false;
    }

    /// <summary>
    /// Whether to ask a drafter that is not the one that drafts: one that costs little always while it pays, all after a while. A costly one is then asked twice: the
    /// first time it has to read what it missed, and only the second tells what it costs. One that reads hidden states waits for a sequence that it has whole.
    /// </summary>
    public bool IsDue(ReadOnlySpan<DraftRequest> requests, long step)
    {
        if (!IsCostly && (!IsTried || Pays)) return true;
        if (_again)
        {
            _again = false;
            return true;
        }

        if (_due < 0 && ++_skipped < _interval) return false;
        if (_due < 0) _due = step;
        if (readsHidden)
        {
            Feed.WantOne(step, steps: 2);
            bool whole = step - _due > Wait;
            if (requests.Length > 1) Feed.HasTrial(requests, step);
            foreach (DraftRequest r in requests) whole |= Feed.IsWhole(r.Sequence);
            if (!whole) return false;
        }

        _again = IsCostly;
        _due = -1;
        return true;
    }

    /// <summary>Whether it pays to ask it about every sequence.</summary>
    public bool Pays => _value > (_togetherCalls > 0 ? _togetherCost : _cost) + _learnCost;

    /// <summary>Whether asking it about every sequence may pay: one by itself costs more than one of many.</summary>
    public bool MayPay => Pays || (_togetherCalls < FirstCalls && _value > Together * _cost);

    /// <summary>The sequence that it has to read least of before it can draft: the one to find out with.</summary>
    public int Readiest(ReadOnlySpan<DraftRequest> requests)
    {
        int best = 0;
        for (int i = 1; i < requests.Length; i++)
        {
            if (HasRoom(requests[i]) && (!HasRoom(requests[best]) || Readiness(requests[i].Sequence) > Readiness(requests[best].Sequence))) best = i;
        }

        return best;
    }

    /// <summary>
    /// Depth at which it is expected to bring most tokens per tick, by what its drafts of each depth were worth, and how many that are. Of several sequences those that it
    /// would have to read first take part if drafts for all are expected to pay well, some at a time.
    /// </summary>
    public ArmPlan Best(ReadOnlySpan<DraftRequest> requests, in Outlook outlook)
    {
        Saves = false;
        if (requests.Length == 1) return Plan(requests, outlook, outlook.Lends ? double.PositiveInfinity : outlook.Stake / 2);
        double token = outlook.Costs.PredictPlain(requests.Length, outlook.Keys) / requests.Length;
        ArmPlan all = Plan(requests, outlook, double.PositiveInfinity);
        Saves = all.Reads && all.Rate * token > Investment;
        return Saves && outlook.Lends ? Plan(requests, outlook, MostCredit * token) : all.Reads ? Plan(requests, outlook, 0) : all;
    }

    private ArmPlan Plan(ReadOnlySpan<DraftRequest> requests, in Outlook outlook, double mostReading)
    {
        (int asked, double reading) = Include(requests, outlook, mostReading);
        if (asked == 0) return default;
        (PacedCostModel costs, double keys, double stake) = (outlook.Costs, outlook.Keys, outlook.Stake);
        int n = requests.Length, limit = Math.Min(Math.Min(nodes, drafter.MaxDepth), AcceptanceModel.MaxDepth), room = 0;
        double tokens = n, all = 1, ratio = 0, perDepth = DepthTicks(asked, costs), correction = Correction, plain = costs.PredictPlain(n, keys), risked = n == 1 ? Math.Min(reading, stake / 2) : 0;
        float share = DepthPrior;
        for (int t = 0; t < n; t++)
        {
            if (!_included[t]) continue;
            ratio += Acceptance.Ratio(requests[t].Sequence) / asked;
            room = Math.Max(room, Math.Min(requests[t].MaxNodes, requests[t].MaxDepth));
        }

        ArmPlan best = default;
        for (int depth = 1; depth <= Math.Min(limit, room); depth++)
        {
            share = Acceptance.AtDepth(depth, share); // deeper drafts are thought as good as those before them until they are tried
            all *= Math.Min(Surest, share * ratio);
            tokens += asked * all;
            double pass = Math.Max(plain, costs.Predict(n + asked * depth, keys + asked * depth * outlook.KeysPerRow)), drafts = depth * perDepth;
            if (drafts + pass - plain + risked > stake) break;
            double ticks = drafts + n * Feed.TicksOfSequence + pass + reading / Horizon;
            if (tokens / ticks * correction <= best.Rate) continue;
            double perRow = (pass - plain) / depth;
            best = new ArmPlan(depth, tokens, ticks, correction, (perDepth + perRow) / asked, reading > 0);
        }

        return best;
    }

    /// <summary>To read all sequences is expected to pay: nothing is to be spent on finding that out.</summary>
    public bool Saves { get; private set; }

    /// <summary>Whether the last plan is for the request.</summary>
    public bool Includes(int request) => _included[request];

    /// <summary>It was asked about the only request a step ago: what it read of that is worth most at once.</summary>
    public bool Goes(ReadOnlySpan<DraftRequest> requests, long step) => requests.Length == 1 && _asked[requests[0].Sequence] == step - 1;

    /// <summary>Whether it may be asked about the sequence that it can begin with soonest.</summary>
    public bool IsAffordable(ReadOnlySpan<DraftRequest> requests, in Outlook outlook, int depth)
    {
        double reading = Unread(requests[Readiest(requests)], outlook.Step) * TokenTicks(outlook.Costs);
        return (outlook.Lends || reading <= outlook.Stake) && depth * DepthTicks(1, outlook.Costs) <= outlook.Stake;
    }

    /// <summary>
    /// It would be better than what drafts, or not, if it was handed hidden states: they are asked for once that holds for several steps, since in the first ones of an
    /// answer another drafter may just have to read.
    /// </summary>
    public void Promises(bool better, long step)
    {
        _promises = better ? _promises + 1 : 0;
        if (_promises < Kept) return;
        Feed.WantAll(step);
        _promises = 0;
    }

    /// <summary>Whether it was asked about the sequence in this step.</summary>
    public bool WasAsked(int sequence, long step) => _asked[sequence] == step;

    /// <summary>It was asked.</summary>
    /// <param name="limited">The requests that it got.</param>
    /// <param name="ticks">What it took.</param>
    /// <param name="step">The step.</param>
    /// <param name="costs">What passes cost.</param>
    /// <param name="plain">What the step takes without drafts: a call that took longer than usual by more was interrupted.</param>
    /// <param name="probe">Only to find out what it is worth.</param>
    /// <returns>Ticks that drafting took without interruptions, and reading what it had missed.</returns>
    public (double Drafting, double Reading) Asked(ReadOnlySpan<DraftRequest> limited, double ticks, long step, PacedCostModel costs, double plain, bool probe)
    {
        int depth = 0, unread = 0;
        bool steady = true;
        Called = true;
        foreach (DraftRequest r in limited)
        {
            if (r.MaxNodes <= 0 || r.MaxDepth <= 0) continue;
            CalledSequences++;
            depth = Math.Max(depth, forest.DepthOf(r.Tree));
            unread += Unread(r, step);
            steady &= !IsCostly || _asked[r.Sequence] == step - 1;
            _asked[r.Sequence] = step;
            if (forest.DepthOf(r.Tree) > 0) _read[r.Sequence] = r.Path.Count; // a long prompt takes several steps to read
        }

        _skipped = 0;
        if (!probe) Feed.WantAll(step);
        else if (limited.Length == 1 && IsTried) Feed.WantOne(step, steps: 2); // to be asked again
        else Feed.WantOne(step);
        Calls++;
        Proposed += forest.Count - limited.Length;
        if (!IsCostly)
        {
            double each = ticks / Math.Max(1, CalledSequences);
            if (CalledSequences > 1) _togetherCost = Mean(_togetherCost, each, ++_togetherCalls);
            else _cost = Mean(_cost, each, Calls - _togetherCalls);
            return (Calls <= Compiled ? 0 : Math.Min(ticks, Interrupted * (CalledSequences > 1 ? _togetherCost : _cost) * CalledSequences + plain), 0);
        }

        if (unread > 0 || !steady || depth == 0)
        {
            double drafting = Math.Min(depth * DepthTicks(CalledSequences, costs), ticks), reading = ticks - drafting;
            if (Calls <= Compiled) return (drafting, Math.Min(reading, LongReading * unread * TokenTicks(costs)));
            if (unread < Along) return (drafting + reading, 0);
            double perToken = (_steadyCalls > 0 ? reading : ticks) / unread;
            bool tells = unread >= LongRead && depth > 0 && (readsHidden || perToken > LeastReading * ReadingOf(costs)); // what another request had read already costs nothing
            if (tells) _perToken = ++_readings == 1 ? perToken : _perToken + (Math.Min(perToken, LongReading * _perToken) - _perToken) * ReadRate;
            return (drafting, Math.Min(reading, LongReading * unread * TokenTicks(costs) + plain));
        }

        _steadyCalls++;
        _cost = Mean(_cost, ticks, _steadyCalls);
        int size = Math.Min(BitOperations.Log2((uint)CalledSequences), _perDepth.Length - 1);
        _perDepth[size] = Mean(_perDepth[size], ticks / depth / costs.Fixed(CalledSequences), ++_perDepthCalls[size]);
        return (Math.Min(ticks, Interrupted * depth * DepthTicks(CalledSequences, costs) + (_steadyCalls > Compiled ? plain : 0)), 0);
    }

    /// <summary>Ticks of a step with it for learning and handing hidden states on; the first time, code is compiled.</summary>
    public double ExtraTicks => (Called && Calls > Compiled ? _learnCost * CalledSequences : 0) + Feed.Sequences * Feed.TicksOfSequence;

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
    /// <param name="plan">The plan.</param>
    /// <param name="tokens">Tokens that the step brought.</param>
    /// <param name="sequences">Of the step.</param>
    public void Compare(in ArmPlan plan, double tokens, int sequences)
    {
        _plannedTokens = _plannedTokens * CorrectionFade + plan.Tokens / sequences;
        _tokens = _tokens * CorrectionFade + tokens / sequences;
        _interval = ShortestInterval;
    }

    public void Fork(int source, int sequence)
    {
        _read[sequence] = _read[source];
        Feed.Fork(source, sequence);
    }

    public void Release(int sequence)
    {
        Acceptance.Release(sequence);
        Feed.Release(sequence);
        (_asked[sequence], _read[sequence]) = (-1, 0);
    }

    /// <summary>How much better or worse than planned it did when it drafted.</summary>
    private double Correction => Math.Clamp(_tokens / _plannedTokens, 0.5, 1.3);

    private static bool HasRoom(in DraftRequest request) => request.MaxNodes > 0 && request.MaxDepth > 0;

    private long Readiness(int sequence) => _asked[sequence] + (Feed.IsWhole(sequence) ? long.MaxValue / 4 : 0) + (Feed.IsTrial(sequence) ? long.MaxValue / 2 : 0);

    /// <summary>Tokens of a sequence that it has to read before it can draft; 0 where it was asked a step ago.</summary>
    private int Unread(in DraftRequest request, long step)
    {
        int s = request.Sequence;
        if (!IsCostly || _asked[s] == step - 1 || (readsHidden && !Feed.IsWhole(s))) return 0;
        return Math.Clamp(request.Path.Count - _read[s] - Along, 0, readsHidden ? KeptBack : int.MaxValue);
    }

    private double TokenTicks(PacedCostModel costs) => _readings > 0 ? _perToken : ReadingOf(costs);

    /// <summary>Ticks of a token that is read, before any was.</summary>
    private static double ReadingOf(PacedCostModel costs) => ReadingPrior * (costs.Fixed(4) - costs.Fixed(1)) / 3;

    /// <summary>Chooses the sequences of a plan: those that it has read, and others as far as their reading may be risked.</summary>
    private (int Asked, double Reading) Include(ReadOnlySpan<DraftRequest> requests, in Outlook outlook, double mostReading)
    {
        int asked = 0;
        double reading = 0, perToken = TokenTicks(outlook.Costs);
        for (int t = 0; t < requests.Length; t++)
        {
            double ticks = Unread(requests[t], outlook.Step) * perToken;
            _included[t] = requests[t].MaxNodes > 0 && requests[t].MaxDepth > 0 && (ticks == 0 || reading + ticks <= mostReading);
            if (!_included[t]) continue;
            asked++;
            reading += ticks;
        }

        return (asked, reading);
    }

    /// <summary>Ticks of a depth for so many sequences at once: measured, or as many passes as for the nearest number that was.</summary>
    private double DepthTicks(int sequences, PacedCostModel costs)
    {
        int size = Math.Min(BitOperations.Log2((uint)sequences), _perDepth.Length - 1);
        for (int distance = 0; distance < _perDepth.Length; distance++)
        {
            if (size >= distance && _perDepthCalls[size - distance] >= Compiled) return _perDepth[size - distance] * costs.Fixed(sequences);
            if (size + distance < _perDepth.Length && _perDepthCalls[size + distance] >= Compiled) return _perDepth[size + distance] * costs.Fixed(sequences);
        }

        return DepthPart * costs.Fixed(sequences); // it hardly ever drafted anything
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

/// <summary>What is known before a step.</summary>
/// <param name="Step">The step.</param>
/// <param name="Costs">What passes cost.</param>
/// <param name="Keys">Keys that the roots read.</param>
/// <param name="KeysPerRow">Keys that a further row reads.</param>
/// <param name="Stake">Ticks that may be risked.</param>
/// <param name="Lends">A sequence may be read beyond that.</param>
internal readonly record struct Outlook(long Step, PacedCostModel Costs, double Keys, double KeysPerRow, double Stake, bool Lends);

/// <summary>What a drafter is expected to bring at one depth.</summary>
/// <param name="Depth">Drafts of a path.</param>
/// <param name="Tokens">Tokens that the step brings, over all sequences.</param>
/// <param name="Ticks">Time that it takes, the draft included.</param>
/// <param name="Correction">By which plans for this drafter were wrong so far.</param>
/// <param name="DraftTicks">Time of one more draft of one sequence, its row in the target's pass included.</param>
/// <param name="Reads">It has to read sequences first.</param>
internal readonly record struct ArmPlan(int Depth, double Tokens, double Ticks, double Correction, double DraftTicks, bool Reads)
{
    /// <summary>Tokens per tick.</summary>
    public double Rate => Ticks > 0 ? Tokens / Ticks * Correction : 0;
}
