using Foretoken.Memory;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Recursive rejection with residuals (see <see cref="RejectionMath{T,TDraws}"/>): lossless for drafts that were drawn at random, which it accepts more
/// often than <see cref="SampleAndMatch"/> does, chains and trees alike. Its tokens follow the model's distribution, but not the very numbers of plain
/// decoding: they are reproducible for the same drafter and the same budgets only. Greedy requests are matched.
/// </summary>
public sealed class RejectionSampling : IAcceptanceRule
{
    private readonly double[] _p, _q; // [vocab]
    private readonly int[] _children = new int[Backends.RowBatch.MaxTreeRows];
    private readonly SampleAndMatch _greedy = new();

    /// <summary>Plans for a vocabulary; <paramref name="plan"/> receives the buffers.</summary>
    public RejectionSampling(int vocabSize, MemoryPlan? plan = null)
    {
        (_p, _q) = (new double[vocabSize], new double[vocabSize]);
        plan?.Add("speculation", "rejection", $"[vocab {vocabSize}] p, q f64", vocabSize * 16L);
    }

    /// <inheritdoc/>
    public string Name => "rejection";

    /// <inheritdoc/>
    public bool UsesDraftDistributions => true;

    /// <inheritdoc/>
    public Acceptance Walk(in VerifiedTree tree, Span<int> acceptedRows)
    {
        if (tree.Request.Sampling.IsGreedy) return _greedy.Walk(tree, acceptedRows);
        TokenForest forest = tree.Forest;
        var draws = new CounterDraws(tree.Request.Sampling.Seed, tree.Request.Path.Count, CounterDraws.RuleDraws);
        int accepted = 0, newTokens = 0, node = forest.Root(tree.Request.Tree);
        var end = AcceptanceEnd.Tree;
        while (node >= 0)
        {
            acceptedRows[accepted++] = forest.Row(node);
            if (!tree.TryDistribution(node, _p))
            {
                end = AcceptanceEnd.InvalidLogits;
                break;
            }

            int count = 0;
            for (int c = forest.FirstChild(node); c >= 0; c = forest.NextSibling(c)) _children[count++] = forest.Token(c);
            Span<double> q = default;
            if (forest.TryDistribution(node, out ReadOnlySpan<float> drawnFrom))
            {
                q = _q;
                for (int x = 0; x < q.Length; x++) q[x] = drawnFrom[x];
            }

            int child = RejectionMath<double, CounterDraws>.AcceptChild(_p, q, _children.AsSpan(0, count), replacement: false, ref draws, out int token);
            newTokens++;
            end = tree.Append(tree.WithLogProb(node, token));
            node = end == AcceptanceEnd.Tree && child >= 0 ? forest.FindChild(node, token) : -1;
        }

        return new Acceptance(tree.Request.Tree, tree.Request.Sequence, accepted, newTokens, end);
    }
}
