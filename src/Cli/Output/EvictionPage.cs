using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Foretoken.Training.Evaluation;

namespace Foretoken.Cli.Output;

/// <summary>Cache policies side by side: a table, JSON, or a page with the tokens that live and with accuracy against keys and values read.</summary>
internal static class EvictionPage
{
    private static readonly string[] s_colors = ["#4269d0", "#ff725c", "#3ca951", "#a463f2"];

    public static Table ToTable(IReadOnlyList<PolicyScore> scores)
    {
        var table = new Table("policy", "accuracy %", "KL nats", "effective CR", "live tokens", "peak MB", "KV KB/token", "tok/s");
        foreach (PolicyScore s in scores)
        {
            table.Add(
                s.Name, Text(100 * s.Report.Overall.Accuracy, 1), Text(s.Divergence, 4), Text(s.Kv.EffectiveCompression, 2), Text(s.Kv.MeanLiveTokens, 1),
                Text(s.Kv.PeakBytes / 1e6, 2), Text(s.BytesPerToken / 1e3, 1), Text(s.TokensPerSecond, 0));
        }

        return table;
    }

    public static Table ToTable(IReadOnlyList<ChainPoint> points)
    {
        var table = new Table("policy", "chains", "accuracy %", "KV MB read/question");
        foreach (ChainPoint p in points) table.Add(p.Name, p.Chains.ToString(CultureInfo.InvariantCulture), Text(100 * p.Accuracy, 1), Text(p.MegabytesRead, 2));
        return table;
    }

