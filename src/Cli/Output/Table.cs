using System.Text;

namespace Foretoken.Cli.Output;

/// <summary>How a table is written.</summary>
internal enum TableFormat
{
    /// <summary>Columns aligned with spaces, for people.</summary>
    Text,
    Markdown,
    Csv,
}

/// <summary>Rows of text under headings. The first column is left-aligned, the others right.</summary>
internal sealed class Table(params string[] headings)
{
    private readonly List<string[]> _rows = [];

    public void Add(params string[] cells)
    {
        if (cells.Length != headings.Length) throw new ArgumentException($"{cells.Length} cells for {headings.Length} columns.", nameof(cells));
        _rows.Add(cells);
    }

    public void Write(TextWriter writer, TableFormat format)
    {
        switch (format)
        {
            case TableFormat.Csv:
                writer.WriteLine(string.Join(',', headings.Select(Quote)));
                foreach (string[] row in _rows) writer.WriteLine(string.Join(',', row.Select(Quote)));
                break;
            case TableFormat.Markdown:
                WriteMarkdown(writer);
                break;
            default:
                WriteAligned(writer);
                break;
        }
    }

    private void WriteMarkdown(TextWriter writer)
    {
        writer.WriteLine($"| {string.Join(" | ", headings)} |");
        writer.WriteLine($"|{string.Concat(headings.Select((_, i) => i == 0 ? "---|" : "---:|"))}");
        foreach (string[] row in _rows) writer.WriteLine($"| {string.Join(" | ", row.Select(c => c.Replace("|", "\\|", StringComparison.Ordinal)))} |");
    }

    private void WriteAligned(TextWriter writer)
    {
        int[] widths = [.. headings.Select((h, i) => Math.Max(h.Length, _rows.Count == 0 ? 0 : _rows.Max(r => r[i].Length)))];
        foreach (string[] row in _rows.Prepend(headings))
        {
            var line = new StringBuilder(row[0].PadRight(widths[0]));
            for (int i = 1; i < row.Length; i++) line.Append("  ").Append(row[i].PadLeft(widths[i]));
            writer.WriteLine(line.ToString().TrimEnd());
        }
    }

    private static string Quote(string cell) =>
        cell.AsSpan().IndexOfAny(",\"\n") < 0 ? cell : $"\"{cell.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
}
