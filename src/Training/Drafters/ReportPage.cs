using System.Net;
using System.Text;

namespace Foretoken.Training.Drafters;

/// <summary>Paragraphs and tables, written as Markdown and as a page. The first column of a table is text, the others are figures.</summary>
internal sealed class ReportPage(string title)
{
    private readonly StringBuilder _markdown = new($"# {title}\n");
    private readonly StringBuilder _html = new();

    /// <summary>Adds a paragraph.</summary>
    public void Text(string text)
    {
        _markdown.Append('\n').Append(text).Append('\n');
        _html.Append("<p>").Append(WebUtility.HtmlEncode(text)).Append("</p>\n");
    }

    /// <summary>Adds a table.</summary>
    public void Table(string[] headings, IEnumerable<string[]> rows)
    {
        _markdown.Append("\n| ").AppendJoin(" | ", headings).Append(" |\n|---|").Insert(_markdown.Length, "---:|", headings.Length - 1).Append('\n');
        _html.Append("<table><tr><th>").AppendJoin("</th><th>", headings.Select(WebUtility.HtmlEncode)).Append("</th></tr>\n");
        foreach (string[] row in rows)
        {
            _markdown.Append("| ").AppendJoin(" | ", row).Append(" |\n");
            _html.Append("<tr><td>").AppendJoin("</td><td>", row.Select(WebUtility.HtmlEncode)).Append("</td></tr>\n");
        }

        _html.Append("</table>\n");
    }

    /// <summary>Writes report.md and report.html.</summary>
    public void Write(string directory)
    {
        File.WriteAllText(Path.Combine(directory, "report.md"), ToString());
        string name = WebUtility.HtmlEncode(title);
        File.WriteAllText(Path.Combine(directory, "report.html"), $"""
            <!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>
            body {"{"}font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222{"}"}
            table {"{"}border-collapse:collapse;font-size:13px;margin:1rem 0{"}"}
            td,th {"{"}padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd{"}"} td:first-child,th:first-child {"{"}text-align:left{"}"}
            </style><h1>{name}</h1>
            {_html}</html>

            """);
    }

    /// <summary>The Markdown.</summary>
    public override string ToString() => _markdown.ToString();
}
