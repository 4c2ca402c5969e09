namespace Foretoken.Speculation;

/// <summary>
/// How often a drafter's drafts are right: per confidence that it stated and depth, over all requests, and per request how much better or worse than
/// that it does. Old observations fade. What was drafted but not verified counts too, as far as the answer that came tells whether it was right.
/// </summary>
internal sealed class AcceptanceModel(int maxSequences)
{
    private const int Bins = 16, Depths = 4;
    private const float PriorWeight = 4, PriorShare = 0.9f; // a drafter's word is worth four observations, a little less than it says
    private const float Fade = 0.99f, SequenceFade = 0.97f, SequencePrior = 6, DoubtPrior = 1, DoubtFade = 0.998f;
    private const float Surest = 0.995f, Sure = 0.5f;
    private readonly Cell[] _cells = new Cell[Bins * Depths];
    private readonly Cell[] _sequences = new Cell[maxSequences]; // Right: drafts that were right, Tried: as many as were expected to be
    private Cell _doubts;                                        // Right: sure drafts that were wrong, Tried: as many as their confidences said
    private readonly Cell[] _byDepth = new Cell[MaxDepth + 1];

    /// <summary>Depths that acceptance is known for.</summary>
    public const int MaxDepth = 32;

    /// <summary>The probability that a draft is right if its parent is.</summary>
    public float Estimate(float confidence, int depth, int sequence) =>
        Math.Min(Surest, Expected(confidence, depth) * Ratio(sequence));

    /// <summary>Share of drafts of this depth that were right among those whose parents were; the prior where none is known.</summary>
    public float AtDepth(int depth, float prior)
    {
        Cell c = _byDepth[Math.Min(depth, MaxDepth)];
        return (c.Right + prior) / (c.Tried + 1);
    }

    /// <summary>How much better or worse than expected the request's drafts do.</summary>
    public float Ratio(int sequence)
    {
        Cell c = _sequences[sequence];
        return Math.Clamp((c.Right + SequencePrior) / (c.Tried + SequencePrior), 0.1f, 1.6f);
    }

    /// <summary>The confidence that a drafter states of a path which is right with the given probability: drafters are more or less sure than they should be.</summary>
    public float Stated(float probability) =>
        MathF.Pow(probability, Math.Clamp((_doubts.Tried + DoubtPrior) / (_doubts.Right + DoubtPrior), 0.25f, 4)); // 1 − p is the logarithm of p, almost

    /// <summary>A draft turned out right or wrong.</summary>
    public void Observe(float confidence, int depth, int sequence, bool right)
    {
        float expected = Expected(confidence, depth);
        _cells[Index(confidence, depth)].Add(right ? 1 : 0, 1, Fade);
        _sequences[sequence].Add(right ? 1 : 0, expected, SequenceFade);
        if (confidence > Sure) _doubts.Add(right ? 0 : 1, 1 - confidence, DoubtFade);
    }

    /// <summary>The drafts of one depth held the right token, or did not.</summary>
    public void ObserveDepth(int depth, bool right) => _byDepth[Math.Min(depth, MaxDepth)].Add(right ? 1 : 0, 1, Fade);

    public void Release(int sequence) => _sequences[sequence] = default;

    private float Expected(float confidence, int depth)
    {
        Cell c = _cells[Index(confidence, depth)];
        return (c.Right + PriorWeight * PriorShare * confidence) / (c.Tried + PriorWeight);
    }

    /// <summary>Half of the bins are for less than a half, the others for doubts that halve from one to the next: a chain of drafts lives from small doubts.</summary>
    private static int Index(float confidence, int depth)
    {
        int bin = confidence < 0.5f ? (int)(confidence * Bins) : Bins / 2 - 1 - MathF.ILogB(Math.Max(1 - confidence, 1e-6f));
        return Math.Clamp(bin, 0, Bins - 1) * Depths + Math.Clamp(depth - 1, 0, Depths - 1);
    }

    private struct Cell
    {
        public float Right;
        public float Tried;

        public void Add(float right, float tried, float fade) => (Right, Tried) = (Right * fade + right, Tried * fade + tried);
    }
}
