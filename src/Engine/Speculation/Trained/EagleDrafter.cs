using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Stopwatch = System.Diagnostics.Stopwatch;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// Drafts with a layer or so of its own that goes on from the target's hidden states (<see cref="EagleHead"/>), for all sequences of a step at once. It has a cache
/// of its own with an entry per committed token but the first: the pair of a token and the feature of the token before it.
/// <para>Features come as the target commits rows, prompt rows too, and wait in a buffer until the drafter is asked or the buffer is full; so nothing is missed while the
/// Governor asks others. Trees are expanded level by level: a pass runs the nodes of the last level only, behind the rows of the levels before, which stay in the cache until the draft is done.</para>
/// <para>A sequence that begins with a stored prefix of the target takes the same prefix of this cache. Where that is not to be had, it begins with the first feature
/// that comes: rotary positions are relative, so that the keys before it are merely absent. Tokens are never wrong for that, drafts only somewhat.</para>
/// </summary>
public sealed class EagleDrafter : IDeferredDrafter
{
    private const int SmallTree = 5; // nodes that pay almost everywhere
    private readonly EagleOptions _options;
    private readonly IFeatureBackend _backend;
    private readonly EagleHead _head;
    private readonly FeatureTaps _taps;
    private readonly PagedKvCache _cache;
    private readonly PendingFeatures _pending;
    private readonly RowBatch _rows;
    private readonly int[] _tapOf;           // [taps]
    private readonly State[] _states;        // [sequences]
    private readonly bool[] _asks;           // [sequences] the next pass asks for logits of the sequence's last row
    private readonly int[] _counts;          // [sequences] features of the pass
    private readonly Active[] _active;       // [sequences] requests that are drafted for
    private readonly DynamicTree[] _trees;   // [sequences]
    private readonly float[] _outputs;       // [sequences, 1 + expanded nodes, hidden] the drafter's own features, the root's first
    private readonly PayingDrafts? _paying;
    private readonly int[] _accepted;        // [rows]
    private readonly int[] _top;             // [width]
    private readonly float[] _topLogits;     // [width]
    private readonly int _hidden, _expanded;
    private DraftWeights? _weights;          // open until they are read
    private int _activeCount, _newTokens;

