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

    /// <summary>Plans for a vocabulary: one sampler serves any options.</summary>
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
        sampled = new SampledToken(token, options.LogProbs ? LogProb(logits, token) : 0);
        return true;
    }

    /// <summary>The distribution that <see cref="TrySample"/> draws from; all of it on one token at temperature 0.</summary>
    /// <param name="logits">The model's output for the path's last token. // [vocab]</param>
    /// <param name="options">Checked options.</param>
    /// <param name="path">The tokens so far.</param>
    /// <param name="probabilities">Receives it. // [vocab]</param>
    /// <param name="temperature">Another temperature than that of the options; 0 = theirs.</param>
    /// <returns>False if there is no distribution.</returns>
    public bool TryDistribution(ReadOnlySpan<float> logits, SamplingOptions options, TokenHistory path, Span<double> probabilities, float temperature = 0)
    {
        if (!float.IsFinite(LogitMath.Max(logits))) return false;
        _candidates.Load(logits);
        foreach (ISamplerStage stage in _stages)
        {
            if (stage.Applies(options)) stage.Apply(_candidates, options, path);
        }

        probabilities.Clear();
        if (options.IsGreedy && temperature == 0)
        {
            probabilities[_candidates.Best()] = 1;
            return true;
        }

        if (options.IsGreedy) _candidates.ScaleBelowBest(temperature);
        ReadOnlySpan<float> weights = _candidates.Weights();
        ReadOnlySpan<int> ids = _candidates.Ids;
        double total = 0;
        foreach (float weight in weights) total += weight;
        for (int i = 0; i < weights.Length; i++) probabilities[ids[i]] = weights[i] / total;
        return true;
    }

    /// <summary>The natural log-probability of a token under the model's own distribution, before any stage.</summary>
    public static float LogProb(ReadOnlySpan<float> logits, int token)
    {
        float max = LogitMath.Max(logits);
        return (float)(logits[token] - (double)max - Math.Log(LogitMath.SumExp(logits, max)));
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
