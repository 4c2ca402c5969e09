using System.Diagnostics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Telemetry;

namespace Foretoken.Generation;

/// <summary>
/// One request inside the loop: its tokens, options, place in the cache and end. Tokens of <see cref="History"/> beyond the cache's length are pending:
/// several while the prompt is read, one (the last sampled token) while decoding. So reading a prompt, decoding and recomputing are one state.
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
    public Sequence(ReadOnlySpan<int> prompt, int maxTokens, SamplingOptions sampling, StopConditions stops)
    {
        ArgumentOutOfRangeException.ThrowIfZero(prompt.Length, nameof(prompt));
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 1);
        History = new TokenHistory(prompt, prompt.Length + maxTokens, sampling.LogProbs);
        Sampling = sampling;
        _stops = stops;
        Statistics.PromptTokens = prompt.Length;
    }

    public TokenHistory History { get; }

    public SamplingOptions Sampling { get; }

    public GenerationStatistics Statistics { get; } = new();

    public FinishReason FinishReason { get; private set; }

    public bool Finished => FinishReason != FinishReason.None;

    /// <summary>What went wrong, where <see cref="FinishReason"/> is Error.</summary>
    public string? Error { get; private set; }

    /// <summary>Bytes of the answer's text that may be shown; the rest may be the beginning of a stop string. <see cref="StopConditions.All"/>: no limit.</summary>
    public long ShownBytes => _stops.ShownBytes;

    /// <summary>Tokens of the answer that are text: all but a stop token.</summary>
    public int TextTokens => History.GeneratedCount - (_stops.EndedByToken ? 1 : 0);

    /// <summary>The cache's index while running, else −1.</summary>
    internal int CacheIndex { get; set; } = -1;

    internal bool CancelRequested => _cancelRequested;

    /// <summary>Tokens that may still be added.</summary>
    internal int RemainingTokens => History.Capacity - History.Count;

    /// <summary>Asks the loop to end the request at its next step. May be called from any thread.</summary>
    public void Cancel() => _cancelRequested = true;

    internal void MarkSubmitted()
    {
        Statistics.MarkSubmitted();
        _activity = ForetokenTelemetry.Submitted(History.PromptCount);
    }

    /// <summary>Takes the tokens that verification appended to the history and ends the request where a stop condition, a limit or bad logits say so.</summary>
    internal void Emit(in Acceptance acceptance)
    {
        int end = History.Count;
        for (int count = end - acceptance.NewTokens + 1; count <= end; count++)
        {
            if (!_stops.Accept(History.Tokens[count - 1])) continue;
            History.Truncate(count); // plain decoding would have stopped here: drop what was verified beyond it
            Finish(FinishReason.Stop);
            return;
        }

        if (!acceptance.ValidLogits) Fail(InvalidLogitsMessage());
        else if (RemainingTokens == 0) FinishAndFlush(FinishReason.Length);
    }

    internal void Fail(string error)
    {
        Error = error;
        FinishAndFlush(FinishReason.Error);
    }

    internal void EndCancelled() => FinishAndFlush(FinishReason.Cancelled);

    private void FinishAndFlush(FinishReason reason)
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
