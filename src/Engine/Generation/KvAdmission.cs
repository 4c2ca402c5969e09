namespace Foretoken.Generation;

/// <summary>When the KV budget has room for one more sequence.</summary>
public enum KvAdmission
{
    /// <summary>
    /// When it holds the longest that every running sequence may become, without eviction. What is admitted always finishes. As eviction gives
    /// pages back, reservations shrink and admit more.
    /// </summary>
    WorstCase,

    /// <summary>
    /// When it holds what running sequences are expected to need, by the mean answer length and the share of slots that eviction left so far; until an
    /// answer has ended (or <see cref="DecodeLoopOptions.ExpectedAnswerTokens"/> says otherwise) answers are expected to take all they may.
    /// More run at a time; if they need more than expected, <see cref="KvExhaustion"/> applies. Drafts never displace anybody.
    /// </summary>
    Measured,
}

/// <summary>What happens when a sequence admitted as <see cref="KvAdmission.Measured"/> finds no pages for its next row and others of lower rank hold some.</summary>
public enum KvExhaustion
{
    /// <summary>The lowest in rank gives its pages back and waits; later its keys and values are computed again, with the same bits.</summary>
    Preempt,

    /// <summary>The lowest in rank ends with <see cref="FinishReason.KvBudget"/>.</summary>
    End,
}
