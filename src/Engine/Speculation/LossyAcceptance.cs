using System.Globalization;
using Foretoken.Memory;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>How a lossy rule decides whether a draft will do.</summary>
public enum LossyCriterion
{
    /// <summary>p(draft) above min(ε, δ · exp(−entropy of p)): typical acceptance (Cai et al., Medusa, 2024).</summary>
    Typical,

    /// <summary>The draft is among the model's k likeliest tokens and at most δ nats less likely than the likeliest.</summary>
    TopK,

    /// <summary>The drafter's distribution is within δ nats of the model's: KL(q ‖ p) ≤ δ. Drafts that were chosen, not drawn, are matched.</summary>
    Divergence,
}

/// <summary>
/// Accepts drafts that the model finds good enough, though it might have chosen another token: faster, and <b>not the model's distribution</b>. Opt-in, and
/// named lossy wherever it shows. The longest acceptable path of the tree wins; the token behind it is sampled.
/// </summary>
public sealed class LossyAcceptance : IAcceptanceRule
{
    private readonly LossyCriterion _criterion;
    private readonly double _epsilon, _delta;
    private readonly int _k;
    private readonly double[] _p;                   // [vocab]
    private readonly int[] _lengths;                // [nodes] drafts of the longest acceptable path from the root through the node; -1 = not acceptable
    private readonly int[] _path = new int[Backends.RowBatch.MaxTreeRows];

    /// <param name="criterion">What will do.</param>
    /// <param name="vocabSize">Tokens of the model.</param>
    /// <param name="maxNodes">Most nodes of one step.</param>
    /// <param name="epsilon">ε of the typical criterion.</param>
    /// <param name="delta">δ: a factor for the typical criterion, nats for the others.</param>
    /// <param name="k">k of the top-k criterion.</param>
    /// <param name="plan">Receives the buffers.</param>
    /// <exception cref="ArgumentException">A parameter is out of range.</exception>
    public LossyAcceptance(LossyCriterion criterion, int vocabSize, int maxNodes, double epsilon = 0.09, double delta = 0.3, int k = 4, MemoryPlan? plan = null)
    {
        if (!(epsilon is > 0 and <= 1)) throw new ArgumentOutOfRangeException(nameof(epsilon), epsilon, "epsilon must be above 0 and at most 1.");
        if (!(delta >= 0 && double.IsFinite(delta))) throw new ArgumentOutOfRangeException(nameof(delta), delta, "delta must be a number of at least 0.");
        ArgumentOutOfRangeException.ThrowIfLessThan(k, 1);
        (_criterion, _epsilon, _delta, _k) = (criterion, epsilon, delta, k);
        _p = new double[vocabSize];
        _lengths = new int[maxNodes];
        plan?.Add("speculation", Name, $"[vocab {vocabSize}] f64, [nodes {maxNodes}] i32", vocabSize * 8L + maxNodes * 4L);
    }

    /// <inheritdoc/>
    public string Name => string.Create(CultureInfo.InvariantCulture, $"lossy {_criterion switch { LossyCriterion.Typical => "typical", LossyCriterion.TopK => "top-k", _ => "divergence" }}");

    /// <inheritdoc/>
    public bool IsLossy => true;

    /// <inheritdoc/>
    public bool UsesDraftDistributions => _criterion == LossyCriterion.Divergence;

    /// <inheritdoc/>
    public Acceptance Walk(in VerifiedTree tree, Span<int> acceptedRows)
    {
        TokenForest forest = tree.Forest;
        int root = forest.Root(tree.Request.Tree), best = root;
        for (int node = root; node >= 0; node = forest.Next(node))
        {
            if (node != root && _lengths[node] < 0) // set by its parent
            {
                for (int c = forest.FirstChild(node); c >= 0; c = forest.NextSibling(c)) _lengths[c] = -1; // nothing behind a refused draft will do
                continue;
            }

            if (node == root) _lengths[node] = 0;
            if (_lengths[node] > _lengths[best]) best = node;
            if (forest.FirstChild(node) >= 0) Judge(tree, node);
        }

        int depth = 0;
        for (int node = best; node != root; node = forest.Parent(node)) _path[depth++] = node;
        int accepted = 0, newTokens = 0, at = root;
        var end = AcceptanceEnd.Tree;
        while (depth > 0 && end == AcceptanceEnd.Tree)
        {
            acceptedRows[accepted++] = forest.Row(at);
            int next = _path[--depth];
            newTokens++;
            end = tree.Append(tree.WithLogProb(at, forest.Token(next)));
            at = next;
        }

        if (end == AcceptanceEnd.Tree)
        {
            acceptedRows[accepted++] = forest.Row(at);
            if (!tree.TrySample(at, out SampledToken sampled)) return new Acceptance(tree.Request.Tree, tree.Request.Sequence, accepted, newTokens, AcceptanceEnd.InvalidLogits);
            newTokens++;
            end = tree.Append(sampled);
        }

        return new Acceptance(tree.Request.Tree, tree.Request.Sequence, accepted, newTokens, end);
    }

    /// <summary>Marks the children of a node; penalties see the path without the drafts.</summary>
    private void Judge(in VerifiedTree tree, int node)
    {
        TokenForest forest = tree.Forest;
        bool known = tree.TryDistribution(node, _p, temperature: tree.Request.Sampling.IsGreedy ? 1 : 0);
        double limit = known ? Limit(forest, node) : double.PositiveInfinity;
        int sampled = _criterion == LossyCriterion.Divergence && limit > 1 && tree.TrySample(node, out SampledToken own) ? own.Token : -1;
        for (int c = forest.FirstChild(node); c >= 0; c = forest.NextSibling(c))
        {
            bool good = known && (forest.Token(c) == sampled || _p[forest.Token(c)] > limit);
            _lengths[c] = good ? _lengths[node] + 1 : -1;
        }
    }

    /// <summary>Probability above which a draft will do.</summary>
    private double Limit(TokenForest forest, int node) => _criterion switch
    {
        LossyCriterion.Typical => Math.Min(_epsilon, _delta * Math.Exp(-Entropy())),
        LossyCriterion.TopK => TopKLimit(),
        _ => forest.TryDistribution(node, out ReadOnlySpan<float> q) && Divergence(q) <= _delta ? -1 : double.PositiveInfinity,
    };

    private double Entropy()
    {
        double entropy = 0;
        foreach (double p in _p) entropy -= p > 0 ? p * Math.Log(p) : 0;
        return entropy;
    }

    private double Divergence(ReadOnlySpan<float> q)
    {
        double sum = 0;
        for (int x = 0; x < q.Length; x++)
        {
            if (q[x] > 0) sum += q[x] * Math.Log(q[x] / _p[x]);
        }

        return sum;
    }

    /// <summary>Just below the k-th largest probability, and not below the largest by more than δ nats.</summary>
    private double TopKLimit()
    {
        double above = double.PositiveInfinity, largest = 0;
        foreach (double p in _p) largest = Math.Max(largest, p);
        for (int taken = 0; taken < _k;)
        {
            double next = 0;
            int equal = 0;
            foreach (double p in _p)
            {
                if (p < above && p > next) (next, equal) = (p, 1);
                else if (p == next && p > 0) equal++;
            }

            if (next == 0) break;
            above = next;
            taken += equal;
        }

        return Math.Max(Math.BitDecrement(above), Math.BitDecrement(largest * Math.Exp(-_delta)));
    }
}
