using Foretoken.Models;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>What a <see cref="RecyclingDrafter"/> keeps and drafts.</summary>
public sealed record RecyclingOptions : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "recycling";

    /// <inheritdoc/>
    public override int MaxNodes => Nodes;

    /// <summary>Most drafted nodes of a tree.</summary>
    public int Nodes { get; init; } = 12;

    /// <summary>Most drafts of one path.</summary>
    public int Depth { get; init; } = 6;

    /// <summary>Successors that are kept per token.</summary>
    public int Successors { get; init; } = 6;

    /// <summary>A draft is proposed if the estimated probability of its whole path is at least this.</summary>
    public float MinProbability { get; init; } = 0.05f;

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context) => new RecyclingDrafter(this, context);

    internal void Validate()
    {
        CheckNodes();
        ArgumentOutOfRangeException.ThrowIfLessThan(Depth, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(Successors, 1);
        if (!(MinProbability > 0 && MinProbability <= 1)) throw new ArgumentException($"MinProbability is {MinProbability}: it must be above 0 and at most 1.");
    }
}

/// <summary>
/// Token recycling (Luo et al., "Turning Trash into Treasure", 2024): every verified row tells which tokens the model thought likely after its token; the
/// last word on each token is kept and trees are drafted from it. Rejected rows teach as well. Here the tree is not static: paths grow in the order of the
/// product of the probabilities that were seen. Shared by all requests.
/// </summary>
public sealed class RecyclingDrafter : IDrafter
{
    /// <summary>The successor that was likely behind one text is less so behind another.</summary>
    private const float Staleness = 0.8f;

    private readonly RecyclingOptions _options;
    private readonly Transformer _target;
    private readonly int _successors;
    private readonly int[] _next;            // [vocab, successors] best first; -1 = not seen
    private readonly float[] _probabilities; // [vocab, successors] when it was seen
    private readonly Candidate[] _frontier;
    private readonly float[] _logits;        // [successors]

    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public RecyclingDrafter(RecyclingOptions options, DrafterContext context)
    {
        options.Validate();
        (_options, _target) = (options, context.Target);
        int vocab = context.Target.Shape.VocabSize;
        _successors = Math.Min(options.Successors, vocab);
        (_next, _probabilities) = (new int[vocab * _successors], new float[vocab * _successors]);
        _next.AsSpan().Fill(-1);
        _frontier = new Candidate[(options.Nodes + 1) * _successors];
        _logits = new float[_successors];
        context.Plan.Add("speculation", "recycled successors", $"[vocab {vocab}, successors {_successors}] i32, f32", _next.Length * 8L);
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public int MaxNodes => _options.MaxNodes;

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        foreach (DraftRequest request in requests)
        {
            int budget = Math.Min(_options.Nodes, request.MaxNodes), depth = Math.Min(_options.Depth, request.MaxDepth), open = 0;
            if (depth <= 0) continue;
            Open(forest, forest.Root(request.Tree), 1, ref open);
            for (; budget > 0 && open > 0; budget--)
            {
                int best = 0;
                for (int i = 1; i < open; i++)
                {
                    if (_frontier[i].Probability > _frontier[best].Probability) best = i;
                }

                Candidate c = _frontier[best];
                _frontier[best] = _frontier[--open];
                int node = forest.Add(c.Parent, c.Token, c.Confidence);
                if (node < 0) break;
                if (forest.Depth(node) < depth) Open(forest, node, c.Probability, ref open);
            }
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        foreach (DraftRequest request in requests)
        {
            for (int node = forest.Root(request.Tree); node >= 0; node = forest.Next(node))
            {
                ReadOnlySpan<float> logits = _target.LogitsOf(forest.LogitIndex(node));
                float max = LogitMath.Max(logits);
                if (!float.IsFinite(max)) continue;
                int at = forest.Token(node) * _successors;
                TopTokens.Find(logits, _next.AsSpan(at, _successors), _logits);
                float scale = (float)(1 / LogitMath.SumExp(logits, max));
                for (int i = 0; i < _successors; i++) _probabilities[at + i] = MathF.Exp(_logits[i] - max) * scale;
            }
        }
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private void Open(TokenForest forest, int parent, float probability, ref int open)
    {
        int at = forest.Token(parent) * _successors;
        for (int i = 0; i < _successors && _next[at + i] >= 0; i++)
        {
            float confidence = _probabilities[at + i] * Staleness;
            if (probability * confidence < _options.MinProbability) return;
            _frontier[open++] = new Candidate(parent, _next[at + i], confidence, probability * confidence);
        }
    }

    /// <summary>A successor whose parent is drafted.</summary>
    private readonly record struct Candidate(int Parent, int Token, float Confidence, float Probability);
}
