using System.Globalization;
using System.Text;

namespace Foretoken.Training;

/// <summary>The experiment's results as a Markdown table: exact solutions with 95 % intervals and measured compression, per variant, asked compression and group of problems.</summary>
public static class ExperimentTable
{
    /// <summary>Two-sided 95 % quantiles of Student's t for 1, 2, 3 and 4 degrees of freedom.</summary>
    private static readonly double[] StudentT = [12.706, 4.303, 3.182, 2.776];

    /// <summary>
    /// One line per variant and compression. With one seed the interval is Wilson's over the problems; with several it is Student's over the seeds' means.
    /// </summary>
    public static string Write(IReadOnlyList<ExperimentScore> scores)
    {
        string[] groups = [.. scores.Select(s => s.Group).Distinct()];
        var text = new StringBuilder("| variant | asked CR | seeds |");
        foreach (string group in groups) text.Append(CultureInfo.InvariantCulture, $" {group} |");
        text.Append(" KL to dense |\n|---|---|---|").Insert(text.Length, "---|", groups.Length + 1).Append('\n');
        foreach (var row in scores.GroupBy(s => (s.Variant, s.TargetCr)))
        {
            ulong[] seeds = [.. row.Select(s => s.Seed).Distinct()];
            string asked = row.Key.TargetCr > 1 ? row.Key.TargetCr.ToString(CultureInfo.InvariantCulture) : "–";
            text.Append(CultureInfo.InvariantCulture, $"| {row.Key.Variant} | {asked} | {seeds.Length} |");
            foreach (string group in groups) text.Append(CultureInfo.InvariantCulture, $" {Cell([.. row.Where(s => s.Group == group)])} |");
            text.Append(CultureInfo.InvariantCulture, $" {row.Average(s => s.Divergence):F4} |\n");
        }
        return text.ToString();
    }

    /// <summary>"mean (low–high), compression×", the first three in percent.</summary>
    internal static string Cell(IReadOnlyList<ExperimentScore> scores)
    {
        if (scores.Count == 0) return "–";
        (double mean, double low, double high) = Interval(scores);
        return string.Create(CultureInfo.InvariantCulture, $"{100 * mean:F1} ({100 * low:F1}–{100 * high:F1}), {scores.Average(s => s.Compression):F1}×");
    }

    /// <summary>Share of wholly right solutions and its 95 % interval; the scores differ in their seeds only.</summary>
    internal static (double Mean, double Low, double High) Interval(IReadOnlyList<ExperimentScore> scores) => scores.Count == 1
        ? Wilson(scores[0].ExactCount, scores[0].Examples)
        : Student([.. scores.Select(s => (double)s.ExactCount / s.Examples)]);

    /// <summary>Wilson's score interval at 95 %.</summary>
    internal static (double Mean, double Low, double High) Wilson(int successes, int trials)
    {
        const double Z = 1.959964;
        double p = (double)successes / trials, center = p + Z * Z / (2 * trials), spread = Z * Math.Sqrt(p * (1 - p) / trials + Z * Z / (4.0 * trials * trials));
        return (p, Math.Max(0, (center - spread) / (1 + Z * Z / trials)), Math.Min(1, (center + spread) / (1 + Z * Z / trials)));
    }

    private static (double Mean, double Low, double High) Student(double[] values)
    {
        double mean = values.Average(), deviation = Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Length - 1));
        double t = values.Length - 2 < StudentT.Length ? StudentT[values.Length - 2] : 2.0;
        double spread = t * deviation / Math.Sqrt(values.Length);
        return (mean, Math.Max(0, mean - spread), Math.Min(1, mean + spread));
    }
}
