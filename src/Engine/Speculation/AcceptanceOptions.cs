using Foretoken.Memory;

namespace Foretoken.Speculation;

/// <summary>The acceptance rules by name.</summary>
public enum AcceptanceKind
{
    /// <summary>Tokens of plain decoding exactly, for any drafter. The default.</summary>
    SampleAndMatch,

    /// <summary>Rejection with residuals; lossless.</summary>
    Rejection,

    /// <summary>Block verification; lossless.</summary>
    Block,

    /// <summary>Typical acceptance; lossy.</summary>
    Typical,

    /// <summary>Drafts among the model's likeliest; lossy.</summary>
    TopK,

    /// <summary>Drafts of a drafter that agrees with the model; lossy.</summary>
    Divergence,
}

/// <summary>Which drafts become part of an answer.</summary>
public sealed record AcceptanceOptions(AcceptanceKind Kind = AcceptanceKind.SampleAndMatch)
{
    /// <summary>ε of typical acceptance.</summary>
    public double Epsilon { get; init; } = 0.09;

    /// <summary>δ: a factor for typical acceptance (0.3), nats for the other lossy rules (1 and 0.1).</summary>
    public double? Delta { get; init; }

    /// <summary>k of <see cref="AcceptanceKind.TopK"/>.</summary>
    public int K { get; init; } = 4;

    /// <summary>Whether the rule keeps to the model's distribution.</summary>
    public bool IsLossless => Kind is AcceptanceKind.SampleAndMatch or AcceptanceKind.Rejection or AcceptanceKind.Block;

    /// <exception cref="ArgumentException">A parameter is out of range.</exception>
    public IAcceptanceRule Create(int vocabSize, int maxNodes, MemoryPlan? plan = null) => Kind switch
    {
        AcceptanceKind.SampleAndMatch => new SampleAndMatch(),
        AcceptanceKind.Rejection => new RejectionSampling(vocabSize, plan),
        AcceptanceKind.Block => new BlockVerification(vocabSize, plan),
        AcceptanceKind.Typical => new LossyAcceptance(LossyCriterion.Typical, vocabSize, maxNodes, Epsilon, Delta ?? 0.3, plan: plan),
        AcceptanceKind.TopK => new LossyAcceptance(LossyCriterion.TopK, vocabSize, maxNodes, delta: Delta ?? 1, k: K, plan: plan),
        AcceptanceKind.Divergence => new LossyAcceptance(LossyCriterion.Divergence, vocabSize, maxNodes, delta: Delta ?? 0.1, plan: plan),
        _ => throw new ArgumentOutOfRangeException(nameof(Kind), Kind, "Unknown acceptance rule."),
    };
}
