using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Models;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>How a model drafts for itself.</summary>
public sealed record SwiftOptions : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "swift";

    /// <inheritdoc/>
    public override int MaxNodes => Tokens * Width;

    /// <summary>Most drafts of the main path.</summary>
    public int Tokens { get; init; } = 6;

    /// <summary>Drafts at each depth: the next likely tokens as leaves beside the main path.</summary>
    public int Width { get; init; } = 1;

    /// <summary>Share of sublayers that are left out; the first and the last layer always run.</summary>
    public double SkipRatio { get; init; } = 0.45;

    /// <summary>Drafting of a request stops at a token that the shortened model finds less likely than this.</summary>
    public float MinConfidence { get; init; } = 0.5f;

    /// <summary>Fewest layers of a model that is drafted for.</summary>
    public int MinLayers { get; init; } = 4;

    /// <summary>Compared tokens after which a set of sublayers is judged.</summary>
    public int Window { get; init; } = 50;

    /// <summary>Share of right tokens at which the search ends.</summary>
    public double GoodEnough { get; init; } = 0.95;

    /// <summary>Trials in a row without improvement after which the search ends.</summary>
    public int MaxIdleTrials { get; init; } = 300;

    /// <summary>Names the random numbers of the search.</summary>
    public ulong Seed { get; init; }

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context)
    {
        CheckNodes();
        ArgumentOutOfRangeException.ThrowIfLessThan(Width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(Window, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MinLayers, 3);
        if (!(SkipRatio > 0 && SkipRatio < 1)) throw new ArgumentException($"SkipRatio is {SkipRatio}: it must be between 0 and 1.");
        if (!(MinConfidence >= 0 && MinConfidence <= 1)) throw new ArgumentException($"MinConfidence is {MinConfidence}: it must be between 0 and 1.");
        if (!context.Target.Backend.SkipsSublayers)
            throw new DrafterException($"swift leaves out sublayers, which passes on {context.Target.Backend.Name} cannot: use another drafter, or the processor.");
        int layers = context.Target.Shape.LayerCount;
        return layers >= MinLayers
            ? new SwiftDrafter(this, context)
            : throw new DrafterException($"A model of {layers} layers has too few to leave some out: swift needs at least {MinLayers}.");
    }
}

/// <summary>
/// The target drafts for itself with some sublayers left out, over its own keys and values (SWIFT, Xia et al., 2024). Drafted rows join its cache for the time
/// of drafting and are cut off again, so that nothing of them is left when the drafts are verified. Which sublayers are left out is searched while it runs.
/// </summary>
public sealed class SwiftDrafter : IDrafter
{
    private const int Candidates = 8;
    private readonly SwiftOptions _options;
    private readonly Transformer _target;
    private readonly PagedKvCache _cache;
    private readonly RowBatch _rows;
    private readonly SkipSearch _search;
    private readonly Active[] _active;   // [sequences] requests that go on
    private readonly Active[] _begun;    // [sequences] requests that were drafted for
    private readonly int[] _chains;      // [sequences, tokens] main path of the last draft
    private readonly Chain[] _drafted;   // [sequences]
    private readonly int[] _top = new int[Candidates];
    private readonly float[] _topLogits = new float[Candidates];

