using System.Globalization;
using Foretoken.Sampling;

namespace Foretoken.Generation;

/// <summary>What one request asks for.</summary>
public sealed record GenerationOptions
{
    /// <summary>Most samples of one request.</summary>
    public const int MaxSamples = 4096;

    /// <summary>How tokens are chosen; greedy unless set.</summary>
    public SamplingOptions Sampling { get; init; } = SamplingOptions.Greedy;

    /// <summary>
    /// Answers to the prompt, drawn independently: sample i is the answer of a request of its own with <see cref="SamplingOptions.OfSample"/>(i). More than
    /// one takes a temperature above 0 and <see cref="InferenceEngine.StartSamples"/>.
    /// </summary>
    public int Samples { get; init; } = 1;

    /// <summary>Most tokens of the answer; 0 = until the context is full.</summary>
    public int MaxTokens { get; init; }

    /// <summary>Token ids that end the answer, besides the model's own end tokens.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>Texts that end the answer; they are not part of it, wherever token boundaries fall.</summary>
    public IReadOnlyList<string> StopStrings { get; init; } = [];

    /// <summary>Goes on past the model's own end tokens (benchmarks).</summary>
    public bool IgnoreEndTokens { get; init; }

    /// <summary>
    /// Requests of higher priority are admitted first and may preempt running ones of lower priority; equals are served in order of arrival. A waiting
    /// request is passed by a limited number of later ones (<see cref="DecodeLoopOptions.MaxOvertakes"/>).
    /// </summary>
    public int Priority { get; init; }

    /// <summary>Time from the request's start after which it ends with <see cref="FinishReason.Deadline"/>, waiting or running; null = none.</summary>
    public TimeSpan? Deadline { get; init; }

    /// <summary>Checks every option.</summary>
    /// <exception cref="InvalidRequestException">An option is outside its range; the message names it and says what is allowed.</exception>
    public void Validate(int vocabSize)
    {
        if (Sampling is null || StopTokens is null || StopStrings is null)
            throw Refused("options", $"{(Sampling is null ? nameof(Sampling) : StopTokens is null ? nameof(StopTokens) : nameof(StopStrings))} is null: leave it out for its default.");
        Sampling.Validate();
        if (Samples is < 1 or > MaxSamples)
            throw Refused("samples", $"samples is {Samples}: it must be between 1 and {MaxSamples}.");
        if (Samples > 1 && Sampling.IsGreedy)
            throw Refused("samples", $"samples is {Samples} at temperature 0, where all answers are the same: set a temperature above 0, or ask for one.");
        if (MaxTokens < 0)
            throw Refused("max-tokens", $"max-tokens is {MaxTokens}: it must be 0 (until the context is full) or positive.");
        if (Deadline is { } deadline && deadline <= TimeSpan.Zero)
            throw Refused("deadline", $"deadline is {deadline}: it must be longer than zero, or absent.");
        foreach (string text in StopStrings)
        {
            if (string.IsNullOrEmpty(text)) throw Refused("stop", $"A stop string is empty: it would end every answer at once. Remove it.");
        }

        foreach (int token in StopTokens)
        {
            if ((uint)token >= (uint)vocabSize)
                throw Refused("stop-token", $"Stop token {token} is not in the vocabulary of {vocabSize} tokens (0 to {vocabSize - 1}).");
        }
    }

    private static InvalidRequestException Refused(string field, FormattableString message) => new(field, message.ToString(CultureInfo.InvariantCulture));
}
