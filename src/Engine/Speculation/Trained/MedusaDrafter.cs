using Foretoken.Backends;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Stopwatch = System.Diagnostics.Stopwatch;

namespace Foretoken.Speculation.Trained;

/// <summary>
/// Drafts with Medusa's heads: one small pass per head over the last hidden state of every sequence, whatever the depth. The candidates of the heads are combined as
/// the tree says. A sequence that begins with a stored prefix needs nothing else: its last token is always computed, and only that one's state is read.
/// </summary>
public sealed class MedusaDrafter : IDeferredDrafter
{
    private const int SmallTree = 3; // nodes that pay almost everywhere
    private readonly MedusaOptions _options;
    private readonly IFeatureBackend _backend;
    private readonly MedusaHeads _heads;
    private readonly MedusaTree _tree;
    private readonly MedusaHeads.FeatureRow _featureOfRow;
    private readonly FeatureTaps _taps;
    private readonly RowBatch _rows;
    private readonly int _tap, _hidden, _depth, _ranks;
    private readonly float[] _features;      // [sequences, hidden] of the newest committed token
    private readonly int[] _positions;       // [sequences] that token's position; −1 = none
    private readonly int[] _active;          // [sequences] requests that are drafted for
    private readonly int[] _tokens;          // [sequences, depth, ranks] candidates
    private readonly float[] _probabilities; // [sequences, depth, ranks]
    private readonly int[] _bases;           // [sequences] tokens of the path that the candidates follow; −1 = none
    private readonly float[] _logits;        // [ranks]
    private readonly float[] _paths;         // [tree nodes] probability of the path
    private readonly int[] _places;          // [tree nodes] node of the forest
    private readonly ulong[] _order;         // [tree nodes] the likeliest first
    private readonly float[] _sorted;        // [tree nodes] their probabilities
    private readonly PayingDrafts? _paying;
    private readonly long[] _right;          // [depth, ranks]
    private readonly long[] _tried;          // [depth]
    private int _ran, _newTokens;            // heads of the last Propose; tokens that came

    internal MedusaDrafter(MedusaOptions options, DrafterContext context, string directory, IFeatureBackend backend)
    {
        (_options, _backend, _taps) = (options, backend, context.Taps!);
        int sequences = context.MaxSequences;
        var plan = new MemoryPlan();
        _heads = new MedusaHeads(backend, context.Target.Shape, directory, options.WeightType, sequences, plan);
        foreach (MemoryPlanEntry e in plan.Entries) context.Plan.Add("draft " + e.Group, e.Name, e.Shape, e.Bytes);
        MedusaTree tree = options.Tree ?? (_heads.Accuracies is { } accuracies ? MedusaTree.Build(accuracies, options.Nodes) : MedusaTree.Default);
        _tree = tree.Limit(_heads.Count, Math.Min(MedusaTree.MaxRanks, context.Target.Shape.VocabSize));
        (_depth, _ranks, _hidden) = (_tree.Depth, _tree.Ranks.Max() + 1, context.Target.Shape.HiddenSize);
        _sorted = new float[_tree.Count];
        _paying = options.FitsCosts && _heads.Accuracies is not null ? PayingDrafts.For(context, _tree.Count, 1, SmallTree) : null;
        _tap = _taps.Tap(FeatureTaps.Normed);
        _rows = new RowBatch(sequences);
        _features = new float[sequences * _hidden];
        (_positions, _bases, _active) = (new int[sequences], new int[sequences], new int[sequences]);
        _positions.AsSpan().Fill(-1);
        _bases.AsSpan().Fill(-1);
        (_tokens, _probabilities) = (new int[sequences * _depth * _ranks], new float[sequences * _depth * _ranks]);
        (_paths, _places, _order) = (new float[_tree.Count], new int[_tree.Count], new ulong[_tree.Count]);
        (_right, _tried, _logits) = (new long[_depth * _ranks], new long[_depth], new float[_ranks]);
        _featureOfRow = row => _features.AsSpan(_rows.Sequences[row] * _hidden, _hidden);
        context.Plan.Add("speculation", "last hidden states", $"[sequences {sequences}, hidden {_hidden}] f32", _features.LongLength * 4);
        context.Plan.Add("speculation", "candidates of heads", $"[sequences {sequences}, heads {_depth}, ranks {_ranks}] i32, f32", _tokens.LongLength * 8);
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public int MaxNodes => _options.MaxNodes;

    /// <inheritdoc/>
    public int MaxDepth => _depth;

    /// <summary>How often the candidate of each rank was right so far, whether or not it was verified: what <see cref="MedusaTree.Build"/> takes. // [heads][ranks]</summary>
    public IReadOnlyList<IReadOnlyList<double>> RankAccuracies =>
        [.. Enumerable.Range(0, _depth).Select(d => (IReadOnlyList<double>)[.. Enumerable.Range(0, _ranks).Select(r => _right[d * _ranks + r] / Math.Max(1.0, _tried[d]))])];

    /// <inheritdoc/>
    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        if (accepted.IsEmpty) return;
        _taps.Of(_tap, accepted[^1]).CopyTo(_features.AsSpan(sequence * _hidden, _hidden));
        _positions[sequence] = rows.Positions[accepted[^1]];
    }

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        int active = 0, depth = 0;
        _rows.Clear();
        for (int i = 0; i < requests.Length; i++)
        {
            DraftRequest r = requests[i];
            _bases[r.Sequence] = -1;
            if (r.MaxNodes <= 0 || r.MaxDepth <= 0 || _positions[r.Sequence] != r.Path.Count - 2) continue; // a prompt is still being read
            _rows.Add(0, 0, r.Sequence, -1, wantsLogits: true);
            _active[active++] = i;
            _bases[r.Sequence] = r.Path.Count;
            depth = Math.Max(depth, Math.Min(r.MaxDepth, _depth));
        }

