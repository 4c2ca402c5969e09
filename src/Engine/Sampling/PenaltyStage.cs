using Foretoken.Memory;

namespace Foretoken.Sampling;

/// <summary>
/// Repetition penalty over prompt and answer (Keskar et al., CTRL, 2019), presence and frequency penalties over the answer, as vLLM and the OpenAI
/// API count them. Occurrences are counted afresh from the path for each token: no state to fork, merge or roll back.
/// </summary>
public sealed class PenaltyStage : ISamplerStage
{
    private readonly int[] _answerCounts; // [vocab] zero between calls
    private readonly bool[] _seen;        // [vocab] false between calls

    /// <summary>Plans for a vocabulary.</summary>
    public PenaltyStage(int vocabSize, MemoryPlan? plan = null)
    {
        _answerCounts = new int[vocabSize];
        _seen = new bool[vocabSize];
        plan?.Add("sampler", "penalties", $"[vocab {vocabSize}] count, seen", vocabSize * 5L);
    }

    /// <inheritdoc/>
    public string Name => "penalties";

    /// <inheritdoc/>
    public bool Applies(SamplingOptions options) => options.HasPenalties;

    /// <inheritdoc/>
    public void Apply(Candidates candidates, SamplingOptions options, TokenHistory path)
    {
        foreach (int token in path.Generated) _answerCounts[token]++;
        foreach (int token in path.Tokens)
        {
            if (_seen[token]) continue;
            _seen[token] = true;
            ref float logit = ref candidates.Logits[token]; // the first stage: candidate i is token i
            if (options.RepetitionPenalty != 1) logit = logit > 0 ? logit / options.RepetitionPenalty : logit * options.RepetitionPenalty;
            int count = _answerCounts[token];
            if (count > 0) logit -= options.PresencePenalty + options.FrequencyPenalty * count;
            logit = MathF.Min(logit, float.MaxValue); // a penalty near 0 must not make an infinite best
        }

        foreach (int token in path.Tokens)
        {
            _seen[token] = false;
            _answerCounts[token] = 0;
        }
    }
}
