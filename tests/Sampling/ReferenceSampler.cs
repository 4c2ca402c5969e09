using Foretoken.Sampling;

namespace Foretoken.Tests.Sampling;

/// <summary>The truncation stages written the plain way, by sorting, in double.</summary>
internal static class ReferenceSampler
{
    /// <summary>Ids that top-k, top-p and min-p leave, in that order, after the temperature; increasing.</summary>
    public static int[] Survivors(ReadOnlySpan<float> logits, SamplingOptions options)
    {
        float max = float.NegativeInfinity;
        foreach (float l in logits) max = Math.Max(max, l);
        var scaled = new float[logits.Length];
        for (int i = 0; i < scaled.Length; i++) scaled[i] = (logits[i] - max) / options.Temperature;
        int[] ids = Enumerable.Range(0, scaled.Length).OrderByDescending(i => scaled[i]).ThenBy(i => i).ToArray();
        if (options.TopK > 0) ids = ids.Take(options.TopK).ToArray();
        if (options.TopP < 1)
        {
            double target = options.TopP * ids.Sum(i => Math.Exp(scaled[i])), sum = 0;
            int kept = 0;
            while (kept < ids.Length && sum < target) sum += Math.Exp(scaled[ids[kept++]]);
            ids = ids.Take(kept).ToArray();
        }

        if (options.MinP > 0) ids = ids.Where(i => Math.Exp(scaled[i]) >= options.MinP).ToArray();
        return [.. ids.Order()];
    }

    /// <summary>Probability of each token. // [vocab]</summary>
    public static double[] Distribution(ReadOnlySpan<float> logits, SamplingOptions options)
    {
        int[] ids = Survivors(logits, options);
        var result = new double[logits.Length];
        double sum = 0;
        foreach (int i in ids) sum += result[i] = Math.Exp(logits[i] / options.Temperature);
        foreach (int i in ids) result[i] /= sum;
        return result;
    }
}
