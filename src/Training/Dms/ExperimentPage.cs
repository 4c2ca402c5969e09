using System.Globalization;
using System.Net;
using System.Text;

namespace Foretoken.Training;

/// <summary>The experiment's results as a page that needs nothing else: per asked compression and group of problems a bar for every variant with its 95 % interval, then the table.</summary>
internal static class ExperimentPage
{
    private const int Left = 210, Bar = 11, Row = 16, Column = 190, Gap = 14;
    private static readonly string[] s_colors = ["#4269d0", "#8a93a6"]; // trained, untrained

    public static string Write(string title, IReadOnlyList<ExperimentScore> scores)
    {
        var html = new StringBuilder("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>").Append(Escape(title)).Append("</title><style>")
            .Append("body{font:15px/1.5 system-ui,sans-serif;max-width:90rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;font-size:12px}")
            .Append("td,th{padding:.2rem .5rem;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}")
            .Append("svg{background:#fafafa;margin:.5rem 0;max-width:100%}text{font:11px system-ui,sans-serif;fill:#444}</style><h1>").Append(Escape(title)).Append("</h1>")
            .Append("<p>Share of wholly right solutions. Lines are 95 % intervals: Wilson’s over the problems with one seed, Student’s over the seeds’ means with several. ")
            .Append("Blue: trained, grey: untrained. Behind each bar the compression measured on that group of problems.</p>");
        foreach (IGrouping<double, ExperimentScore> asked in scores.Where(s => s.TargetCr > 1).GroupBy(s => s.TargetCr).OrderByDescending(g => g.Key))
        {
            html.Append(Invariant($"<h2>Asked compression {asked.Key}</h2>"));
            Chart(html, [.. scores.Where(s => s.TargetCr <= 1), .. asked]);
        }
        Table(html, scores);
        return html.Append("</html>\n").ToString();
    }

    /// <summary>A line per variant, a column per group of problems.</summary>
    private static void Chart(StringBuilder html, IReadOnlyList<ExperimentScore> scores)
    {
        string[] groups = [.. scores.Select(s => s.Group).Distinct()], variants = [.. scores.Select(s => s.Variant).Distinct()];
        html.Append(Invariant($"<svg width=\"{Left + groups.Length * (Column + Gap)}\" height=\"{variants.Length * Row + 30}\">"));
        for (int g = 0; g < groups.Length; g++)
            html.Append(Invariant($"<text x=\"{Left + g * (Column + Gap)}\" y=\"14\">{Escape(groups[g])}</text>"));
        for (int v = 0; v < variants.Length; v++)
        {
            int y = 24 + v * Row;
            html.Append(Invariant($"<text x=\"4\" y=\"{y + Bar - 2}\">{Escape(variants[v])}</text>"));
            for (int g = 0; g < groups.Length; g++)
            {
                ExperimentScore[] cell = [.. scores.Where(s => s.Variant == variants[v] && s.Group == groups[g])];
                if (cell.Length > 0) Draw(html, cell, Left + g * (Column + Gap), y);
            }
        }
        html.Append("</svg>");
    }

    private static void Draw(StringBuilder html, ExperimentScore[] cell, int x, int y)
    {
        const double full = Column - 45;
        (double mean, double low, double high) = ExperimentTable.Interval(cell);
        html.Append(Invariant($"<rect x=\"{x}\" y=\"{y}\" width=\"{full * mean:F1}\" height=\"{Bar}\" fill=\"{s_colors[cell[0].Seed > 0 ? 0 : 1]}\"><title>{100 * mean:F1} % ({100 * low:F1} to {100 * high:F1}), {(cell.Length == 1 ? "1 seed" : cell.Length + " seeds")}</title></rect>"))
            .Append(Invariant($"<path d=\"M{x + full * low:F1} {y + Bar / 2.0:F1}H{x + full * high:F1}\" stroke=\"#222\"/>"))
            .Append(Invariant($"<text x=\"{x + full + 6:F0}\" y=\"{y + Bar - 2}\">{cell.Average(s => s.Compression):F1}×</text>"));
    }

    /// <summary>The Markdown table's cells again.</summary>
    private static void Table(StringBuilder html, IReadOnlyList<ExperimentScore> scores)
    {
        html.Append("<h2>Table</h2><table>");
        string tag = "th";
        foreach (string line in ExperimentTable.Write(scores).Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(l => !l.StartsWith("|---", StringComparison.Ordinal)))
        {
            html.Append("<tr>");
            foreach (string cell in line.Trim('|').Split('|')) html.Append(Invariant($"<{tag}>{Escape(cell.Trim())}</{tag}>"));
            html.Append("</tr>");
            tag = "td";
        }
        html.Append("</table>");
    }

    private static string Escape(string text) => WebUtility.HtmlEncode(text);

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