    internal EagleDrafter(EagleOptions options, DrafterContext context, DraftWeights weights, IFeatureBackend backend)
    {
        (_options, _backend, _taps, _weights) = (options, backend, context.Taps!, weights);
        int sequences = context.MaxSequences, longest = context.ContextLength;
        var plan = new MemoryPlan();
        EagleConfig config = EagleConfig.Read(weights, context.Target, longest + options.Depth);
        _hidden = config.Shape.HiddenSize;
        _expanded = Math.Max(1, options.Width * (options.Depth - 1));
        int waiting = _taps.MaxRows + sequences, rows = Math.Max(waiting, sequences * options.Width);
        _head = new EagleHead(backend, config, weights, context.Target, options.WeightType, rows, sequences * options.Width, plan);
        _tapOf = [.. config.Taps.Select(_taps.Tap)];
        _pending = new PendingFeatures(waiting, sequences, _head.FeatureWidth, plan);
        var layout = new KvLayout(config.Shape.LayerCount, config.Shape.KvHeadCount, config.Shape.HeadDim, options.KvType, context.TargetCache.Options.Layout.SlotsPerPage);
        int slack = Math.Max(waiting, _expanded);
        _cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = sequences, MaxTokensPerSequence = longest, MaxRowsPerSequence = slack,
                BudgetBytes = PagedKvCache.BytesFor(layout, sequences, longest + slack + layout.SlotsPerPage), MaxPrefixes = context.TargetCache.Options.MaxPrefixes,
            },
            plan);
        foreach (MemoryPlanEntry e in plan.Entries) context.Plan.Add("draft " + e.Group, e.Name, e.Shape, e.Bytes);
        _rows = new RowBatch(rows);
        _paying = options.FitsCosts ? PayingDrafts.For(context, options.Nodes, options.Width, SmallTree) : null;
        (_states, _asks, _active, _accepted) = (new State[sequences], new bool[sequences], new Active[sequences], new int[rows]);
        _counts = new int[sequences];
        _states.AsSpan().Fill(State.None);
        _trees = [.. Enumerable.Range(0, sequences).Select(_ => new DynamicTree(options.Width, options.Depth))];
        _outputs = new float[(long)sequences * (1 + _expanded) * _hidden];
        int width = Math.Min(options.Width, config.Shape.VocabSize);
        (_top, _topLogits) = (new int[width], new float[width]);
        context.Plan.Add("speculation", "draft features", $"[sequences {sequences}, nodes {1 + _expanded}, hidden {_hidden}] f32", _outputs.LongLength * 4);
        context.Plan.Add("speculation", "dynamic trees", $"[sequences {sequences}]", sequences * DynamicTree.BytesOf(options.Width, options.Depth));
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public int MaxNodes => _options.MaxNodes;

    /// <inheritdoc/>
    public int MaxDepth => _options.Depth;

    /// <inheritdoc/>
    public bool RunsModel => true;

    /// <inheritdoc/>
    void IDeferredDrafter.LoadWeights(CancellationToken cancellation)
    {
        _head.Load(_weights!, cancellation);
        _weights!.Dispose();
        _weights = null;
    }

    /// <summary>Position whose feature a running sequence begins with: 0, or behind a prefix that this drafter did not have.</summary>
    internal int FirstOf(int sequence) => _states[sequence].First;

    /// <inheritdoc/>
    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        if (accepted.IsEmpty) return;
        if (_pending.Free < accepted.Length) Absorb();
        int position = rows.Positions[accepted[0]];
        if (_states[sequence].Cache >= 0 && Entries(sequence) != position) Forget(sequence); // it went on elsewhere: as a new one
        if (_states[sequence].IsNew) Open(sequence, path, position);
        if (_pending.Free < accepted.Length) Forget(sequence); // others hold all: it begins again with its next rows
        if (_states[sequence].Cache < 0) return;
        _states[sequence].Path = path; // a fork's is its own
        foreach (int row in accepted)
        {
            Span<float> feature = _pending.Add(sequence);
            for (int t = 0; t < _tapOf.Length; t++) _taps.Of(_tapOf[t], row).CopyTo(feature[(t * _hidden)..]);
        }
    }

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        _activeCount = 0;
        _asks.AsSpan().Clear();
        for (int i = 0; i < requests.Length; i++)
        {
            DraftRequest r = requests[i];
            bool ready = _states[r.Sequence].Cache >= 0 && _pending.CountOf(r.Sequence) > 0 && Entries(r.Sequence) == r.Path.Count - 1;
            if (!ready || r.MaxNodes <= 0 || r.MaxDepth <= 0) continue;
            _states[r.Sequence].Path = r.Path;
            _active[_activeCount++] = new Active(i, r.Sequence);
            _asks[r.Sequence] = true;
        }

        _paying?.BeginStep(requests.Length);
        if (_activeCount == 0) return;
        RunPending(others: false);
        for (int a = 0; a < _activeCount; a++)
        {
            _trees[a].Clear();
            AddChildren(a, -1, _active[a].Logits, _active[a].Row);
        }

        try
        {
            for (int depth = 1; EndLevel(requests, depth); depth++)
            {
                long start = Stopwatch.GetTimestamp();
                RunLevel();
                _paying?.ObserveLevel(_rows.Count, Stopwatch.GetTimestamp() - start);
            }
        }
        finally
        {
            DropTrees();
        }

        for (int a = 0; a < _activeCount; a++)
        {
            DraftRequest r = requests[_active[a].Request];
            _trees[a].CopyTo(forest, forest.Root(r.Tree), Math.Min(r.MaxNodes, _options.Nodes), _options.MinProbability, _paying);
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        _newTokens = 0;
        foreach (Acceptance acceptance in acceptances) _newTokens += acceptance.NewTokens;
    }

    /// <inheritdoc/>
    public void Measured(in StepCost cost) => _paying?.Observe(cost, _newTokens);

    /// <inheritdoc/>
    public void Fork(int source, int sequence, int tokens)
    {
        State from = _states[source];
        if (from.Cache < 0 || from.First > tokens || Entries(source) < tokens) return;
        if (_pending.CountOf(source) > 1) Absorb(); // once for all forks
        int index = _cache.TryFork(from.Cache);
        if (index < 0) return;
        int kept = Math.Min(_cache.Length(index), tokens - from.First);
        if (_cache.TryTruncate(index, kept) && TryReserve(index) && _pending.TryCopy(source, sequence, tokens - from.First - kept))
            _states[sequence] = new State(index, from.First, from.Path, from.IsPublished, IsNew: false);
        else
            _cache.Release(index);
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
        if (_states[sequence].Cache >= 0) Publish(_states[sequence]);
        Forget(sequence);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _weights?.Dispose();
        _cache.Dispose();
        _backend.Dispose();
    }

    /// <summary>Committed tokens of the sequence whose feature is known: the position of the next.</summary>
    private int Entries(int sequence) => _states[sequence].First + _cache.Length(_states[sequence].Cache) + _pending.CountOf(sequence);

    private void Forget(int sequence)
    {
        int index = _states[sequence].Cache;
        _pending.Clear(sequence);
        _states[sequence] = State.None;
        if (index >= 0) _cache.Release(index);
    }

    /// <summary>A sequence that is new: from its beginning, or behind a prefix, which this cache has stored too or which is left out.</summary>
    private void Open(int sequence, TokenHistory path, int position)
    {
        int index = _cache.TryAcquire(), stored = position == 0 ? 0 : _cache.TryAttachPrefix(index, path.Tokens[1..]); // as many as the target has
        if (stored > position && _cache.TryTruncate(index, position)) stored = position;
        if (stored != position && stored > 0)
        {
            _cache.Release(index);
            index = _cache.TryAcquire();
        }

        if (TryReserve(index))
        {
            _states[sequence] = new State(index, stored == position ? 0 : position, path, IsPublished: false, IsNew: false);
            return;
        }

        _cache.Release(index); // copies of shared pages took what was planned for it: it goes without drafts
        _states[sequence] = State.None with { IsNew = false };
    }

    /// <summary>Reserves the most that a sequence may need, once: the budget is made for it.</summary>
    private bool TryReserve(int index) => _cache.TryReserve(index, _cache.Options.MaxTokensPerSequence + _cache.Options.MaxRowsPerSequence);

    /// <summary>Stores what the sequence has, under its tokens but the first, for which there is no entry.</summary>
    private void Publish(in State s)
    {
        if (s.First == 0 && _cache.Length(s.Cache) > 0) _cache.PublishPrefix(s.Cache, s.Path.Tokens[1..]);
    }

    /// <summary>Makes room among the waiting features: all but the last of each sequence, which the next draft begins with, are computed now.</summary>
    private void Absorb()
    {
        _asks.AsSpan().Clear();
        RunPending(others: true);
    }

    /// <summary>One pass over the waiting features: all of the sequences that ask, and, where room is wanted, all but the last of the others.</summary>
    private void RunPending(bool others)
    {
        _rows.Clear();
        for (int sequence = 0; sequence < _states.Length; sequence++)
        {
            int count = _pending.CountOf(sequence) - (_asks[sequence] ? 0 : 1), index = _states[sequence].Cache;
            _counts[sequence] = 0;
            if (count <= 0 || (!others && !_asks[sequence])) continue;
            int position = _cache.Length(index), behind = _states[sequence].First + position + 1, parent = -1;
            count = Math.Min(count, _states[sequence].Path.Count - behind); // as far as the tokens behind the features are known
            if (count <= 0) continue;
            _counts[sequence] = count;
            ReadOnlySpan<int> tokens = _states[sequence].Path.Tokens[behind..];
            for (int i = 0; i < count; i++) parent = _rows.Add(tokens[i], position + i, index, parent, wantsLogits: _asks[sequence] && i == count - 1);
            for (int a = 0; a < _activeCount && _asks[sequence]; a++)
            {
                if (_active[a].Sequence == sequence) _active[a] = _active[a] with { Row = parent, Logits = _rows.LogitRows.Length - 1 };
            }
        }

        if (_rows.Count == 0) return;
        _cache.BeginPass(_rows);
        bool ran = false;
        try
        {
            _head.Begin(_rows, _cache.View);
            for (int row = 0, sequence = 0; sequence < _states.Length; sequence++)
            {
                for (int i = 0; i < _counts[sequence]; i++) _pending.Take(sequence, _head.FeatureOf(row++));
            }

            _head.Run(_rows, fromTarget: true);
            ran = true;
        }
        finally
        {
            foreach (RowSegment segment in _rows.Segments)
            {
                for (int i = 0; i < segment.Count; i++) _accepted[i] = segment.First + i;
                _cache.Commit(segment.Sequence, _accepted.AsSpan(0, ran ? segment.Count : 0)); // a pass that failed leaves nothing
            }
        }

        PublishPrompts();
    }

    /// <summary>Stores prompts once they are read, so that requests that come while their answers run find them.</summary>
    private void PublishPrompts()
    {
        foreach (ref State s in _states.AsSpan())
        {
            if (s.Cache < 0 || s.IsPublished || _cache.Length(s.Cache) < s.Path.PromptCount - 1) continue;
            Publish(s);
            s.IsPublished = true;
        }
    }

    /// <summary>Scores the children of an expanded node, or of the root (−1), from the logits of its row, and keeps its feature.</summary>
    private void AddChildren(int active, int expanded, int logits, int row)
    {
        _head.StateOf(row).CopyTo(OutputOf(active, expanded));
        ReadOnlySpan<float> values = _head.LogitsOf(logits);
        float max = LogitMath.Max(values);
        if (!float.IsFinite(max)) return;
        TopTokens.Find(values, _top, _topLogits);
        float scale = (float)(1 / LogitMath.SumExp(values, max));
        for (int i = 0; i < _top.Length && _top[i] >= 0; i++)
            _trees[active].AddChild(expanded, _head.ToTarget(_top[i]), MathF.Exp(_topLogits[i] - max) * scale);
    }

    /// <summary>Chooses the nodes that are expanded next.</summary>
    /// <returns>Whether there are any.</returns>
    private bool EndLevel(ReadOnlySpan<DraftRequest> requests, int depth)
    {
        int rows = 0;
        float leastPath = Math.Max(_options.MinProbability, _paying?.LeastOfRow ?? 0);
        for (int a = 0; a < _activeCount; a++)
        {
            ref Active active = ref _active[a];
            if (!active.GoesOn) continue;
            DraftRequest r = requests[active.Request];
            active.GoesOn = depth < Math.Min(_options.Depth, Math.Min(r.MaxDepth, r.MaxNodes)) && _trees[a].EndLevel(Math.Max(leastPath, r.MinProbability)) > 0;
            if (active.GoesOn) rows += _trees[a].Expanded - _trees[a].FrontierFirst;
        }

        bool goesOn = false;
        for (int a = 0; a < _activeCount; a++)
        {
            ref Active active = ref _active[a];
            active.GoesOn &= _paying is null || _trees[a].FrontierMass >= _paying.LeastOfLevel(_activeCount, rows);
            goesOn |= active.GoesOn;
        }

        return goesOn;
    }

    /// <summary>One pass over the last levels of the trees, behind the rows of the levels before; their nodes get children.</summary>
    private void RunLevel()
    {
        Span<ulong> ancestors = stackalloc ulong[RowBatch.MaskWords];
        _rows.Clear();
        for (int a = 0; a < _activeCount; a++)
        {
            if (!_active[a].GoesOn) continue;
            DynamicTree tree = _trees[a];
            int index = _states[_active[a].Sequence].Cache;
            for (int e = tree.FrontierFirst; e < tree.Expanded; e++)
            {
                tree.AncestorsOf(e, ancestors);
                _rows.AddBehind(tree.TokenOf(e), index, _cache.Length(index), tree.FrontierFirst, ancestors, wantsLogits: true);
            }
        }

        _cache.BeginPass(_rows);
        for (int a = 0; a < _activeCount; a++) _active[a].HasRows |= _active[a].GoesOn;
        _head.Begin(_rows, _cache.View);
        for (int a = 0, row = 0; a < _activeCount; a++)
        {
            if (!_active[a].GoesOn) continue;
            for (int e = _trees[a].FrontierFirst; e < _trees[a].Expanded; e++) OutputOf(a, _trees[a].ParentOf(e)).CopyTo(_head.StateOf(row++));
        }

        _head.Run(_rows, fromTarget: false);
        for (int a = 0, row = 0; a < _activeCount; a++)
        {
            if (!_active[a].GoesOn) continue;
            for (int e = _trees[a].FrontierFirst; e < _trees[a].Expanded; e++, row++) AddChildren(a, e, row, row);
        }
    }

    /// <summary>Takes the rows of the trees out of the cache again.</summary>
    private void DropTrees()
    {
        for (int a = 0; a < _activeCount; a++)
        {
            if (_active[a].HasRows) _cache.Commit(_states[_active[a].Sequence].Cache, []);
        }
    }

    private Span<float> OutputOf(int active, int expanded) => _outputs.AsSpan((active * (1 + _expanded) + 1 + expanded) * _hidden, _hidden);

    /// <summary>What is known of a sequence of the target.</summary>
    /// <param name="Cache">Its index in this drafter's cache; −1 = none.</param>
    /// <param name="First">Position whose feature the first entry holds.</param>
    /// <param name="Path">Its tokens.</param>
    /// <param name="IsPublished">Its prompt is stored.</param>
    /// <param name="IsNew">No row of it was committed yet.</param>
    private record struct State(int Cache, int First, TokenHistory Path, bool IsPublished, bool IsNew)
    {
        public static State None { get; } = new(-1, 0, null!, IsPublished: false, IsNew: true);
    }

    /// <summary>A request that is drafted for.</summary>
    /// <param name="Request">Its index.</param>
    /// <param name="Sequence">The target's index of its sequence.</param>
    private record struct Active(int Request, int Sequence)
    {
        /// <summary>Row of the first pass that the root's children follow.</summary>
        public int Row;

        /// <summary>Index of that row among those with logits.</summary>
        public int Logits;

        /// <summary>Rows of its tree are in the cache.</summary>
        public bool HasRows;

        /// <summary>The last level has nodes to expand.</summary>
        public bool GoesOn = true;
    }
}
