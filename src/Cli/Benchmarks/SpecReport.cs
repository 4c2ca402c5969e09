using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Foretoken.Cli.Output;
using Foretoken.Speculation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Writes what <see cref="SpecBench"/> measured: a table, JSON, or a page that needs nothing else.</summary>
internal static class SpecReport
{
    private const int ShownPositions = 6;
    private static readonly string[] s_headings = ["drafter", "bucket", "tok/s", "MAT", "acceptance", "by position", "c", "v", "predicted", "measured", "first token", "whole"];
    private static readonly string[] s_colors = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#9c6b4e", "#97bbf5"];

    /// <summary>Writes the result to stdout and, if there is one, the page.</summary>
    public static void Write(
        string model, string machine, IReadOnlyList<SpecCell> cells, GovernorReport? governor, OutputFile? page, TableFormat? format, CliHost host)
    {
        if (format is { } f) ToTable(cells).Write(host.Output, f);
        else host.Output.WriteLine(Json(model, cells, governor));
        if (page is null) return;
        page.Stream.Write(Encoding.UTF8.GetBytes(Html(model, machine, cells, governor)));
        page.Commit();
        host.Error.WriteLine($"[page written to {page.Name}]");
    }

    /// <summary>
    /// MAT: mean accepted length, tokens per pass with the bonus. c, v: drafting and verifying per step in plain steps. First token: time until it, in that of plain decoding;
    /// whole: speed-up of whole requests, their prompts included.
    /// </summary>
    public static Table ToTable(IReadOnlyList<SpecCell> cells)
    {
        var table = new Table(s_headings);
        foreach (SpecCell c in cells) table.Add(Row(c, Plain(cells, c)));
        return table;
    }

