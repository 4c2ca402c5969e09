using System.Text.Json.Serialization;

namespace Foretoken.Training;

/// <summary>Rules of the difficulty levels and of the mixture of buckets.</summary>
public sealed class CurriculumSettings
{
    /// <summary>A bucket's level rises when the share of wholly right solutions at its present level reaches this.</summary>
    public double Threshold { get; set; } = 0.9;

    /// <summary>At least so many examples are seen at a level before it may rise.</summary>
    public int MinimumExamples { get; set; } = 96;

    /// <summary>Examples over which the share is averaged.</summary>
    public int Window { get; set; } = 128;

    /// <summary>After so many examples at one level a share of <see cref="PatienceThreshold"/> is enough.</summary>
    public int PatienceExamples { get; set; } = 6000;

    /// <summary>See <see cref="PatienceExamples"/>.</summary>
    public double PatienceThreshold { get; set; } = 0.6;

    /// <summary>Share of examples one level above the present one.</summary>
    public double StretchShare { get; set; } = 0.08;

    /// <summary>Share of examples of lower levels.</summary>
    public double ReviewShare { get; set; } = 0.3;

    /// <summary>A bucket at level 0 weighs 1 + this, falling to 1 at the last level.</summary>
    public double LagBoost { get; set; } = 1.0;
}

/// <summary>Progress of one bucket; saved in checkpoints.</summary>
public sealed class BucketProgress
{
    /// <summary>Present level.</summary>
    public int Level { get; set; }

    /// <summary>Examples seen at this level.</summary>
    public int ExamplesAtLevel { get; set; }

    /// <summary>Moving share of wholly right solutions at this level.</summary>
    public double Exact { get; set; }

    /// <summary>Moving share of right solution tokens at this level.</summary>
    public double TokenAccuracy { get; set; }

    /// <summary>Moving mean loss per solution token, all levels.</summary>
    public double Loss { get; set; }

    /// <summary>Moving mean tokens per example, all levels.</summary>
    public double MeanTokens { get; set; } = 100;

    /// <summary>Share of the mixture before the adjustments.</summary>
    [JsonIgnore]
    public double Weight { get; set; } = 1;
}

/// <summary>
/// Decides which bucket and level the next example has, from what the training steps measured. Everything follows from the recorded results in
/// order, so a run is reproducible.
/// </summary>
public sealed class Curriculum(CurriculumSettings settings, IReadOnlyList<BucketProgress> buckets, int levels)
{
    /// <summary>Progress per bucket.</summary>
    public IReadOnlyList<BucketProgress> Buckets => buckets;

    /// <summary>Bucket and level for one example; <paramref name="first"/> to <paramref name="third"/> are uniform in [0, 1).</summary>
    public (int Bucket, int Level) Choose(double first, double second, double third)
    {
        double total = 0;
        foreach (BucketProgress bucket in buckets) total += Share(bucket);
        double point = first * total;
        int chosen = 0;
        while (chosen < buckets.Count - 1 && (point -= Share(buckets[chosen])) >= 0) chosen++;
        int level = buckets[chosen].Level;
        if (second < settings.StretchShare) level = Math.Min(level + 1, levels - 1);
        else if (second < settings.StretchShare + settings.ReviewShare) level = (int)((level + 1) * Math.Sqrt(third)); // higher levels more often
        return (chosen, level);
    }

    /// <summary>Takes in the result of one example and raises its bucket's level when the rules say so; returns whether it rose.</summary>
    public bool Observe(TrainingExample example, ExampleResult result)
    {
        BucketProgress bucket = buckets[example.Bucket];
        bucket.Loss += (result.SolutionLoss / result.SolutionTokens - bucket.Loss) / settings.Window;
        bucket.MeanTokens += (example.Tokens.Length - bucket.MeanTokens) / settings.Window;
        if (example.Level != bucket.Level) return false;
        bucket.ExamplesAtLevel++;
        double rate = 1.0 / Math.Min(bucket.ExamplesAtLevel, settings.Window);
        bucket.Exact += ((result.Exact ? 1 : 0) - bucket.Exact) * rate;
        bucket.TokenAccuracy += ((double)result.CorrectTokens / result.SolutionTokens - bucket.TokenAccuracy) * rate;
        double needed = bucket.ExamplesAtLevel >= settings.PatienceExamples ? settings.PatienceThreshold : settings.Threshold;
        if (bucket.Level + 1 >= levels || bucket.ExamplesAtLevel < settings.MinimumExamples || bucket.Exact < needed) return false;
        bucket.Level++;
        bucket.ExamplesAtLevel = 0;
        bucket.Exact = 0;
        return true;
    }

    /// <summary>Weight of a bucket: long examples are drawn less often, buckets that lag more often.</summary>
    private double Share(BucketProgress bucket)
    {
        double done = (bucket.Level + bucket.Exact) / levels;
        return bucket.Weight * (1 + settings.LagBoost * (1 - done)) / Math.Sqrt(bucket.MeanTokens);
    }
}
