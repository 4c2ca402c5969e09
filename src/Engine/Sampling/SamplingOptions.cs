using System.Globalization;
using Foretoken.Numerics;

namespace Foretoken.Sampling;

/// <summary>
/// How the next token is chosen from the logits. The stages run in the order penalties → temperature → top-k → top-p → min-p, each on what the
/// one before it left, as in Hugging Face Transformers (llama.cpp applies the temperature last, vLLM min-p before top-k).
/// </summary>
public sealed record SamplingOptions
{
    /// <summary>The most likely token, the lowest id among equals.</summary>
    public static SamplingOptions Greedy { get; } = new();

    /// <summary>Divides the logits; 0 takes the most likely token and ignores top-k, top-p, min-p and the seed.</summary>
    public float Temperature { get; init; }

    /// <summary>Keeps the k most likely tokens (lowest ids among equals); 0 keeps all.</summary>
    public int TopK { get; init; }

    /// <summary>Keeps the shortest list of most likely tokens whose probabilities reach this sum; 1 keeps all.</summary>
    public float TopP { get; init; } = 1f;

    /// <summary>Keeps tokens at least this fraction as likely as the most likely one; 0 keeps all.</summary>
    public float MinP { get; init; }

    /// <summary>
    /// Divides positive and multiplies negative logits of tokens that occur in the prompt or the answer; 1 changes nothing. (Keskar et al., CTRL, 2019.)
    /// </summary>
    public float RepetitionPenalty { get; init; } = 1f;

    /// <summary>Subtracted once from the logits of tokens that occur in the answer.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>Subtracted from the logits of tokens of the answer once per occurrence.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Names the random numbers: the same seed, prompt and options give the same tokens, however the request was batched or drafted.</summary>
    public ulong Seed { get; init; }

    /// <summary>Whether each token's log-probability under the model's own distribution (before any stage) is recorded.</summary>
    public bool LogProbs { get; init; }

    private const uint SampleDraw = uint.MaxValue; // apart from the draws of positions

    /// <summary>The likeliest token is taken, of equals the one of lowest id; nothing is drawn.</summary>
    public bool IsGreedy => Temperature == 0;

    /// <summary>The choice depends on the tokens before.</summary>
    public bool HasPenalties => RepetitionPenalty != 1 || PresencePenalty != 0 || FrequencyPenalty != 0;

    /// <summary>
    /// The options of one of several samples: the same but for the seed, which is a function of (seed, sample). Sample 0 keeps the seed, so that more samples
    /// change none of those before.
    /// </summary>
    public SamplingOptions OfSample(int sample) => sample == 0 ? this : this with { Seed = CounterRandom.Bits(Seed, (ulong)sample, SampleDraw) };

    /// <summary>What a device that samples is told; not planned where a stage needs the tokens so far.</summary>
    /// <param name="position">Position of the token to sample.</param>
    public Backends.RowSampling OfRow(int position) =>
        HasPenalties ? default : new Backends.RowSampling(true, Temperature, TopK, TopP, MinP, Seed, position, LogProbs);

    /// <summary>Checks every option.</summary>
    /// <exception cref="InvalidRequestException">An option is outside its range; the message names it and says what is allowed.</exception>
    public void Validate()
    {
        Require(
            float.IsFinite(Temperature) && Temperature >= 0, "temperature", Temperature, "a finite number of at least 0 (0 takes the most likely token)");
        Require(TopK >= 0, "top-k", TopK, "0 (off) or a positive number of tokens");
        Require(TopP > 0 && TopP <= 1, "top-p", TopP, "above 0 and at most 1 (1 is off)");
        Require(MinP >= 0 && MinP <= 1, "min-p", MinP, "between 0 (off) and 1");
        Require(
            float.IsFinite(RepetitionPenalty) && RepetitionPenalty > 0, "repetition-penalty", RepetitionPenalty, "a finite number above 0 (1 is off)");
        Require(float.IsFinite(PresencePenalty), "presence-penalty", PresencePenalty, "a finite number (0 is off)");
        Require(float.IsFinite(FrequencyPenalty), "frequency-penalty", FrequencyPenalty, "a finite number (0 is off)");
    }

    private static void Require(bool holds, string field, double value, string rule)
    {
        if (holds) return;
        throw new InvalidRequestException(field, string.Create(CultureInfo.InvariantCulture, $"{field} is {(float)value}: it must be {rule}."));
    }
}
