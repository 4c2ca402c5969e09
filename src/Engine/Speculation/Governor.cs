using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Models;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Chooses, for every step and the whole batch at once, who drafts and which drafts are verified, "none" included, so that most tokens come per second:
/// expected tokens, from the acceptance that each drafter has had, over the expected time, from what passes and drafters have cost. Drafters that cost next to nothing are
/// asked together; of those that run a model or heads, the one that is expected to bring most, as deep as pays. The others are asked again now and then, within a fixed
/// share of the time, and whatever goes wrong, <see cref="SpendingLimit"/> bounds the loss. It changes no token: costs are measured, so choices differ from run to run.
/// </summary>
public sealed class Governor : IDrafter
{
    private const double ModelMargin = 1.02;    // by which a costly drafter must beat what is there already
    private const double Loyalty = 1.02;        // by which another one must beat the one that drafts
    private const double Promise = 1.05;        // by which one that is handed nothing must be thought better to come into play
    private const double LeastShare = 0.9;      // of what a draft must be likely to be worth its time
    private const int TrialDepth = 3;
    private const double ClearGain = 1.2, SlightGain = 1.05, GainRate = 1.0 / 16; // times as fast as plain decoding
    private const int Seldom = 256, Sometimes = 64, Often = 12;                   // steps after which one is plain where drafts gain clearly, slightly or nothing
    private readonly GovernorOptions _options;
    private readonly DrafterArm[] _arms;
    private readonly PacedCostModel _costs;
    private readonly SpendingLimit _limit;
    private readonly PagedKvCache _cache;
    private readonly FeatureTaps? _taps;
    private readonly TimeProvider _clock;
    private readonly DraftSelection _selection;
    private readonly DraftRequest[] _limited;         // [sequences]
    private readonly long[] _accepted;                // one per drafter
    private long _steps, _plainSteps, _draftedSteps, _withheldSteps, _extraTicks;
    private double _keys, _keysPerRow, _plain;        // keys that the roots and a further row read; ticks of the step without drafts
    private double _draftTicks, _readTicks;           // of this step, without interruptions
    private double _gain = 1;                         // tokens per tick of late with drafts over those without
    private double _stake;                            // ticks that this step may risk
    private DrafterArm? _main;                        // the costly drafter that drafts for all sequences
    private ArmPlan _plan;                            // what was expected of it; Depth 0 = it was not asked alone
    private bool _invests;                            // it has to read several sequences first
    private DrafterArm? _probed;                      // asked in this step to find out what it is worth
    private double _otherRate;                        // tokens per tick that the step was expected to bring otherwise
    private Choice _choice;
    private int _newTokens;

