using System.Diagnostics;
using System.Globalization;
using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Chooses, for every step and the whole batch at once, who drafts and which drafts are verified, "none" included, so that most tokens come per second:
/// expected tokens, from the acceptance that each drafter has had, over the expected time, from what passes and drafters have cost. A drafter that does not
/// pay is asked again now and then, within a fixed share of the time. It changes no token: costs are measured, so choices differ from run to run.
/// </summary>
public sealed class Governor : IDrafter
{
    private const double ModelMargin = 1.01;    // by which a draft model must beat what is there already
    private const int ProbeDepth = 2;
    private const float DepthPrior = 0.6f;
    private const int FirstCalls = 8;           // of a drafter: the fastest counts, as code is compiled and caches fill
    private const int LongestInterval = 2048;
    private const double CostRate = 1.0 / 16, ValueRate = 1.0 / 3;
    private readonly GovernorOptions _options;
    private readonly IDrafter[] _drafters;
    private readonly TokenForest[] _forests;          // one per drafter
    private readonly AcceptanceModel[] _acceptance;   // one per drafter
    private readonly DrafterUse[] _uses;              // one per drafter
    private readonly StepCostModel _costs;
    private readonly PagedKvCache _cache;
    private readonly DraftSelection _selection;
    private readonly DraftRequest[] _limited;         // [sequences]
    private readonly long[] _asked;                   // [drafters, sequences] step of the last call with the sequence
    private readonly long[] _accepted;                // one per drafter
    private long _steps, _plainSteps, _draftedSteps;
    private Choice _choice;

    internal Governor(GovernorOptions options, DrafterContext context, IDrafter[] drafters)
    {
        (_options, _drafters, _cache) = (options, drafters, context.TargetCache);
        MaxNodes = options.MaxNodes;
        Sources = [.. drafters.Select(d => d.Name)];
        int sequences = context.MaxSequences, nodes = 0;
        _forests = new TokenForest[drafters.Length];
        _acceptance = new AcceptanceModel[drafters.Length];
        _uses = new DrafterUse[drafters.Length];
        for (int d = 0; d < drafters.Length; d++)
        {
            int perTree = Math.Min(drafters[d].MaxNodes, MaxNodes);
            nodes += perTree;
            _forests[d] = new TokenForest(sequences, sequences * (1 + perTree), context.Plan);
            _acceptance[d] = new AcceptanceModel(sequences);
            _uses[d].Interval = 1;
        }

        int maxRows = Math.Min(sequences * (1 + MaxNodes), 1024);
        _costs = new StepCostModel(maxRows) { PriorPerKey = StepCostModel.PriorFor(context.Target.Shape, context.TargetCache.Options.Layout) };
        _selection = new DraftSelection(sequences, sequences * nodes, context.Plan);
        _limited = new DraftRequest[sequences];
        _accepted = new long[drafters.Length];
        _asked = new long[drafters.Length * sequences];
        _asked.AsSpan().Fill(-1);
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public IReadOnlyList<string> Sources { get; }

    /// <inheritdoc/>
    public int MaxNodes { get; }

    /// <inheritdoc/>
    public bool RunsModel => Array.Exists(_drafters, d => d.RunsModel);

    /// <summary>What it has learned and chosen so far.</summary>
    public GovernorReport Report => new(
        _plainSteps, _draftedSteps, Microseconds(_costs.Fixed(1)), Microseconds(_costs.PerKey * 1000),
        [.. Enumerable.Range(1, Math.Min(_costs.MaxRows, 32)).Where(r => _costs.Seen(r) > 0).Select(r => new RowCost(r, _costs.Seen(r), _costs.Fixed(r) / _costs.Fixed(1)))],
        [.. _drafters.Select((d, i) => new DrafterReport(
            d.Name, _uses[i].Calls, _uses[i].Proposed, _uses[i].Chosen, _accepted[i], Microseconds(_uses[i].Cost), _acceptance[i].AtDepth(1, DepthPrior)))]);

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        _choice = default;
        _steps++;
        for (int d = 0; d < _uses.Length; d++) _uses[d].Called = false;
        bool room = false;
        double keys = 0;
        foreach (DraftRequest r in requests)
        {
            room |= r.MaxNodes > 0 && r.MaxDepth > 0;
            keys += StepCost.KeysOf(_cache, r.Sequence, rows: 1);
        }

        if (!room || !_costs.Ready) return; // the first step is plain: it says what a pass costs
        long start = Stopwatch.GetTimestamp();
        double keysPerRow = StepCost.FurtherRow * keys / requests.Length;
        _selection.Begin(requests);
        for (int d = 0; d < _drafters.Length; d++)
        {
            if (!_drafters[d].RunsModel && IsDue(d)) Ask(d, requests, int.MaxValue);
        }

        _choice = _selection.Choose(requests, _costs, keysPerRow, keys, Stopwatch.GetTimestamp() - start);
        for (int d = 0; d < _drafters.Length; d++)
        {
            if (!_drafters[d].RunsModel) continue;
            int depth = BestDepth(d, requests, keysPerRow, keys);
            if (depth == 0 && !IsDue(d)) continue;
            Ask(d, requests, depth > 0 ? depth : ProbeDepth);
            _choice = _selection.Choose(requests, _costs, keysPerRow, keys, Stopwatch.GetTimestamp() - start);
        }

        if (_choice.Nodes > 0) _selection.CopyTo(forest);
        Credit(requests.Length, keys, keysPerRow);
    }

