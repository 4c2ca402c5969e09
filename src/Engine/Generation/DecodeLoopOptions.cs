namespace Foretoken.Generation;

/// <summary>The sizes that a <see cref="DecodeLoop"/> plans its buffers for.</summary>
public sealed record DecodeLoopOptions
{
    /// <summary>Longest sequence in tokens, prompt and answer.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Most sequences that run at a time; further ones wait.</summary>
    public int MaxSequences { get; init; } = 8;

    /// <summary>Most sequences that wait; further ones are rejected with <see cref="QueueFullException"/>. Preempted ones wait beside them.</summary>
    public int MaxWaiting { get; init; } = 1024;

    /// <summary>Most rows of one pass: prompt chunks, single tokens and drafts of all sequences together.</summary>
    public int MaxRows { get; init; } = 128;

    /// <summary>Most prompt rows of one pass, so that a long prompt does not stall running answers.</summary>
    public int PrefillChunk { get; init; } = 64;

    /// <summary>When the KV budget has room for one more sequence.</summary>
    public KvAdmission KvAdmission { get; init; }

    /// <summary>What happens when sequences admitted as <see cref="Generation.KvAdmission.Measured"/> need more than the budget.</summary>
    public KvExhaustion KvExhaustion { get; init; }

    /// <summary>
    /// For <see cref="KvAdmission.Measured"/>: mean answer length in tokens to begin with; 0 = unknown, so worst case until an answer has ended.
    /// </summary>
    public int ExpectedAnswerTokens { get; init; }

    /// <summary>
    /// Most later arrivals that are admitted ahead of a waiting request, for their higher priority; after that nobody passes it, so that none starves.
    /// </summary>
    public int MaxOvertakes { get; init; } = 64;

    /// <summary>The clock of deadlines.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    internal SchedulingRules Rules { get; init; } = SchedulingRules.Default;

    /// <summary>Most rows of one pass that ask for logits, for a drafter that adds up to <paramref name="draftNodes"/> nodes to a tree.</summary>
    public int MaxLogitRows(int draftNodes) => (int)Math.Min(MaxRows, MaxSequences * (1L + draftNodes));

    /// <summary>Most rows that one sequence brings to a pass: a prompt chunk and a tree.</summary>
    public int MaxRowsPerSequence(int draftNodes) => (int)Math.Min(MaxRows, PrefillChunk + (long)draftNodes);

    /// <exception cref="ArgumentException">The sizes contradict each other.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(ContextLength, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxSequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(PrefillChunk, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxWaiting, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(ExpectedAnswerTokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxOvertakes, 1);
        if (MaxRows < MaxSequences)
            throw new ArgumentException($"A pass of {MaxRows} rows cannot serve {MaxSequences} sequences: raise the rows or lower the sequences.");
    }
}