    public static string Json(IReadOnlyList<PolicyScore> scores, IReadOnlyList<ChainPoint> points) => JsonText.Object(w =>
    {
        w.WriteStartArray("policies");
        foreach (PolicyScore s in scores) Write(w, s);
        w.WriteEndArray();
        w.WriteStartArray("chains");
        foreach (ChainPoint p in points)
        {
            w.WriteStartObject();
            w.WriteString("policy", p.Name);
            w.WriteNumber("chains", p.Chains);
            w.WriteRounded("accuracy", p.Accuracy, 4);
            w.WriteRounded("kv_mb_read", p.MegabytesRead, 4);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    });

    /// <summary>A page that needs nothing else.</summary>
    public static string Html(string title, string machine, IReadOnlyList<PolicyScore> scores, LiveMap? map, IReadOnlyList<ChainPoint> points)
    {
        var html = new StringBuilder("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>").Append(Escape(title)).Append("</title><style>")
            .Append("body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;font-size:13px}")
            .Append("td,th{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}")
            .Append("svg{background:#fafafa;margin:.5rem 0;max-width:100%}text{font:11px system-ui,sans-serif;fill:#444}</style><h1>")
            .Append(Escape(title)).Append("</h1><p>").Append(Escape(machine)).Append("</p>");
        if (scores.Count > 0) Accuracy(html, scores);
        if (map is not null) Lives(html, map);
        if (points.Count > 0) Chains(html, points);
        return html.Append("</html>\n").ToString();
    }

    private static void Write(Utf8JsonWriter w, PolicyScore s)
    {
        w.WriteStartObject();
        w.WriteString("policy", s.Name);
        w.WriteRounded("accuracy", s.Report.Overall.Accuracy, 4);
        w.WriteStartObject("buckets");
        foreach (BucketScore b in s.Report.Buckets) w.WriteRounded(b.Name, b.Accuracy, 4);
        w.WriteEndObject();
        w.WriteRounded("kl_nats", s.Divergence, 6);
        w.WriteRounded("effective_compression", s.Kv.EffectiveCompression, 4);
        w.WriteRounded("live_tokens_per_head", s.Kv.MeanLiveTokens, 2);
        w.WriteNumber("peak_bytes", s.Kv.PeakBytes);
        w.WriteRounded("kv_bytes_read_per_token", s.BytesPerToken, 1);
        w.WriteRounded("tokens_per_second", s.TokensPerSecond, 1);
        w.WriteEndObject();
    }

    private static void Accuracy(StringBuilder html, IReadOnlyList<PolicyScore> scores)
    {
        html.Append("<h2>Accuracy and memory</h2><p>KL: of the dense model's next-token distribution from the policy's, over the dense model's own answers. Effective CR: ")
            .Append("tokens a dense cache would have shown over tokens shown, all steps and heads. Peak: bytes held by all questions that ran together.</p><table><tr><th>policy</th>");
        foreach (BucketScore b in scores[0].Report.Buckets) html.Append("<th>").Append(Escape(b.Name)).Append("</th>");
        html.Append("<th>overall</th><th>KL nats</th><th>effective CR</th><th>live tokens per head</th><th>peak MB</th><th>KV KB read per token</th><th>tok/s</th></tr>");
        foreach (PolicyScore s in scores)
        {
            html.Append("<tr><td>").Append(Escape(s.Name)).Append("</td>");
            foreach (BucketScore b in s.Report.Buckets) html.Append(Invariant($"<td>{100 * b.Accuracy:F1}</td>"));
            html.Append(Invariant($"<td>{100 * s.Report.Overall.Accuracy:F1}</td><td>{s.Divergence:F4}</td><td>{s.Kv.EffectiveCompression:F2}</td><td>{s.Kv.MeanLiveTokens:F1}</td>"))
                .Append(Invariant($"<td>{s.Kv.PeakBytes / 1e6:F2}</td><td>{s.BytesPerToken / 1e3:F1}</td><td>{s.TokensPerSecond:F0}</td></tr>"));
        }

        html.Append("</table>");
    }

    /// <summary>One line per layer and KV head, one column per token; a bar where tokens are live.</summary>
    private static void Lives(StringBuilder html, LiveMap map)
    {
        const int left = 90, row = 9;
        double column = Math.Clamp(1000.0 / map.Tokens.Count, 1.5, 8);
        int height = map.Live.Length * row + map.Live.Length / map.KvHeads * 4 + 30;
        html.Append(Invariant($"<h2>Tokens that live</h2><p>At the end of one answer: {map.PromptTokens} prompt tokens, then {map.Tokens.Count - map.PromptTokens} of the answer (behind the line). Each line is a KV head.</p>"))
            .Append(Invariant($"<svg width=\"{left + column * map.Tokens.Count + 10:F0}\" height=\"{height}\">"));
        int y = 4;
        for (int h = 0; h < map.Live.Length; h++)
        {
            if (h % map.KvHeads == 0)
            {
                if (h > 0) y += 4;
                html.Append(Invariant($"<text x=\"4\" y=\"{y + 8}\">layer {h / map.KvHeads}</text>"));
            }

            bool[] live = map.Live[h];
            for (int t = 0, end; t < live.Length; t = end)
            {
                for (end = t + 1; end < live.Length && live[end] == live[t]; end++)
                {
                    // a run of equal fates is one bar
                }

                if (live[t]) html.Append(Invariant($"<rect x=\"{left + column * t:F1}\" y=\"{y}\" width=\"{column * (end - t):F1}\" height=\"{row - 2}\" fill=\"#4269d0\"><title>{Escape(string.Concat(map.Tokens.Skip(t).Take(Math.Min(end - t, 12))))}</title></rect>"));
            }

            html.Append(Invariant($"<text x=\"50\" y=\"{y + 8}\">{live.Count(l => l)}</text>"));
            y += row;
        }

        double border = left + column * map.PromptTokens;
        html.Append(Invariant($"<line x1=\"{border:F1}\" y1=\"0\" x2=\"{border:F1}\" y2=\"{y}\" stroke=\"#888\"/></svg>"));
    }

    /// <summary>Accuracy of majorities against what their chains read, on a logarithmic axis.</summary>
    private static void Chains(StringBuilder html, IReadOnlyList<ChainPoint> points)
    {
        string[] names = [.. points.Select(p => p.Name).Distinct()];
        double least = Math.Log(points.Min(p => p.MegabytesRead)), span = Math.Max(1e-6, Math.Log(points.Max(p => p.MegabytesRead)) - least);
        double low = Math.Floor(points.Min(p => p.Accuracy) * 20) / 20, high = Math.Max(low + 0.05, Math.Ceiling(points.Max(p => p.Accuracy) * 20) / 20);
        double X(double megabytes) => 60 + 560 * (Math.Log(megabytes) - least) / span;
        double Y(double accuracy) => 260 - 230 * (accuracy - low) / (high - low);
        html.Append("<h2>Chains that vote</h2><p>Accuracy of the majority of 1, 2, 4, … chains against the keys and values that they read per question. ")
            .Append(string.Join(" ", names.Select((n, i) => $"<span style=\"color:{s_colors[i % s_colors.Length]}\">■</span> {Escape(n)}")))
            .Append("</p><svg width=\"660\" height=\"310\"><line x1=\"60\" y1=\"260\" x2=\"630\" y2=\"260\" stroke=\"#888\"/><line x1=\"60\" y1=\"20\" x2=\"60\" y2=\"260\" stroke=\"#888\"/>")
            .Append(Invariant($"<text x=\"8\" y=\"{Y(high) + 4:F0}\">{100 * high:F0} %</text><text x=\"8\" y=\"264\">{100 * low:F0} %</text><text x=\"520\" y=\"300\">MB read, logarithmic</text>"));
        for (int n = 0; n < names.Length; n++)
        {
            ChainPoint[] line = [.. points.Where(p => p.Name == names[n])];
            html.Append("<polyline fill=\"none\" stroke=\"").Append(s_colors[n % s_colors.Length]).Append("\" stroke-width=\"2\" points=\"");
            foreach (ChainPoint p in line) html.Append(Invariant($"{X(p.MegabytesRead):F1},{Y(p.Accuracy):F1} "));
            html.Append("\"/>");
            foreach (ChainPoint p in line)
            {
                html.Append(Invariant($"<circle cx=\"{X(p.MegabytesRead):F1}\" cy=\"{Y(p.Accuracy):F1}\" r=\"4\" fill=\"{s_colors[n % s_colors.Length]}\"><title>{p.Chains} chains</title></circle>"))
                    .Append(Invariant($"<text x=\"{X(p.MegabytesRead) + 6:F1}\" y=\"{Y(p.Accuracy) - 6:F1}\">{p.Chains}</text>"))
                    .Append(Invariant($"<text x=\"{X(p.MegabytesRead) - 8:F1}\" y=\"{276 + 12 * n}\">{p.MegabytesRead:F1}</text>"));
            }
        }

        html.Append("</svg><table><tr><th>policy</th><th>chains</th><th>accuracy %</th><th>MB read per question</th></tr>");
        foreach (ChainPoint p in points) html.Append(Invariant($"<tr><td>{Escape(p.Name)}</td><td>{p.Chains}</td><td>{100 * p.Accuracy:F1}</td><td>{p.MegabytesRead:F2}</td></tr>"));
        html.Append("</table>");
    }

    private static string Escape(string text) => WebUtility.HtmlEncode(text);

    private static string Text(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