    /// <inheritdoc/>
    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        foreach (IDrafter drafter in _drafters) drafter.Committed(sequence, path, rows, accepted);
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        for (int d = 0; d < _drafters.Length; d++)
        {
            ref DrafterUse use = ref _uses[d];
            if (!use.Called) continue; // what it would have learned is not worth the time while it is not asked
            long start = Stopwatch.GetTimestamp();
            for (int t = 0; t < requests.Length; t++) Learn(d, requests[t], acceptances[t], t);
            _drafters[d].Observe(requests, acceptances, forest);
            use.LearnCost = Mean(use.LearnCost, Stopwatch.GetTimestamp() - start, use.Calls);
        }

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
        _costs.Observe(cost);
        foreach (IDrafter drafter in _drafters) drafter.Measured(cost);
    }

    /// <inheritdoc/>
    public void Fork(int source, int sequence, int tokens)
    {
        foreach (IDrafter drafter in _drafters) drafter.Fork(source, sequence, tokens);
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
        for (int d = 0; d < _drafters.Length; d++)
        {
            _acceptance[d].Release(sequence);
            _asked[d * _limited.Length + sequence] = -1;
            _drafters[d].Release(sequence);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDrafter drafter in _drafters) drafter.Dispose();
    }

    /// <summary>
    /// Whether to ask a drafter: always one that pays or is not known yet, one that does not pay after a while. A model is then asked twice: the first time it has to
    /// read what it missed, and only the second tells what it costs.
    /// </summary>
    private bool IsDue(int d)
    {
        ref DrafterUse use = ref _uses[d];
        if (use.SteadyCalls < FirstCalls || use.Value > use.Cost + use.LearnCost) return true;
        if (use.Again)
        {
            use.Again = false;
            return true;
        }

        if (++use.Skipped < use.Interval) return false;
        use.Again = _drafters[d].RunsModel;
        return true;
    }

    private void Ask(int d, ReadOnlySpan<DraftRequest> requests, int depth)
    {
        TokenForest forest = _forests[d];
        ref DrafterUse use = ref _uses[d];
        long start = Stopwatch.GetTimestamp();
        forest.Clear();
        int nodes = Math.Min(_drafters[d].MaxNodes, MaxNodes);
        for (int t = 0; t < requests.Length; t++)
        {
            DraftRequest r = requests[t];
            _limited[t] = r with { Tree = t, MaxNodes = Math.Min(r.MaxNodes, nodes), MaxDepth = Math.Min(r.MaxDepth, depth) };
            forest.AddTree(r.Path.Last, _limited[t].MaxNodes, _limited[t].MaxDepth);
        }

        _drafters[d].Propose(_limited.AsSpan(0, requests.Length), forest);
        _selection.Merge(requests, forest, _acceptance[d], (byte)d);
        double ticks = Stopwatch.GetTimestamp() - start;
        use.Called = true;
        use.Skipped = 0;
        use.Calls++;
        use.Proposed += forest.Count - requests.Length;
        use.Depth = 1;
        for (int t = 0; t < requests.Length; t++) use.Depth = Math.Max(use.Depth, forest.DepthOf(t));
        bool steady = true;
        foreach (DraftRequest r in requests)
        {
            ref long asked = ref _asked[d * _limited.Length + r.Sequence];
            steady &= !_drafters[d].RunsModel || asked == _steps - 1;
            asked = _steps;
        }

        if (!steady)
        {
            use.Return = use.Return == 0 ? ticks : use.Return + (ticks - use.Return) * ValueRate;
            return;
        }

        use.SteadyCalls++;
        use.CostPerDepth = Mean(use.CostPerDepth, ticks / use.Depth, use.SteadyCalls);
        use.Cost = Mean(use.Cost, ticks, use.SteadyCalls);
    }

    /// <summary>Depth at which a draft model brings most tokens per tick, by the acceptance that it has had; 0 if it does not beat what is chosen already.</summary>
    private int BestDepth(int d, ReadOnlySpan<DraftRequest> requests, double keysPerRow, double keys)
    {
        ref DrafterUse use = ref _uses[d];
        if (use.SteadyCalls == 0) return 0;
        int limit = Math.Min(_drafters[d].MaxNodes, AcceptanceModel.MaxDepth), best = 0;
        double bestRate = _choice.Rate * ModelMargin, tokens = requests.Length, all = 1, ratio = 0;
        foreach (DraftRequest r in requests) ratio += _acceptance[d].Ratio(r.Sequence) / requests.Length;
        for (int depth = 1; depth <= limit; depth++)
        {
            all *= Math.Min(0.985, _acceptance[d].AtDepth(depth, DepthPrior) * ratio);
            tokens += requests.Length * all;
            int rows = requests.Length * (1 + depth);
            double rate = tokens / (depth * use.CostPerDepth + _costs.Predict(rows, keys + requests.Length * depth * keysPerRow));
            if (rate > bestRate) (bestRate, best) = (rate, depth);
        }

        return best;
    }

    /// <summary>What the drafters that were asked were worth: time that their chosen drafts are expected to spare, less what verifying them takes.</summary>
    private void Credit(int roots, double keys, double keysPerRow)
    {
        double plain = _costs.Predict(roots, keys), perToken = plain / roots, perNode = 0;
        if (_choice.Nodes > 0) perNode = (_costs.Predict(roots + _choice.Nodes, keys + _choice.Nodes * keysPerRow) - plain) / _choice.Nodes;
        for (int d = 0; d < _drafters.Length; d++)
        {
            ref DrafterUse use = ref _uses[d];
            if (!use.Called) continue;
            (double tokens, int nodes) = _selection.ChosenOf((byte)d);
            use.Chosen += nodes;
            double value = tokens * perToken - nodes * perNode;
            use.Value += (value - use.Value) * ValueRate;
            int longest = (int)Math.Clamp(Math.Ceiling((use.Cost + use.LearnCost + use.Return) / (_options.Curiosity * plain)), 1, LongestInterval);
            use.Interval = use.Value > use.Cost + use.LearnCost ? 1 : Math.Min(longest, use.Interval * 2);
        }
    }

    /// <summary>Compares a drafter's tree with the tokens that came, as far as they go.</summary>
    private void Learn(int d, in DraftRequest request, in Acceptance acceptance, int tree)
    {
        TokenForest forest = _forests[d];
        int node = forest.Root(tree);
        foreach (int token in request.Path.Tokens[^acceptance.NewTokens..])
        {
            int right = -1, depth = forest.Depth(node) + 1;
            for (int child = forest.FirstChild(node); child >= 0; child = forest.NextSibling(child))
            {
                bool hit = forest.Token(child) == token;
                if (hit) right = child;
                _acceptance[d].Observe(forest.Confidence(child), depth, request.Sequence, hit);
            }

            if (forest.FirstChild(node) >= 0) _acceptance[d].ObserveDepth(depth, right >= 0);
            if (right < 0) return;
            node = right;
        }
    }

    private static double Mean(double mean, double value, long count)
    {
        if (count <= FirstCalls) return count == 1 ? value : Math.Min(mean, value);
        return mean + (Math.Min(value, 3 * mean) - mean) * CostRate; // what took longer was interrupted
    }

    private static double Microseconds(double ticks) => ticks * 1e6 / Stopwatch.Frequency;

    private struct DrafterUse
    {
        public double Value;        // ticks that a call spares, by what was chosen of it
        public double Cost;         // ticks of a call
        public double CostPerDepth; // ticks of a call per depth of its deepest tree
        public double LearnCost;    // ticks of learning from a call
        public double Return;       // ticks of a model's call after it was not asked for some steps
        public long SteadyCalls;    // calls that cost what they cost when made every step
        public bool Again;          // to be asked in the next step too
        public int Interval;        // steps between calls while it does not pay
        public int Skipped;         // steps since the last call
        public int Depth;           // of its deepest tree in the last call
        public bool Called;         // in this step
        public long Calls;
        public long Proposed;       // nodes
        public long Chosen;         // nodes
    }
}

