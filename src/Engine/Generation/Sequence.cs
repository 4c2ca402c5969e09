using System.Diagnostics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Telemetry;

namespace Foretoken.Generation;

/// <summary>
/// One request inside the loop: its tokens, options, place in the cache and end. Tokens of <see cref="History"/> beyond the cache's length are pending:
/// several while the prompt is read, one (the last sampled token) while decoding, all of them after a preemption. So reading a prompt, decoding and
/// computing again are one state.
/// </summary>
public sealed class Sequence
{
    private readonly StopConditions _stops;
    private volatile bool _cancelRequested;
    private Activity? _activity;

    /// <param name="prompt">At least one token.</param>
    /// <param name="maxTokens">Most tokens of the answer, at least 1; prompt and answer fit the context.</param>
    /// <param name="sampling">Checked options.</param>
    /// <param name="stops">This request's own stop conditions.</param>
    /// <param name="priority">Higher is served first.</param>
    /// <param name="deadline">Time from submission to the end at the latest; null = none.</param>
    public Sequence(
        ReadOnlySpan<int> prompt, int maxTokens, SamplingOptions sampling, StopConditions stops, int priority = 0, TimeSpan? deadline = null)
    {
        ArgumentOutOfRangeException.ThrowIfZero(prompt.Length, nameof(prompt));
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 1);
        History = new TokenHistory(prompt, prompt.Length + maxTokens, sampling.LogProbs);
        Sampling = sampling;
        Priority = priority;
        Deadline = deadline;
        _stops = stops;
        Statistics.PromptTokens = prompt.Length;
    }

    /// <summary>Prompt and answer so far.</summary>
    public TokenHistory History { get; }

    /// <summary>How its tokens are chosen.</summary>
    public SamplingOptions Sampling { get; }

    /// <summary>Higher is served first.</summary>
    public int Priority { get; }

    /// <summary>Time from submission to the end at the latest; null = none.</summary>
    public TimeSpan? Deadline { get; }

    /// <summary>Times and counts of this request.</summary>
    public GenerationStatistics Statistics { get; } = new();

    /// <summary>Why the answer ended; None while it runs or waits.</summary>
    public FinishReason FinishReason { get; private set; }

    /// <summary>Nothing more will be added.</summary>
    public bool Finished => FinishReason != FinishReason.None;

    /// <summary>What went wrong, where <see cref="FinishReason"/> is Error.</summary>
    public string? Error { get; private set; }

    /// <summary>Bytes of the answer's text that may be shown; the rest may be the beginning of a stop string. <see cref="StopConditions.All"/>: no limit.</summary>
    public long ShownBytes => _stops.ShownBytes;

    /// <summary>Tokens of the answer that are text: all but a stop token.</summary>
    public int TextTokens => History.GeneratedCount - (_stops.EndedByToken ? 1 : 0);

    /// <summary>The cache's index while running, else −1.</summary>
    internal int CacheIndex { get; set; } = -1;

    /// <summary>Number of the request in order of submission; kept over preemptions.</summary>
    internal long Arrival { get; private set; }

    /// <summary>The clock's timestamp of the deadline.</summary>
    internal long DeadlineTimestamp { get; private set; } = long.MaxValue;

    /// <summary>Later arrivals that were admitted while this one waited.</summary>
    internal int Overtaken { get; set; }

    /// <summary>Nobody may pass this request any more.</summary>
    internal bool Overdue { get; set; }

    /// <summary>The samples that this one shares its prompt with; null for a request of one answer.</summary>
    internal SampleGroup? Group { get; set; }

    /// <summary>Waits for another sample that is reading their prompt; its place and pages are kept.</summary>
    internal bool Held { get; set; }

    internal bool CancelRequested => _cancelRequested;

    internal IAnswerEnd AnswerEnd => _stops;

    /// <summary>Tokens that may still be added.</summary>
    internal int RemainingTokens => History.Capacity - History.Count;

    /// <summary>Asks the loop to end the request at its next step. May be called from any thread.</summary>
    public void Cancel() => _cancelRequested = true;

    /// <summary>The one order of service: overdue requests, then higher priority, then earlier arrival. Total, as no two arrive as one.</summary>
    internal bool Precedes(Sequence other)
    {
        if (Overdue != other.Overdue) return Overdue;
        if (!Overdue && Priority != other.Priority) return Priority > other.Priority;
        return Arrival < other.Arrival;
    }

    internal void MarkSubmitted(long arrival, TimeProvider time, IDrafter drafter)
    {
        Arrival = arrival;
        if (Deadline is { } deadline)
            DeadlineTimestamp = time.GetTimestamp() + (long)Math.Min(deadline.TotalSeconds * time.TimestampFrequency, long.MaxValue / 2);
        Statistics.MarkSubmitted(drafter);
        _activity = ForetokenTelemetry.Submitted(History.PromptCount);
    }

    /// <summary>Ends the request if verification came to its end.</summary>
    internal void Emit(in Acceptance acceptance)
    {
        if (acceptance.End == AcceptanceEnd.Stop) Finish(FinishReason.Stop);
        else if (acceptance.End == AcceptanceEnd.Length) End(FinishReason.Length);
        else if (acceptance.End == AcceptanceEnd.InvalidLogits) Fail(InvalidLogitsMessage());
    }

    internal void Fail(string error)
    {
        Error = error;
        End(FinishReason.Error);
    }

    /// <summary>Ends the request for a reason outside its text; what was held back as the beginning of a stop string is shown.</summary>
    internal void End(FinishReason reason)
    {
        _stops.Flush();
        Finish(reason);
    }

    private void Finish(FinishReason reason)
    {
        Statistics.GeneratedTokens = History.GeneratedCount;
        Statistics.MarkEnded();
        FinishReason = reason;
        ForetokenTelemetry.Ended(this, _activity);
    }

    private string InvalidLogitsMessage() =>
        $"The model's output for position {History.Count} holds values that are not numbers, so that no token can be chosen: " +
        "its weights are damaged or do not fit this architecture. Check the files, or load the weights as f32.";
}
