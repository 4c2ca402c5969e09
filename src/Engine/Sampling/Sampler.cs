using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Sampling;

/// <summary>A chosen token and, if asked for, its natural log-probability under the model's own distribution (else 0).</summary>
public readonly record struct SampledToken(int Token, float LogProb);

/// <summary>
/// The pipeline from a row of logits to a token. The choice is a function of (logits, path, options): the random number is the one of (seed, position of
/// the new token), so that any batch, chunk or draft gives the same tokens. Never modifies the logits, allocates nothing. Not thread-safe.
/// </summary>
public sealed class Sampler
{
    private readonly Candidates _candidates;
    private readonly ISamplerStage[] _stages;

    public Sampler(int vocabSize, MemoryPlan? plan = null)
    {
        _candidates = new Candidates(vocabSize, plan);
        _stages = [new PenaltyStage(vocabSize, plan), new TemperatureStage(), new TopKStage(), new TopPStage(), new MinPStage()];
    }

    /// <summary>Chooses the token that follows <paramref name="path"/>.</summary>
    /// <param name="logits">The model's output for the path's last token. // [vocab]</param>
    /// <param name="options">Checked options.</param>
    /// <param name="path">The tokens so far.</param>
    /// <param name="sampled">The chosen token.</param>
    /// <returns>False if the logits hold NaN or positive infinity, or nothing but negative infinity: there is no distribution to sample from.</returns>
    public bool TrySample(ReadOnlySpan<float> logits, SamplingOptions options, TokenHistory path, out SampledToken sampled)
    {
        sampled = default;
        float max = LogitMath.Max(logits);
        if (!float.IsFinite(max)) return false;
        int token = Choose(logits, max, options, path);
        float logProb = options.LogProbs ? (float)(logits[token] - (double)max - Math.Log(LogitMath.SumExp(logits, max))) : 0;
        sampled = new SampledToken(token, logProb);
        return true;
    }

    private int Choose(ReadOnlySpan<float> logits, float max, SamplingOptions options, TokenHistory path)
    {
        if (options.IsGreedy && !options.HasPenalties) return LogitMath.IndexOf(logits, max);
        _candidates.Load(logits);
        foreach (ISamplerStage stage in _stages)
        {
            if (stage.Applies(options)) stage.Apply(_candidates, options, path);
        }

        return options.IsGreedy ? _candidates.Best() : _candidates.Draw(CounterRandom.Uniform(options.Seed, (ulong)path.Count));
    }
}