    internal Governor(GovernorOptions options, DrafterContext context, IDrafter[] drafters, bool[] readHidden, TimeProvider? clock = null)
    {
        (_options, _cache, _taps, _clock) = (options, context.TargetCache, context.Taps, clock ?? TimeProvider.System);
        MaxNodes = options.MaxNodes;
        Sources = [.. drafters.Select(d => d.Name)];
        int sequences = context.MaxSequences, nodes = 0;
        _arms = new DrafterArm[drafters.Length];
        for (int d = 0; d < drafters.Length; d++)
        {
            int perTree = Math.Min(drafters[d].MaxNodes, MaxNodes);
            nodes += perTree;
            _arms[d] = new DrafterArm(drafters[d], new TokenForest(sequences, sequences * (1 + perTree), context.Plan), perTree, sequences, readHidden[d]);
        }

        int maxRows = Math.Min(sequences * (1 + MaxNodes), 1024);
        _costs = new PacedCostModel(maxRows, sequences) { PriorPerKey = StepCostModel.PriorFor(context.Target.Shape, context.TargetCache.Options.Layout) };
        _limit = new SpendingLimit(1.2 * options.Curiosity);
        _selection = new DraftSelection(sequences, sequences * nodes, context.Plan);
        _limited = new DraftRequest[sequences];
        _accepted = new long[drafters.Length];
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public IReadOnlyList<string> Sources { get; }

    /// <inheritdoc/>
    public int MaxNodes { get; }

    /// <inheritdoc/>
    public bool RunsModel => Array.Exists(_arms, a => a.Drafter.RunsModel);

    /// <summary>What it has learned and chosen so far.</summary>
    public GovernorReport Report => new(
        _plainSteps,
        _draftedSteps,
        _withheldSteps,
        Microseconds(_costs.Fixed(1)),
        Microseconds(_costs.PerKey * 1000),
        [.. _costs.RowCounts.ToArray().Where(r => r <= 32 && _costs.Seen(r) > 0).Select(r => new RowCost(r, _costs.Seen(r), _costs.Fixed(r) / _costs.Fixed(1)))],
        [.. _arms.Select(ReportOf)]);

    /// <summary>Drafters whose weights are read when they are wanted.</summary>
    internal IEnumerable<LazyDrafter> Lazy => _arms.Select(a => a.Drafter).OfType<LazyDrafter>();

    /// <summary>Steps after which one must be plain: drafts are held against those, and the less they gain the more it matters.</summary>
    private int PlainInterval => _gain > ClearGain ? Seldom : _gain > SlightGain ? Sometimes : Often;

    private double Share => _options.Curiosity / _arms.Length;

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        _invests = false;
        (_choice, _plan, _probed, _newTokens, _extraTicks, _draftTicks, _readTicks) = (default, default, null, 0, 0, 0, 0);
        _steps++;
        bool room = false, carried = false;
        foreach (DrafterArm arm in _arms)
        {
            arm.BeginStep(_steps, requests.Length, _limit.Allows, _limit.Spares);
            carried |= arm.Feed.IsOn;
        }

        if (_taps is not null) _taps.Paused = !carried;
        _keys = 0;
        foreach (DraftRequest r in requests)
        {
            room |= r.MaxNodes > 0 && r.MaxDepth > 0;
            _keys += StepCost.KeysOf(_cache, r.Sequence, rows: 1);
        }

        _costs.Begin(requests.Length);
        if (!room || !_costs.Knows(requests.Length, PlainInterval)) return; // the first steps are plain, and one now and then: they say what a pass costs
        _plain = _costs.PredictPlain(requests.Length, _keys);
        if (!_limit.Allows)
        {
            _withheldSteps++;
            return;
        }

        _stake = _limit.Balance * _plain / requests.Length;
        _keysPerRow = StepCost.FurtherRow * _keys / requests.Length;
        _selection.Begin(requests);
        for (int d = 0; d < _arms.Length; d++)
        {
            if (!_arms[d].IsCostly && (_limit.Spares || _arms[d].Pays) && _arms[d].IsDue(requests, _steps)) Ask(d, requests, !_arms[d].MayPay, int.MaxValue, 0);
        }

        Choose(requests);
        AskCostly(requests);
        if (_choice.Nodes > 0) _selection.CopyTo(forest);
        Credit(requests.Length);
    }

    /// <inheritdoc/>
    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        foreach (DrafterArm arm in _arms)
        {
            if (!arm.ReadsHidden)
            {
                arm.Drafter.Committed(sequence, path, rows, accepted);
                continue;
            }

            if (!arm.Feed.Committed(sequence)) continue;
            long start = _clock.GetTimestamp();
            arm.Drafter.Committed(sequence, path, rows, accepted);
            arm.Feed.Ticks += _clock.GetTimestamp() - start;
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        foreach (DrafterArm arm in _arms)
        {
            if (!arm.Called) continue; // what it would have learned is not worth the time while it is not asked
            long start = _clock.GetTimestamp();
            for (int t = 0; t < requests.Length; t++)
            {
                if (!arm.WasAsked(requests[t].Sequence, _steps)) continue;
                Learn(arm, requests[t], acceptances[t], t);
                if (arm.CalledSequences < requests.Length) arm.Drafter.Observe(requests.Slice(t, 1), acceptances.Slice(t, 1), forest);
            }

            if (arm.CalledSequences == requests.Length) arm.Drafter.Observe(requests, acceptances, forest);
            long ticks = _clock.GetTimestamp() - start;
            arm.Learned(ticks);
            _extraTicks += ticks;
        }

        foreach (Acceptance a in acceptances) _newTokens += a.NewTokens;
        if (_choice.Nodes > 0)
        {
            _draftedSteps++;
            for (int t = 0; t < requests.Length; t++)
            {
                ReadOnlySpan<int> news = requests[t].Path.Tokens[^acceptances[t].NewTokens..];
                _selection.CountAccepted(t, news[..Math.Min(acceptances[t].AcceptedDrafts, news.Length)], _accepted);
            }
        }
        else if (requests.Length > 0)
        {
            _plainSteps++;
        }
    }