        _paying?.BeginStep(requests.Length);
        if (active == 0) return;
        _backend.BeginRows(_rows);
        for (_ran = 0; _ran < depth && (_ran == 0 || Pays(requests, active)); _ran++)
        {
            long start = Stopwatch.GetTimestamp();
            _heads.Run(_ran, _rows, _featureOfRow);
            for (int a = 0; a < active; a++) Rank(a, requests[_active[a]].Sequence, _ran);
            _paying?.ObserveLevel(active, Stopwatch.GetTimestamp() - start);
        }

        for (int a = 0; a < active; a++) AddTree(requests[_active[a]], forest);
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        _newTokens = 0;
        for (int i = 0; i < requests.Length; i++)
        {
            DraftRequest r = requests[i];
            _newTokens += acceptances[i].NewTokens;
            int known = Math.Min(Math.Min(acceptances[i].NewTokens, _ran), r.MaxDepth);
            if (_bases[r.Sequence] != r.Path.Count - acceptances[i].NewTokens) continue;
            for (int head = 0; head < known; head++)
            {
                int rank = Candidates(r.Sequence, head).IndexOf(r.Path.Tokens[_bases[r.Sequence] + head]);
                _tried[head]++;
                if (rank >= 0) _right[head * _ranks + rank]++;
            }
        }
    }

    /// <inheritdoc/>
    public void Measured(in StepCost cost) => _paying?.Observe(cost, _newTokens);

    /// <inheritdoc/>
    public void Release(int sequence) => _positions[sequence] = _bases[sequence] = -1;

    /// <inheritdoc/>
    void IDeferredDrafter.LoadWeights(CancellationToken cancellation) => _heads.Load(cancellation);

    /// <inheritdoc/>
    public void Dispose()
    {
        _heads.Dispose();
        _backend.Dispose();
    }

    private Span<int> Candidates(int sequence, int head) => _tokens.AsSpan((sequence * _depth + head) * _ranks, _ranks);

    private Span<float> Probabilities(int sequence, int head) => _probabilities.AsSpan((sequence * _depth + head) * _ranks, _ranks);

    /// <summary>Whether the next head is worth its time: it is as often right as it was when it was measured, behind what the heads before it say now.</summary>
    private bool Pays(ReadOnlySpan<DraftRequest> requests, int active)
    {
        if (_paying is null) return true;
        double right = 0;
        for (int a = 0; a < active; a++)
        {
            double path = _heads.Accuracies![_ran][0];
            for (int head = 0; head < _ran; head++) path *= Probabilities(requests[_active[a]].Sequence, head)[0];
            right += path;
        }

        return right / active >= _paying.LeastOfLevel(active, active);
    }

    /// <summary>The best tokens of a head for one sequence, with their probabilities.</summary>
    private void Rank(int row, int sequence, int head)
    {
        ReadOnlySpan<float> logits = _backend.LogitsOf(row);
        Span<int> tokens = Candidates(sequence, head);
        Span<float> probabilities = Probabilities(sequence, head);
        float max = LogitMath.Max(logits);
        if (!float.IsFinite(max))
        {
            probabilities.Clear();
            return;
        }

        TopTokens.Find(logits, tokens, _logits);
        float scale = (float)(1 / LogitMath.SumExp(logits, max));
        for (int i = 0; i < tokens.Length; i++)
        {
            probabilities[i] = tokens[i] < 0 ? 0 : MathF.Exp(_logits[i] - max) * scale;
            tokens[i] = tokens[i] < 0 ? -1 : _heads.ToTarget(tokens[i]);
        }
    }

    /// <summary>Nodes of the tree, the likeliest first as far as the budget goes; a node is never likelier than its parent and stands behind it.</summary>
    private void AddTree(in DraftRequest request, TokenForest forest)
    {
        for (int n = 0; n < _tree.Count; n++)
        {
            int parent = _tree.Parents[n];
            _paths[n] = (parent < 0 ? 1 : _paths[parent]) * Probabilities(request.Sequence, _tree.Depths[n] - 1)[_tree.Ranks[n]];
            if (_tree.Depths[n] > Math.Min(request.MaxDepth, _ran)) _paths[n] = 0;
            _order[n] = (ulong)~BitConverter.SingleToUInt32Bits(_paths[n]) << 32 | (uint)n;
        }

        _order.AsSpan().Sort();
        int budget = Math.Min(Math.Min(_options.Nodes, request.MaxNodes), _tree.Count);
        if (_paying is not null)
        {
            for (int i = 0; i < budget; i++) _sorted[i] = _paths[(int)(uint)_order[i]];
            budget = _paying.Count(_sorted.AsSpan(0, budget));
        }

        for (int i = 0; i < budget; i++)
        {
            int n = (int)(uint)_order[i], head = _tree.Depths[n] - 1, parent = _tree.Parents[n];
            if (!(_paths[n] > 0) || _paths[n] < _options.MinProbability) break;
            int token = Candidates(request.Sequence, head)[_tree.Ranks[n]], above = parent < 0 ? forest.Root(request.Tree) : _places[parent];
            _places[n] = above < 0 ? -1 : forest.Add(above, token, Probabilities(request.Sequence, head)[_tree.Ranks[n]]);
        }
    }
}