/// <summary>What a <see cref="Governor"/> has learned and chosen.</summary>
/// <param name="PlainSteps">Steps without drafts.</param>
/// <param name="DraftedSteps">Steps with drafts.</param>
/// <param name="RowMicroseconds">A pass of one row, without its keys.</param>
/// <param name="ThousandKeysMicroseconds">Reading a thousand keys of every head.</param>
/// <param name="Rows">What passes of more rows cost.</param>
/// <param name="Drafters">What each drafter did.</param>
public sealed record GovernorReport(
    long PlainSteps, long DraftedSteps, double RowMicroseconds, double ThousandKeysMicroseconds, IReadOnlyList<RowCost> Rows, IReadOnlyList<DrafterReport> Drafters)
{
    /// <summary>Why it chose as it did, in a few lines.</summary>
    public string Explain()
    {
        IEnumerable<string> drafters = Drafters.Select(d => d.Calls == 0
            ? $"{d.Name} never asked"
            : string.Create(CultureInfo.InvariantCulture, $"{d.Name} asked {d.Calls} times at {d.Microseconds:F0} us, first drafts right {d.FirstAcceptance:P0}, {d.Accepted} of {d.Chosen} chosen drafts accepted"));
        string rows = string.Join(", ", Rows.Where(r => r.Rows > 1 && r.Seen > 1).Take(8).Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Rows} rows {r.Cost:F2}")));
        return string.Create(CultureInfo.InvariantCulture, $"{DraftedSteps} steps with drafts, {PlainSteps} plain: ") + string.Join("; ", drafters)
            + string.Create(CultureInfo.InvariantCulture, $"; a plain pass takes {RowMicroseconds:F0} us") + (rows.Length > 0 ? $", passes of {rows} times that" : "");
    }
}

/// <summary>What a pass of several rows costs in passes of one.</summary>
public sealed record RowCost(int Rows, int Seen, double Cost);

/// <summary>What one drafter did under a <see cref="Governor"/>.</summary>
/// <param name="Name">The drafter.</param>
/// <param name="Calls">Steps in which it was asked.</param>
/// <param name="Proposed">Nodes that it drafted.</param>
/// <param name="Chosen">Nodes of its that were verified.</param>
/// <param name="Accepted">Nodes of its that became part of an answer.</param>
/// <param name="Microseconds">Mean time of a call.</param>
/// <param name="FirstAcceptance">Share of its trees whose first level held the right token.</param>
public sealed record DrafterReport(string Name, long Calls, long Proposed, long Chosen, long Accepted, double Microseconds, double FirstAcceptance);