    /// <inheritdoc/>
    public void Measured(in StepCost cost)
    {
        long taps = _taps is { Paused: false } ? _taps.LastTicks : 0, extra = _extraTicks + taps;
        int roots = cost.Rows - cost.PromptRows - _choice.Nodes;
        bool asked = false;
        double usual = 0;
        foreach (DrafterArm arm in _arms)
        {
            asked |= arm.Called;
            extra += arm.Feed.Ticks;
            usual += arm.ExtraTicks;
            if (cost.PromptRows == 0) arm.Feed.EndStep(taps);
            if (arm.Called && arm.CalledSequences == roots) arm.Drafter.Measured(cost); // the time of other steps has little to do with its tokens
        }

        long verify = Math.Max(cost.VerifyTicks - extra, cost.VerifyTicks / 4);
        _costs.Observe(cost with { VerifyTicks = verify }, plain: _choice.Nodes == 0 && !asked);
        if (cost.PromptRows > 0 || roots <= 0 || !(_plain > 0)) return;
        if (_plan.Depth > 0) _main!.Compare(_plan, _newTokens, roots);
        double pass = _costs.Judge(roots + _choice.Nodes, _keys + _choice.Nodes * _keysPerRow, verify) + usual;
        _probed?.Lost(_draftTicks + _readTicks + pass - _newTokens / _otherRate);
        double token = _costs.PredictPlain(roots, _keys) / roots;
        if (_choice.Nodes > 0) _gain += (_newTokens * token / (_draftTicks + _readTicks + pass) - _gain) * GainRate;
        if (asked || usual > 0) _limit.Count((_draftTicks + pass) / token, _readTicks / token, _newTokens, roots, _invests);
        else _limit.Pass(_newTokens);
    }

    /// <inheritdoc/>
    public void Fork(int source, int sequence, int tokens)
    {
        foreach (DrafterArm arm in _arms)
        {
            arm.Fork(source, sequence);
            arm.Drafter.Fork(source, sequence, tokens);
        }
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
        foreach (DrafterArm arm in _arms)
        {
            arm.Release(sequence);
            arm.Drafter.Release(sequence);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DrafterArm arm in _arms) arm.Drafter.Dispose();
    }

    /// <summary>
    /// Asks the costly drafter that is expected to beat what is chosen already by most, if any does. One that is due is asked in its place, or beside it about one of many
    /// sequences; what its drafts are worth is then part of what finding out costs.
    /// </summary>
    private void AskCostly(ReadOnlySpan<DraftRequest> requests)
    {
        int best = -1, due = -1, wanted = -1;
        bool loads = false;
        double bestRate = _choice.Rate * ModelMargin;
        var outlook = new Outlook(_steps, _costs, _keys, _keysPerRow, _stake - _draftTicks, _limit.Lends);
        for (int d = 0; d < _arms.Length; d++)
        {
            DrafterArm arm = _arms[d];
            if (!arm.IsCostly) continue;
            if (!arm.IsReady)
            {
                loads |= arm.State == DrafterState.Loading;
                if (wanted < 0 && arm.State == DrafterState.Waiting) wanted = d;
                continue;
            }

            if (!arm.IsTried) continue;
            arm.LastPlan = arm.Best(requests, outlook);
            double rate = arm.LastPlan.Rate * (arm == _main ? Loyalty : 1);
            if (rate > bestRate && (!arm.ReadsHidden || arm.Feed.WasOnForAll)) (best, bestRate) = (d, rate);
        }

        bool clear = requests.Length == 1 && bestRate * _plain > ClearGain; // finding out about others would take its place
        for (int d = 0; d < _arms.Length; d++)
        {
            DrafterArm arm = _arms[d];
            if (!arm.IsCostly || !arm.IsReady) continue;
            bool goes = arm.Goes(requests, _steps), affordable = (goes || (clear ? _limit.Lends : _limit.Spares)) && arm.IsAffordable(requests, outlook, TrialDepthOf(arm));
            if (!arm.IsTried) due = affordable && (due < 0 || _arms[due].IsTried) && arm.MayBegin(requests, _steps) ? d : due;
            else if (due < 0 && (arm != _main || d != best) && affordable && !arm.Saves && arm.IsDue(requests, _steps)) due = d;
            if (arm.ReadsHidden && arm.IsTried && !arm.Feed.WasOnForAll) arm.Promises(arm.LastPlan.Rate > Promise * bestRate, _steps);
        }

        if (wanted >= 0 && !loads) _arms[wanted].Load(); // one after the other, beside the steps
        if (best >= 0 && (due < 0 || due == best || requests.Length > 1))
        {
            (_main, _plan) = (_arms[best], _arms[best].LastPlan);
            _invests = _plan.Reads && requests.Length > 1;
            Ask(best, requests, one: false, _plan.Depth, _main.Acceptance.Stated((float)Math.Min(0.95, LeastShare * _plan.Rate * _plan.DraftTicks)));
        }

        if (due >= 0 && due != best)
        {
            _plan = default; // of two that drafted nobody knows whose the tokens are
            (_probed, _otherRate) = (_arms[due], Math.Max(bestRate, requests.Length / _plain));
            Ask(due, requests, one: true, TrialDepthOf(_arms[due]), 0);
        }

        if (best >= 0 || due >= 0) Choose(requests);
    }

