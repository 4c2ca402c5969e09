using Foretoken.Generation;
using Foretoken.Numerics;
using Foretoken.Sampling;

namespace Foretoken.Tests.Seam;

/// <summary>A request of the matrix.</summary>
/// <param name="Prompt">Token ids.</param>
/// <param name="MaxTokens">Tokens of the answer.</param>
/// <param name="Sampling">With log-probabilities.</param>
public sealed record SeamRequest(int[] Prompt, int MaxTokens, SamplingOptions Sampling)
{
    /// <summary>Requests that are there to be asked.</summary>
    public const int Count = 32;

    private const int LongestPrompt = 242; // its answer goes past position 256, where attention begins another block

    private static readonly byte[][] s_text = [.. Enumerable.Range(0, SeamModels.Vocab).Select(t => new[] { (byte)('0' + t) })];
    private static readonly int[] s_shared = Tokens(64, 99);

    /// <summary>
    /// Every eighth prompt is longer than a chunk of 64; number 24 is the longest. All begin with the same tokens: one block, or three blocks and a part of the next.
    /// </summary>
    /// <param name="i">Which request.</param>
    /// <param name="c">How long the common beginning is and how tokens are chosen.</param>
    /// <param name="sample">Which of its samples.</param>
    public static SeamRequest Number(int i, SeamCombination c, int sample = 0)
    {
        ReadOnlySpan<int> shared = Shared(c.SharedTokens);
        int own = i == 24 ? LongestPrompt - shared.Length : i % 8 == 0 ? 60 + i : 3 + i * 7 % 20;
        var sampling = new SamplingOptions { LogProbs = true };
        if (c.Sampled) sampling = sampling with { Temperature = 0.8f, TopP = 0.9f, Seed = (ulong)i };
        if (c.Penalties) sampling = sampling with { RepetitionPenalty = 1.15f, PresencePenalty = 0.4f, FrequencyPenalty = 0.2f };
        return new SeamRequest([.. shared, .. Tokens(own, (ulong)i)], i % 8 == 0 ? 44 : 20 + i % 3 * 4, sampling.OfSample(sample));
    }

    /// <summary>The request as the loop takes it. Token t is the character '0' + t.</summary>
    public Sequence Sequence(int priority = 0, IEnumerable<int>? stopTokens = null, string[]? stopStrings = null) =>
        new(Prompt, MaxTokens, Sampling, new StopConditions(stopTokens ?? [], stopStrings ?? [], t => s_text[t]), priority);

    /// <summary>What all prompts begin with.</summary>
    public static ReadOnlySpan<int> Shared(int count) => s_shared.AsSpan(0, count);

    private static int[] Tokens(int count, ulong seed)
    {
        var random = new SeededRandom(seed, 4);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(SeamModels.Vocab))];
    }
}