    public static string Json(string model, IReadOnlyList<SpecCell> cells, GovernorReport? governor) => JsonText.Object(w =>
    {
        w.WriteString("model", model);
        if (governor is not null) w.WriteString("governor", governor.Explain());
        w.WriteStartArray("results");
        foreach (SpecCell c in cells)
        {
            SpecCell plain = Plain(cells, c);
            w.WriteStartObject();
            w.WriteString("drafter", c.Drafter);
            w.WriteString("bucket", c.Bucket);
            w.WriteNumber("tokens", c.Tokens);
            w.WriteNumber("steps", c.Steps);
            w.WriteNumber("drafted_tokens", c.Drafted);
            w.WriteRounded("tokens_per_second", c.TokensPerSecond, 1);
            w.WriteRounded("mean_accepted_length", c.MeanAcceptedLength, 4);
            w.WriteRounded("acceptance", c.Acceptance, 4);
            w.WriteRounded("c", c.DraftCost(plain), 4);
            w.WriteRounded("v", c.VerifyCost(plain), 4);
            w.WriteRounded("predicted_speed_up", c.Predicted(plain), 4);
            w.WriteRounded("measured_speed_up", c.SpeedUp, 4);
            w.WriteRounded("first_token_time", c.FirstTokenTime(plain), 4);
            w.WriteRounded("whole_speed_up", c.WholeSpeedUp(plain), 4);
            w.WriteStartArray("accepted_at");
            for (int i = 0; i < c.DraftedAt.Length && c.DraftedAt[i] > 0; i++) w.WriteNumberValue(Math.Round((double)c.AcceptedAt[i] / c.DraftedAt[i], 4));
            w.WriteEndArray();
            c.WriteCounts(w);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    });

    /// <summary>A page with the table and four charts as SVG.</summary>
    public static string Html(string model, string machine, IReadOnlyList<SpecCell> cells, GovernorReport? governor)
    {
        string[] drafters = [.. cells.Select(c => c.Drafter).Distinct().Where(d => d != "none")];
        var html = new StringBuilder();
        html.Append("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Speculation: ").Append(Escape(model)).Append("</title><style>")
            .Append("body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;font-size:13px}")
            .Append("td,th{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}")
            .Append("svg{background:#fafafa;margin:.5rem 0}text{font:11px system-ui,sans-serif;fill:#444}</style>");
        html.Append("<h1>Speculative decoding: ").Append(Escape(model)).Append("</h1><p>").Append(Escape(machine))
            .Append(" One request at a time, every question answered plainly and with each drafter in turn; speed-ups are medians over repeats.</p>");
        html.Append("<p>").Append(string.Join(" ", drafters.Select((d, i) => $"<span style=\"color:{Color(i)}\">■</span> {Escape(d)}"))).Append("</p>");
        html.Append("<h2>Speed-up by bucket</h2>").Append(SpeedUps(cells, drafters));
        html.Append("<h2>Acceptance by depth</h2><p>Share of drafted positions whose token was accepted, all buckets.</p>").Append(Depths(cells, drafters));
        html.Append("<h2>Predicted against measured</h2><p>Predicted = MAT / (c + v); on the line both are equal.</p>").Append(Predictions(cells, drafters));
        if (governor is { Rows.Count: > 1 }) html.Append("<h2>Cost of rows</h2><p>A pass of n rows in passes of one row, as the Governor learned it.</p>").Append(Costs(governor));
        html.Append("<h2>Figures</h2>").Append(HtmlTable(cells)).Append(Expectations(cells, drafters));
        if (governor is not null) html.Append("<h2>The Governor</h2><p>").Append(Escape(governor.Explain())).Append("</p>");
        return html.Append("</html>\n").ToString();
    }

    private static string[] Row(SpecCell c, SpecCell plain) =>
    [
        c.Drafter, c.Bucket, Text(c.TokensPerSecond, 0), Text(c.MeanAcceptedLength, 2), c.Drafted == 0 ? "" : Text(c.Acceptance, 2), Positions(c), Text(c.DraftCost(plain), 3),
        Text(c.VerifyCost(plain), 2), Text(c.Predicted(plain), 2), Text(c.SpeedUp, 2), Text(c.FirstTokenTime(plain), 2), Text(c.WholeSpeedUp(plain), 2),
    ];

    private static SpecCell Plain(IReadOnlyList<SpecCell> cells, SpecCell c) => cells.First(p => p.Drafter == "none" && p.Bucket == c.Bucket);

    private static string Positions(SpecCell c)
    {
        IEnumerable<int> known = Enumerable.Range(0, ShownPositions).TakeWhile(i => c.DraftedAt[i] > 0);
        return string.Join(' ', known.Select(i => Text((double)c.AcceptedAt[i] / c.DraftedAt[i], 2)));
    }

    private static string SpeedUps(IReadOnlyList<SpecCell> cells, string[] drafters)
    {
        string[] buckets = [.. cells.Select(c => c.Bucket).Distinct()];
        int group = 14 * drafters.Length + 24;
        double top = Math.Max(1.5, cells.Max(c => c.SpeedUp));
        var svg = new StringBuilder(Open(60 + group * buckets.Length, 240));
        double Y(double value) => 200 - 180 * value / top;
        svg.Append(Line(40, Y(1), 50 + group * buckets.Length, Y(1), "#888")).Append(Label(8, Y(1) + 4, "1.0"));
        svg.Append(Label(8, Y(top) + 4, Text(top, 1)));
        for (int b = 0; b < buckets.Length; b++)
        {
            svg.Append(Label(50 + b * group, 220, buckets[b]));
            for (int d = 0; d < drafters.Length; d++)
            {
                double value = cells.First(c => c.Bucket == buckets[b] && c.Drafter == drafters[d]).SpeedUp;
                svg.Append(Invariant($"<rect x=\"{50 + b * group + 14 * d}\" y=\"{Y(value):F1}\" width=\"12\" height=\"{200 - Y(value):F1}\" fill=\"{Color(d)}\"><title>{Escape(drafters[d])} {value:F2}</title></rect>"));
            }
        }

        return svg.Append("</svg>").ToString();
    }

    private static string Depths(IReadOnlyList<SpecCell> cells, string[] drafters)
    {
        var svg = new StringBuilder(Open(560, 240));
        svg.Append(Line(40, 200, 540, 200, "#888")).Append(Label(8, 24, "1.0")).Append(Label(8, 204, "0.0")).Append(Label(480, 220, "position"));
        for (int d = 0; d < drafters.Length; d++)
        {
            SpecCell c = cells.First(x => x.Bucket == "all" && x.Drafter == drafters[d]);
            var points = new StringBuilder();
            for (int i = 0; i < 12 && c.DraftedAt[i] > 0; i++) points.Append(Invariant($"{60 + 40 * i},{200 - 180.0 * c.AcceptedAt[i] / c.DraftedAt[i]:F1} "));
            svg.Append($"<polyline fill=\"none\" stroke=\"{Color(d)}\" stroke-width=\"2\" points=\"{points}\"/>");
        }

        for (int i = 0; i < 12; i++) svg.Append(Label(57 + 40 * i, 215, Text(i + 1, 0)));
        return svg.Append("</svg>").ToString();
    }

    private static string Predictions(IReadOnlyList<SpecCell> cells, string[] drafters)
    {
        double top = Math.Max(1.5, cells.Max(c => Math.Max(c.SpeedUp, c.Predicted(Plain(cells, c))))) * 1.05;
        var svg = new StringBuilder(Open(300, 300)).Append(Line(40, 260, 280, 20, "#888")).Append(Label(200, 290, "predicted")).Append(Label(4, 14, "measured"));
        foreach (SpecCell c in cells.Where(c => c.Drafter != "none" && c.Bucket != "all"))
        {
            double x = 40 + 240 * c.Predicted(Plain(cells, c)) / top, y = 260 - 240 * c.SpeedUp / top;
            svg.Append(Invariant($"<circle cx=\"{x:F1}\" cy=\"{y:F1}\" r=\"4\" fill=\"{Color(Array.IndexOf(drafters, c.Drafter))}\"><title>{Escape(c.Drafter)} {Escape(c.Bucket)}</title></circle>"));
        }

        return svg.Append("</svg>").ToString();
    }

    private static string Costs(GovernorReport governor)
    {
        double top = governor.Rows.Max(r => r.Cost);
        int widest = governor.Rows.Max(r => r.Rows);
        var svg = new StringBuilder(Open(560, 240)).Append(Line(40, 200, 540, 200, "#888")).Append(Label(8, 24, Text(top, 1))).Append(Label(500, 220, "rows"));
        foreach (RowCost r in governor.Rows)
        {
            double x = 40 + 490.0 * r.Rows / widest;
            svg.Append(Invariant($"<circle cx=\"{x:F1}\" cy=\"{200 - 180 * r.Cost / top:F1}\" r=\"3\" fill=\"{Color(0)}\"><title>{r.Rows} rows {r.Cost:F2}</title></circle>"));
            svg.Append(Label(x - 4, 215, Text(r.Rows, 0)));
        }

        return svg.Append("</svg>").ToString();
    }

    /// <summary>Tokens per step as two formulas see them, with acceptance p and N drafts, beside what was measured.</summary>
    private static string Expectations(IReadOnlyList<SpecCell> cells, string[] drafters)
    {
        var html = new StringBuilder("<h2>Tokens per step: formulas and measurement</h2><p>p: share of positions accepted given the one before; N: mean depth. ")
            .Append("Exact for independent positions: (1 − p<sup>N+1</sup>) / (1 − p); the approximation (1 + p(N − 1)) / (1 + (1 − p)N) beside it, in units of N drafts.</p>")
            .Append("<table><tr><th>drafter</th><th></th><th>p</th><th>N</th><th>exact</th><th>approximation</th><th>measured MAT</th></tr>");
        foreach (string drafter in drafters)
        {
            SpecCell c = cells.First(x => x.Bucket == "all" && x.Drafter == drafter);
            double reached = c.DraftedAt[0], depth = reached == 0 ? 0 : c.DraftedAt.Sum() / reached, tried = reached, right = 0;
            for (int i = 0; i < c.AcceptedAt.Length; i++)
            {
                right += c.AcceptedAt[i];
                if (i + 1 < c.AcceptedAt.Length) tried += Math.Min(c.AcceptedAt[i], c.DraftedAt[i + 1]);
            }

            double p = tried == 0 ? 0 : Math.Min(right / tried, 0.9999);
            html.Append(Invariant($"<tr><td>{Escape(drafter)}</td><td></td><td>{p:F3}</td><td>{depth:F2}</td><td>{(1 - Math.Pow(p, depth + 1)) / (1 - p):F2}</td>"))
                .Append(Invariant($"<td>{(1 + p * (depth - 1)) / (1 + (1 - p) * depth):F2}</td><td>{c.MeanAcceptedLength:F2}</td></tr>"));
        }

        return html.Append("</table>").ToString();
    }

    private static string HtmlTable(IReadOnlyList<SpecCell> cells)
    {
        var html = new StringBuilder("<table><tr>");
        foreach (string heading in s_headings) html.Append("<th>").Append(heading).Append("</th>");
        html.Append("</tr>");
        foreach (SpecCell c in cells)
        {
            html.Append("<tr>");
            foreach (string text in Row(c, Plain(cells, c))) html.Append("<td>").Append(Escape(text)).Append("</td>");
            html.Append("</tr>");
        }

        return html.Append("</table>").ToString();
    }

    private static string Open(int width, int height) => Invariant($"<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">");

    private static string Line(double x1, double y1, double x2, double y2, string color) =>
        Invariant($"<line x1=\"{x1:F1}\" y1=\"{y1:F1}\" x2=\"{x2:F1}\" y2=\"{y2:F1}\" stroke=\"{color}\"/>");

    private static string Label(double x, double y, string text) => Invariant($"<text x=\"{x:F1}\" y=\"{y:F1}\">{Escape(text)}</text>");

    private static string Color(int index) => s_colors[Math.Max(index, 0) % s_colors.Length];

    private static string Escape(string text) => WebUtility.HtmlEncode(text);

    private static string Text(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
