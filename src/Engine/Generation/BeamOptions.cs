using Foretoken.Sampling;

namespace Foretoken.Generation;

/// <summary>How a beam search goes: the same answers every time, as nothing is drawn.</summary>
/// <param name="Beams">Continuations that are kept at every length.</param>
public sealed record BeamOptions(int Beams)
{
    /// <summary>Most beams of a search.</summary>
    public const int MaxBeams = 32;

    /// <summary>Most tokens of an answer, its end token included; 0 = until the context is full.</summary>
    public int MaxTokens { get; init; }

    /// <summary>
    /// α: an answer's score is the sum of its tokens' log-probabilities over its length to the power of α, the end token counted (Wu et al., 2016, as most
    /// libraries have it). 0 prefers short answers, 1 compares means.
    /// </summary>
    public double LengthPenalty { get; init; } = 1;

    /// <summary>Tokens that end an answer besides the model's own.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>The model's end tokens are tokens like others.</summary>
    public bool IgnoreEndTokens { get; init; }

    internal void Validate(int sequences)
    {
        if (Beams is < 1 or > MaxBeams) throw new InvalidRequestException("beams", $"beams is {Beams}: it must be between 1 and {MaxBeams}.");
        if (Beams > sequences)
            throw new InvalidRequestException("beams", $"beams is {Beams}, and the model was loaded for {sequences} sequences at a time: load it for as many.");
        if (MaxTokens < 0) throw new InvalidRequestException("max-tokens", $"max-tokens is {MaxTokens}: it must be 0 (until the context is full) or more.");
        if (!double.IsFinite(LengthPenalty)) throw new InvalidRequestException("length-penalty", $"length-penalty is {LengthPenalty}: it must be a number.");
    }
}

/// <summary>One answer that a beam search found.</summary>
/// <param name="Tokens">Its tokens, an end token included.</param>
/// <param name="Text">Its text; empty for a model without tokenizer.</param>
/// <param name="LogProbability">Sum of the tokens' natural log-probabilities.</param>
/// <param name="Score"><paramref name="LogProbability"/> by length, see <see cref="BeamOptions.LengthPenalty"/>.</param>
/// <param name="FinishReason">Why it ended.</param>
public sealed record BeamAnswer(IReadOnlyList<int> Tokens, string Text, double LogProbability, double Score, FinishReason FinishReason);

/// <summary>What a beam search found.</summary>
/// <param name="Answers">As many as there were beams, the best first.</param>
/// <param name="Steps">Passes behind the prompt.</param>
/// <param name="Lengths">Lengths that the beams went through: without drafts one per pass.</param>
/// <param name="DraftedTokens">Nodes that were verified.</param>
/// <param name="Milliseconds">Time behind the prompt.</param>
public sealed record BeamResult(IReadOnlyList<BeamAnswer> Answers, int Steps, int Lengths, int DraftedTokens, double Milliseconds);
