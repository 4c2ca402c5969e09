using Foretoken.Memory;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Block verification (Sun et al., "Block verification accelerates speculative decoding", 2024): decides on the whole chain at once, lossless, and never
/// accepts less on average than token by token. Of a tree only the path of first children is judged. Reproducible for the same drafter and budgets only;
/// greedy requests are matched.
/// </summary>
public sealed class BlockVerification : IAcceptanceRule
{
    private readonly double[] _p, _q; // [vocab]
    private readonly SampleAndMatch _greedy = new();

    /// <summary>Plans for a vocabulary; <paramref name="plan"/> receives the buffers.</summary>
    public BlockVerification(int vocabSize, MemoryPlan? plan = null)
    {
        (_p, _q) = (new double[vocabSize], new double[vocabSize]);
        plan?.Add("speculation", "block verification", $"[vocab {vocabSize}] p, q f64", vocabSize * 16L);
    }

    /// <inheritdoc/>
    public string Name => "block";

    /// <inheritdoc/>
    public bool UsesDraftDistributions => true;

    /// <inheritdoc/>
    public Acceptance Walk(in VerifiedTree tree, Span<int> acceptedRows)
    {
        if (tree.Request.Sampling.IsGreedy) return _greedy.Walk(tree, acceptedRows);
        TokenForest forest = tree.Forest;
        TokenHistory path = tree.Request.Path;
        var draws = new CounterDraws(tree.Request.Sampling.Seed, path.Count, CounterDraws.RuleDraws);
        int root = forest.Root(tree.Request.Tree), begin = path.Count, kept = 0, depth = 0;
        double rho = 1, rhoKept = 1;
        for (int node = root; ; depth++)
        {
            int child = forest.FirstChild(node);
            if (!tree.TryDistribution(node, _p))
            {
                path.Truncate(begin);
                return Invalid(tree, acceptedRows, root);
            }

            double stop = rho, next = 1;
            if (child >= 0) (stop, next) = RejectionMath<double, CounterDraws>.BlockStep(rho, _p, Drawn(forest, node), forest.Token(child));
            if (depth > 0 && draws.Accept(stop)) (kept, rhoKept) = (depth, rho);
            if (child < 0) break;
            path.Append(forest.Token(child)); // what is drafted behind it is judged as its continuation
            (rho, node) = (next, child);
        }

        path.Truncate(begin);
        return Emit(tree, acceptedRows, root, kept, rhoKept, ref draws);
    }

    /// <summary>Appends the accepted drafts and the token behind them.</summary>
    private Acceptance Emit(in VerifiedTree tree, Span<int> acceptedRows, int root, int kept, double rho, ref CounterDraws draws)
    {
        TokenForest forest = tree.Forest;
        int accepted = 0, newTokens = 0, node = root;
        var end = AcceptanceEnd.Tree;
        for (int depth = 0; end == AcceptanceEnd.Tree; depth++)
        {
            acceptedRows[accepted++] = forest.Row(node);
            int child = forest.FirstChild(node), token;
            if (depth < kept)
            {
                token = forest.Token(child);
            }
            else
            {
                tree.TryDistribution(node, _p); // was valid before
                token = child < 0
                    ? draws.Draw(_p, RejectionMath<double, CounterDraws>.Sum(_p))
                    : RejectionMath<double, CounterDraws>.BlockToken(rho, _p, Drawn(forest, node), forest.Token(child), ref draws);
            }

            newTokens++;
            end = tree.Append(tree.WithLogProb(node, token));
            if (depth == kept) break;
            node = child;
        }

        return new Acceptance(tree.Request.Tree, tree.Request.Sequence, accepted, newTokens, end);
    }

    private static Acceptance Invalid(in VerifiedTree tree, Span<int> acceptedRows, int root)
    {
        acceptedRows[0] = tree.Forest.Row(root);
        return new Acceptance(tree.Request.Tree, tree.Request.Sequence, 1, 0, AcceptanceEnd.InvalidLogits);
    }

    /// <summary>The distribution that the node's first child was drawn from; empty if it was chosen.</summary>
    private ReadOnlySpan<double> Drawn(TokenForest forest, int node)
    {
        if (!forest.TryDistribution(node, out ReadOnlySpan<float> drawnFrom)) return default;
        for (int x = 0; x < _q.Length; x++) _q[x] = drawnFrom[x];
        return _q;
    }
}
