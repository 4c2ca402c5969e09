using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Drafts with a smaller model of its own weights and KV cache, through the same <see cref="Transformer.Forward"/>, for all sequences of a step at once:
/// one pass per depth. What it drafted is part of its cache already when the target accepts it; what the target rejected is cut off. Long prompts
/// are read in several steps; until then a request gets no drafts. (Leviathan et al., 2023; Chen et al., 2023.)
/// </summary>
public sealed class DraftModelDrafter : IDeferredDrafter
{
    private const int CatchUpPasses = 8; // of a step, for prompts
    private const int LonePasses = 32;   // where no other request waits: drafts come along with the prompt's last rows
    private const int Candidates = 8;    // most likely tokens that are looked at
    private readonly DraftModelOptions _options;
    private readonly IBackend _backend;
    private readonly AnnouncedModel _announced;
    private readonly PagedKvCache _cache;
    private readonly VocabularyMap _map;
    private readonly RowBatch _rows;
    private readonly DraftedSequence[] _sequences; // [sequences]
    private readonly Active[] _active;             // [sequences] requests that go on
    private readonly int[] _accepted;              // [rows] rows to commit
    private readonly int[] _top = new int[Candidates];
    private readonly float[] _topLogits = new float[Candidates];
    private readonly double[] _probabilities;      // [vocab] where the rule accepts by distributions and the vocabularies are the same; else empty
    private readonly Sampler _sampler;
    private ModelSource? _source;                  // open until the weights are read
    private Transformer _model = null!;            // with its weights
    private int _activeCount;
    private long _step;

