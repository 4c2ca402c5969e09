using System.Globalization;
using System.Text;

namespace Foretoken.Training;

/// <summary>Results of held-out examples, per bucket and together.</summary>
/// <param name="Name">Bucket, or "all".</param>
/// <param name="Examples">Number of examples.</param>
/// <param name="Exact">Share of wholly right solutions.</param>
/// <param name="TokenAccuracy">Share of right solution tokens.</param>
/// <param name="Divergence">Mean KL(teacher ‖ student) per solution token, nats.</param>
/// <param name="Compression">Σ keys that dense attention sees / Σ keys that are seen.</param>
public sealed record EvictionSummary(string Name, int Examples, double Exact, double TokenAccuracy, double Divergence, double Compression)
{
    /// <summary>One summary.</summary>
    public static EvictionSummary Of(string name, IReadOnlyCollection<EvictionResult> results) => new(
        name, results.Count, results.Average(r => r.Exact ? 1.0 : 0.0), results.Sum(r => r.Correct) / (double)results.Sum(r => r.Tokens),
        results.Sum(r => r.Divergence) / results.Sum(r => r.Tokens), DmsTrainer.Compression(results));

    /// <summary>Summaries of all buckets that have examples, then of everything.</summary>
    public static IReadOnlyList<EvictionSummary> PerBucket(IReadOnlyList<string> buckets, IReadOnlyList<TrainingExample> examples, IReadOnlyList<EvictionResult> results)
    {
        var summaries = new List<EvictionSummary>();
        for (int bucket = 0; bucket < buckets.Count; bucket++)
        {
            EvictionResult[] own = [.. results.Where((_, i) => examples[i].Bucket == bucket)];
            if (own.Length > 0) summaries.Add(Of(buckets[bucket], own));
        }
        summaries.Add(Of("all", [.. results]));
        return summaries;
    }

    /// <summary>A table for people.</summary>
    public static string Table(IEnumerable<EvictionSummary> summaries)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{"bucket",-14}{"n",5}{"exact",9}{"tokens",9}{"KL",9}{"CR",8}\n");
        foreach (EvictionSummary s in summaries)
            text.Append(CultureInfo.InvariantCulture, $"{s.Name,-14}{s.Examples,5}{100 * s.Exact,8:F1}%{100 * s.TokenAccuracy,8:F2}%{s.Divergence,9:F4}{s.Compression,8:F2}\n");
        return text.ToString();
    }
}