    private void Choose(ReadOnlySpan<DraftRequest> requests) =>
        _choice = _selection.Choose(requests, _costs, _keysPerRow, _keys, _draftTicks, _stake - _draftTicks);

    private static int TrialDepthOf(DrafterArm arm) => Math.Max(TrialDepth, arm.LastPlan.Depth);

    /// <summary>Lets a drafter fill its trees, of all requests or of the one that it can begin with soonest, and merges them.</summary>
    private void Ask(int d, ReadOnlySpan<DraftRequest> requests, bool one, int depth, float least)
    {
        DrafterArm arm = _arms[d];
        TokenForest forest = arm.Forest;
        long start = _clock.GetTimestamp();
        forest.Clear();
        int only = one && requests.Length > 1 ? arm.Readiest(requests) : -1;
        for (int t = 0; t < requests.Length; t++)
        {
            DraftRequest r = requests[t];
            bool included = only < 0 ? !arm.IsCostly || one || arm.Includes(t) : t == only;
            _limited[t] = r with { Tree = t, MaxNodes = included ? Math.Min(r.MaxNodes, arm.Nodes) : 0, MaxDepth = included ? Math.Min(r.MaxDepth, depth) : 0, MinProbability = least };
            forest.AddTree(r.Path.Last, _limited[t].MaxNodes, _limited[t].MaxDepth);
        }

        ReadOnlySpan<DraftRequest> limited = _limited.AsSpan(0, requests.Length);
        arm.Drafter.Propose(limited, forest);
        _selection.Merge(requests, forest, arm.Acceptance, (byte)d);
        (double drafting, double reading) = arm.Asked(limited, _clock.GetTimestamp() - start, _steps, _costs, _plain, probe: one);
        _draftTicks += drafting;
        _readTicks += reading;
    }

    /// <summary>What the drafters that were asked were worth: time that their chosen drafts are expected to spare, less what verifying them takes.</summary>
    private void Credit(int roots)
    {
        double perToken = _plain / roots, perNode = 0;
        if (_choice.Nodes > 0)
        {
            perNode = (_costs.Predict(roots + _choice.Nodes, _keys + _choice.Nodes * _keysPerRow) - _plain) / _choice.Nodes;
            perToken = Math.Min(perToken, _choice.Ticks / _choice.Tokens); // what a token takes where others draft too
        }

        for (int d = 0; d < _arms.Length; d++)
        {
            if (!_arms[d].Called) continue;
            (double tokens, int nodes) = _selection.ChosenOf((byte)d);
            _arms[d].Credit(tokens * perToken - nodes * perNode, nodes, Share, Math.Max(_plain, _choice.Ticks));
        }
    }

    /// <summary>Compares a drafter's tree with the tokens that came, as far as they go.</summary>
    private static void Learn(DrafterArm arm, in DraftRequest request, in Acceptance acceptance, int tree)
    {
        TokenForest forest = arm.Forest;
        int node = forest.Root(tree);
        foreach (int token in request.Path.Tokens[^acceptance.NewTokens..])
        {
            int right = -1, depth = forest.Depth(node) + 1;
            for (int child = forest.FirstChild(node); child >= 0; child = forest.NextSibling(child))
            {
                bool hit = forest.Token(child) == token;
                if (hit) right = child;
                arm.Acceptance.Observe(forest.Confidence(child), depth, request.Sequence, hit);
            }

            if (forest.FirstChild(node) >= 0) arm.Acceptance.ObserveDepth(depth, right >= 0);
            if (right < 0) return;
            node = right;
        }
    }

    private DrafterReport ReportOf(DrafterArm arm, int index) =>
        new(arm.Drafter.Name, arm.Calls, arm.Proposed, arm.Chosen, _accepted[index], Microseconds(arm.Cost), arm.FirstAcceptance, arm.LastPlan.Depth, arm.LastPlan.Rate * _costs.Fixed(1))
        {
            State = arm.State, Problem = arm.Problem, LoadMilliseconds = arm.LoadMilliseconds,
        };

    private double Microseconds(double ticks) => ticks * 1e6 / _clock.TimestampFrequency;
}