    internal SwiftDrafter(SwiftOptions options, DrafterContext context)
    {
        (_options, _target, _cache) = (options, context.Target, context.TargetCache);
        _rows = new RowBatch(context.MaxSequences);
        _search = new SkipSearch(options, context.Target.Shape.LayerCount);
        (_active, _begun) = (new Active[context.MaxSequences], new Active[context.MaxSequences]);
        (_chains, _drafted) = (new int[context.MaxSequences * options.Tokens], new Chain[context.MaxSequences]);
        context.Plan.Add("speculation", "self-drafts", $"[sequences {context.MaxSequences}, tokens {options.Tokens}]", _chains.Length * 4L + context.MaxSequences * 64L);
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public int MaxNodes => _options.MaxNodes;

    /// <inheritdoc/>
    public int MaxDepth => _options.Tokens;

    /// <inheritdoc/>
    public bool RunsModel => true;

    /// <summary>Share of drafted tokens that were right lately.</summary>
    public double Matchness => _search.Matchness;

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        int begun = 0, active = 0;
        for (int i = 0; i < requests.Length; i++)
        {
            DraftRequest r = requests[i];
            int length = _cache.Length(r.Sequence);
            _drafted[r.Sequence] = new Chain(r.Path.Count, 0);
            if (r.MaxNodes <= 0 || r.MaxDepth <= 0 || length != r.Path.Count - 1) continue; // a prompt is still being read
            _begun[begun++] = _active[active++] = new Active(i, forest.Root(r.Tree), length);
        }

        try
        {
            for (int depth = 1; active > 0; depth++)
            {
                Run(requests, forest, active);
                int kept = 0;
                for (int a = 0; a < active; a++)
                {
                    Active next = _active[a];
                    if (Extend(requests[next.Request], forest, a, depth, ref next)) _active[kept++] = next;
                }

                active = kept;
            }
        }
        finally
        {
            for (int b = 0; b < begun; b++)
            {
                if (!_cache.TryTruncate(requests[_begun[b].Request].Sequence, _begun[b].Length))
                    throw new InvalidOperationException("A drafted row could not be cut off the cache again.");
            }
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        for (int i = 0; i < requests.Length; i++)
        {
            int sequence = requests[i].Sequence, right = 0, tried = 0;
            Chain chain = _drafted[sequence];
            ReadOnlySpan<int> news = requests[i].Path.Tokens[^acceptances[i].NewTokens..];
            if (chain.Length == 0 || chain.Base != requests[i].Path.Count - news.Length) continue;
            ReadOnlySpan<int> drafts = _chains.AsSpan(sequence * _options.Tokens, chain.Length);
            while (tried < Math.Min(drafts.Length, news.Length) && right == tried) right += drafts[tried] == news[tried++] ? 1 : 0;
            _search.Observe(right, tried);
            _drafted[sequence] = default;
        }
    }

    /// <inheritdoc/>
    public void Release(int sequence) => _drafted[sequence] = default;

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>One shortened pass over the newest token of every active request.</summary>
    private void Run(ReadOnlySpan<DraftRequest> requests, TokenForest forest, int active)
    {
        _rows.Clear();
        for (int a = 0; a < active; a++)
        {
            int sequence = requests[_active[a].Request].Sequence;
            _rows.Add(forest.Token(_active[a].Node), _cache.Length(sequence), sequence, -1, wantsLogits: true);
        }

        _cache.BeginPass(_rows);
        _target.Forward(_rows, _cache.View, _search.Current);
        for (int a = 0; a < active; a++) _cache.Commit(requests[_active[a].Request].Sequence, [a], provisional: true);
    }

    private bool Extend(in DraftRequest request, TokenForest forest, int index, int depth, ref Active a)
    {
        ReadOnlySpan<float> logits = _target.LogitsOf(index);
        float max = LogitMath.Max(logits);
        if (!float.IsFinite(max)) return false;
        int looked = Math.Min(Candidates, logits.Length), width = Math.Min(_options.Width, looked), main = -1;
        TopTokens.Find(logits, _top.AsSpan(0, looked), _topLogits.AsSpan(0, looked));
        float scale = (float)(1 / LogitMath.SumExp(logits, max)), confidence = scale;
        for (int i = 0; i < width; i++)
        {
            int node = forest.Add(a.Node, _top[i], MathF.Exp(_topLogits[i] - max) * scale);
            if (node < 0) break;
            if (i == 0) main = node;
        }

        if (main < 0) return false;
        _chains[request.Sequence * _options.Tokens + depth - 1] = _top[0];
        _drafted[request.Sequence].Length = depth;
        a = a with { Node = main };
        return confidence >= _options.MinConfidence && depth < _options.Tokens && depth < request.MaxDepth && depth < request.MaxNodes;
    }

    /// <summary>A request that is drafted for.</summary>
    /// <param name="Request">Its index.</param>
    /// <param name="Node">Its last draft.</param>
    /// <param name="Length">Tokens that its sequence has in the cache without drafts.</param>
    private readonly record struct Active(int Request, int Node, int Length);

    /// <summary>The main path that was drafted for a sequence, behind a path of <see cref="Base"/> tokens.</summary>
    private record struct Chain(int Base, int Length);
}
