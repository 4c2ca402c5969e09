namespace Foretoken.Generation;

/// <summary>What a loop's scheduler did so far and does now.</summary>
public readonly record struct SchedulerStatistics
{
    /// <summary>How sequences are admitted.</summary>
    public required KvAdmission KvAdmission { get; init; }

    /// <summary>Sequences that run now.</summary>
    public required int Running { get; init; }

    /// <summary>Sequences that wait now, preempted ones included.</summary>
    public required int Waiting { get; init; }

    /// <summary>Requests taken since the start.</summary>
    public required long Submitted { get; init; }

    /// <summary>Requests turned away because the queue was full.</summary>
    public required long Rejected { get; init; }

    /// <summary>Times that a running sequence gave its pages back to one of higher rank.</summary>
    public required long Preemptions { get; init; }

    /// <summary>Committed tokens that preempted sequences gave up and have to compute again.</summary>
    public required long PreemptedTokens { get; init; }

    /// <summary>Times that a running sequence brought no row to a pass because the cache had no pages for it.</summary>
    public required long Stalls { get; init; }

    /// <summary>Samples that began as forks of another one of their request.</summary>
    public required long Forks { get; init; }

    /// <summary>Requests that ended with <see cref="FinishReason.KvBudget"/>.</summary>
    public required long EndedByKvBudget { get; init; }

    /// <summary>Mean tokens of recent answers, or what was given as expected; null until one has ended.</summary>
    public required double? MeanAnswerTokens { get; init; }

    /// <summary>Share of KV slots that eviction left in recent answers; 1 without eviction.</summary>
    public required double LiveFraction { get; init; }
}