    internal DraftModelDrafter(DraftModelOptions options, DrafterContext context, ModelSource source, IBackend backend, VocabularyMap map)
    {
        (_options, _backend, _map, _source) = (options, backend, map, source);
        int longest = (int)Math.Min(source.Config.Shape.MaxPositions, (long)context.ContextLength * map.LongestToken + options.Tokens);
        var plan = new MemoryPlan();
        _announced = ModelLoader.Announce(source, new LoadOptions
        {
            Backend = backend, Plan = plan, LaterWeights = plan, MaxRows = options.MaxRows, MaxLogitRows = context.MaxSequences, WeightType = options.WeightType, ContextLength = longest,
        });
        TransformerShape shape = _announced.Config.Shape;
        bool draws = context.DraftDistributions && map.IsIdentity && shape.VocabSize == context.Target.Shape.VocabSize;
        _probabilities = draws ? new double[shape.VocabSize] : [];
        _sampler = new Sampler(shape.VocabSize, plan);
        _rows = new RowBatch(options.MaxRows);
        _accepted = new int[options.MaxRows];
        _active = new Active[context.MaxSequences];
        _sequences = new DraftedSequence[context.MaxSequences];
        for (int i = 0; i < _sequences.Length; i++) _sequences[i] = new DraftedSequence(longest + 1);
        _cache = CreateCache(options, context, shape, longest, plan); // last: what fails before leaves nothing but the backend, which the caller frees
        foreach (MemoryPlanEntry e in plan.Entries) context.Plan.Add("draft " + e.Group, e.Name, e.Shape, e.Bytes);
        context.Plan.Add("speculation", "draft paths", $"[sequences {_sequences.Length}] tokens i32", _sequences.Length * (longest + 1L) * 4);
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public int MaxNodes => _options.MaxNodes;

    /// <inheritdoc/>
    public int MaxDepth => _options.Tokens;

    /// <inheritdoc/>
    public bool RunsModel => true;

    /// <inheritdoc/>
    public bool DrawsDrafts => _probabilities.Length > 0;

    /// <summary>Rows that the draft model has run.</summary>
    internal long Rows { get; private set; }

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        _activeCount = 0;
        _step++;
        for (int i = 0; i < requests.Length; i++)
        {
            if (requests[i].MaxNodes > 0 && requests[i].MaxDepth > 0 && Follow(requests[i])) _active[_activeCount++] = new Active(i, forest.Root(requests[i].Tree), 1);
        }

        int passes = requests.Length == 1 ? LonePasses : CatchUpPasses;
        for (int pass = 0; pass < passes && ReadPrompts(requests); pass++)
        {
        }

        KeepReady(requests);
        for (int depth = 1; _activeCount > 0; depth++)
        {
            RunPending(requests);
            int kept = 0;
            for (int a = 0; a < _activeCount; a++)
            {
                if (Extend(requests[_active[a].Request], forest, a, depth)) _active[kept++] = _active[a];
            }

            _activeCount = kept;
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
        DraftedSequence s = _sequences[sequence];
        if (s.CacheIndex >= 0)
        {
            _cache.PublishPrefix(s.CacheIndex, s.Tokens[..Math.Min(s.Count, _cache.Length(s.CacheIndex))]);
            _cache.Release(s.CacheIndex);
        }

        s.Clear();
    }

    /// <inheritdoc/>
    void IDeferredDrafter.LoadWeights(CancellationToken cancellation)
    {
        _model = _announced.Load(cancellation).Transformer;
        _source!.Dispose();
        _source = null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _source?.Dispose();
        _cache.Dispose();
        _backend.Dispose();
    }

    private static PagedKvCache CreateCache(DraftModelOptions options, DrafterContext context, TransformerShape shape, int longest, MemoryPlan plan)
    {
        var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, options.KvType);
        return new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = context.MaxSequences, MaxTokensPerSequence = longest, MaxRowsPerSequence = options.MaxRows,
                BudgetBytes = PagedKvCache.BytesFor(layout, context.MaxSequences, longest + options.MaxRows),
                MaxPrefixes = context.TargetCache.Options.MaxPrefixes,
            },
            plan);
    }

    /// <summary>Brings the sequence's tokens up to the request's path and cuts off what the target did not accept, also where no draft has room any more.</summary>
    /// <returns>False if there is no room for drafts.</returns>
    private bool Follow(in DraftRequest request)
    {
        DraftedSequence s = _sequences[request.Sequence];
        s.Follow(request.Path.Tokens, _map);
        if (s.CacheIndex >= 0) CutBack(s);
        if (s.Count + _options.Tokens > _cache.Options.MaxTokensPerSequence) return false;
        if (s.CacheIndex < 0 && !TryBegin(s)) return false;
        s.Step = _step;
        return _cache.TryReserve(s.CacheIndex, Math.Max(_cache.Reserved(s.CacheIndex), Math.Min(s.Count + _options.MaxRows, _cache.Options.MaxTokensPerSequence)));
    }

    private void CutBack(DraftedSequence s)
    {
        int keep = Math.Min(s.Shared, s.Count - 1); // the last token is run again for its logits
        if (_cache.Length(s.CacheIndex) <= keep || _cache.TryTruncate(s.CacheIndex, keep)) return;
        _cache.Release(s.CacheIndex);
        s.CacheIndex = _cache.TryAcquire();
    }

    /// <summary>
    /// Takes a place in the cache, with what is stored or what another sequence that begins with the same tokens has read: forks of the target's sequence share here
    /// too, and so do requests that happen to begin alike.
    /// </summary>
    /// <returns>False if another sequence is just reading the same beginning, which can be shared in a later step.</returns>
    private bool TryBegin(DraftedSequence s)
    {
        DraftedSequence? source = null;
        int common = Share;
        foreach (DraftedSequence other in _sequences)
        {
            if (other.CacheIndex < 0 || Math.Min(other.Tokens.CommonPrefixLength(s.Tokens), s.Count - 1) is var same && same <= common) continue;
            (source, common) = (other, same);
        }

        int read = source is null ? 0 : Math.Min(common, _cache.Length(source.CacheIndex));
        if (source?.Step == _step && read < common - Share) return false;
        s.CacheIndex = _cache.TryAcquire(); // as many as the target has
        if (_cache.TryAttachPrefix(s.CacheIndex, s.Tokens) >= read) return true;
        _cache.Release(s.CacheIndex);
        s.CacheIndex = _cache.TryFork(source!.CacheIndex, read) is var fork and >= 0 ? fork : _cache.TryAcquire();
        return true;
    }

    /// <summary>Runs one pass over tokens that lie far back, if there are any.</summary>
    private bool ReadPrompts(ReadOnlySpan<DraftRequest> requests)
    {
        _rows.Clear();
        for (int a = 0; a < _activeCount; a++)
        {
            DraftedSequence s = _sequences[requests[_active[a].Request].Sequence];
            int pending = s.Count - _cache.Length(s.CacheIndex), room = _rows.Capacity - _rows.Count;
            if (pending > Share && room > 0) Lay(s, Math.Min(pending - 1, room), wantsLogits: false);
        }

        if (_rows.Count == 0) return false;
        Run();
        return true;
    }

    /// <summary>Tokens of one sequence that the pass of the first draft reads along.</summary>
    private int Share => Math.Max(1, _rows.Capacity / _sequences.Length);

    private void KeepReady(ReadOnlySpan<DraftRequest> requests)
    {
        int kept = 0;
        for (int a = 0; a < _activeCount; a++)
        {
            DraftedSequence s = _sequences[requests[_active[a].Request].Sequence];
            if (s.Count - _cache.Length(s.CacheIndex) <= Share) _active[kept++] = _active[a];
        }

        _activeCount = kept;
    }

    /// <summary>One pass over what every active sequence has not run yet; its last token gives logits, in the order of <see cref="_active"/>.</summary>
    private void RunPending(ReadOnlySpan<DraftRequest> requests)
    {
        _rows.Clear();
        for (int a = 0; a < _activeCount; a++)
        {
            DraftedSequence s = _sequences[requests[_active[a].Request].Sequence];
            Lay(s, s.Count - _cache.Length(s.CacheIndex), wantsLogits: true);
        }

        Run();
    }

    private void Lay(DraftedSequence s, int count, bool wantsLogits)
    {
        int position = _cache.Length(s.CacheIndex), parent = -1;
        for (int i = 0; i < count; i++)
            parent = _rows.Add(s.Tokens[position + i], position + i, s.CacheIndex, parent, wantsLogits && i == count - 1);
    }

    private void Run()
    {
        Rows += _rows.Count;
        _cache.BeginPass(_rows);
        bool ran = false;
        try
        {
            _model.Forward(_rows, _cache.View);
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
    }

    /// <summary>Drafts the most likely tokens behind the active sequence's path; the first goes on.</summary>
    private bool Extend(in DraftRequest request, TokenForest forest, int active, int depth)
    {
        Active a = _active[active];
        ReadOnlySpan<float> logits = _model.LogitsOf(active);
        float max = LogitMath.Max(logits);
        if (!float.IsFinite(max)) return false;
        if (_probabilities.Length > 0 && !request.Sampling.IsGreedy && forest.TryMarkDrawn(a.Node, out Span<float> q)) return Draw(request, forest, active, depth, q);
        int looked = Math.Min(Candidates, logits.Length);
        TopTokens.Find(logits, _top.AsSpan(0, looked), _topLogits.AsSpan(0, looked));
        float scale = (float)(1 / LogitMath.SumExp(logits, max));
        int width = Math.Min(_options.Width, Candidates), added = 0, main = -1, mainToken = -1;
        float mainProbability = 0;
        for (int i = 0; i < looked && added < width; i++)
        {
            int token = _map.ToTarget(_top[i]);
            float confidence = MathF.Exp(_topLogits[i] - max) * scale;
            if (a.Probability * confidence < Math.Max(_options.MinProbability, request.MinProbability)) break;
            if (token < 0) continue;
            int node = forest.Add(a.Node, token, confidence);
            if (node < 0) break;
            if (added++ == 0) (main, mainToken, mainProbability) = (node, _top[i], a.Probability * confidence);
        }

        return GoOn(request, active, depth, new Active(a.Request, main, mainProbability), mainToken);
    }

    /// <summary>
    /// Draws tokens at random, as the request samples, and leaves the distribution in <paramref name="q"/> for rules that accept by it. What is drawn is
    /// drafted, however unlikely: leaving some out would change the distribution.
    /// </summary>
    private bool Draw(in DraftRequest request, TokenForest forest, int active, int depth, Span<float> q)
    {
        Active a = _active[active];
        TokenHistory path = request.Path;
        int begin = path.Count, width = Math.Min(_options.Width, Candidates), main = -1, mainToken = -1;
        ReadOnlySpan<int> drafts = _sequences[request.Sequence].Drafts;
        foreach (int token in drafts[..Math.Min(drafts.Length, path.Capacity - begin)]) path.Append(token); // penalties count drafts too
        _sampler.TryDistribution(_model.LogitsOf(active), request.Sampling, path, _probabilities);
        path.Truncate(begin);
        for (int x = 0; x < q.Length; x++) _probabilities[x] = q[x] = (float)_probabilities[x];
        var draws = new CounterDraws(request.Sampling.Seed, begin, CounterDraws.DraftDraws + (uint)(depth * Candidates));
        for (int i = 0; i < width; i++)
        {
            double total = 0;
            foreach (double probability in _probabilities) total += probability;
            if (!(total > 0)) break;
            int token = draws.Draw(_probabilities, total), node = forest.AddDrawn(a.Node, token, q[token]);
            if (node < 0) break;
            if (i == 0) (main, mainToken) = (node, token);
            _probabilities[token] = 0;
        }

        if (main < 0) return false;
        float mainProbability = a.Probability * q[mainToken];
        if (mainProbability < _options.MinProbability) return false;
        return GoOn(request, active, depth, new Active(a.Request, main, mainProbability), mainToken);
    }

    private bool GoOn(in DraftRequest request, int active, int depth, in Active next, int draftToken)
    {
        if (next.Node < 0 || depth >= _options.Tokens || depth >= request.MaxDepth || depth >= request.MaxNodes) return false;
        _sequences[request.Sequence].AddDraft(draftToken);
        _active[active] = next;
        return true;
    }

    /// <summary>A request that is being drafted for: the node of its last draft and the estimated probability of its path.</summary>
    private readonly record struct Active(int Request, int Node, float Probability);
}
