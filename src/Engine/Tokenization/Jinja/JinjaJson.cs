using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization.Jinja;

/// <summary>
/// Writes template values as JSON, as Python's <c>json.dumps</c> does in the reference environment: a space after commas and colons, text beyond
/// ASCII as it is, no escaping for HTML.
/// </summary>
internal sealed class JinjaJson(JinjaRun run)
{
    private readonly StringBuilder _json = new();
    private bool _untrusted;

    public bool EscapeNonAscii { get; init; }

    public bool SortKeys { get; init; }

    /// <summary>Spaces per level, negative for everything on one line.</summary>
    public int Indent { get; init; }

    public string? ItemSeparator { get; set; }

    public string KeySeparator { get; set; } = ": ";

    /// <summary>The JSON text; all of it is untrusted if any string in it is.</summary>
    public MarkedText Write(object? value)
    {
        Write(value, 0);
        return JinjaText.Derived(_json.ToString(), _untrusted);
    }

    private void Write(object? value, int depth)
    {
        run.Step();
        switch (value)
        {
            case null:
                _json.Append("null");
                break;
            case bool flag:
                _json.Append(flag ? "true" : "false");
                break;
            case long or double:
                _json.Append(JinjaText.Print(value).Text);
                break;
            case MarkedText text:
                WriteString(text);
                break;
            case List<object?> list:
                WriteItems('[', list, ']', depth, item => Write(item, depth + 1));
                break;
            case JinjaMap map:
                WriteItems<KeyValuePair<string, object?>>('{', SortKeys ? map.Items.OrderBy(item => item.Key, StringComparer.Ordinal)
                    : map.Items, '}', depth, item =>
                {
                    WriteString(map.Key(item.Key));
                    _json.Append(KeySeparator);
                    Write(item.Value, depth + 1);
                });
                break;
            default:
                throw run.Error($"{JinjaOperators.TypeName(value)} cannot be written as JSON");
        }
    }

    private void WriteItems<T>(char open, IEnumerable<T> items, char close, int depth, Action<T> write)
    {
        _json.Append(open);
        bool first = true;
        foreach (T item in items)
        {
            _json.Append(first ? "" : ItemSeparator ?? (Indent < 0 ? ", " : ","));
            NewLine(depth + 1);
            write(item);
            first = false;
        }
        if (!first)
            NewLine(depth);
        _json.Append(close);
    }

    private void NewLine(int depth)
    {
        if (Indent >= 0)
            _json.Append('\n').Append(' ', Indent * depth);
    }

    private void WriteString(MarkedText text)
    {
        _untrusted |= text.Protected is not null;
        run.Charge(text.Text.Length);
        _json.Append('"');
        foreach (char unit in text.Text)
        {
            _ = unit switch
            {
                '"' => _json.Append("\\\""),
                '\\' => _json.Append("\\\\"),
                '\n' => _json.Append("\\n"),
                '\r' => _json.Append("\\r"),
                '\t' => _json.Append("\\t"),
                '\b' => _json.Append("\\b"),
                '\f' => _json.Append("\\f"),
                _ when unit < ' ' || EscapeNonAscii && unit > '~' => _json.Append("\\u").Append(((int)unit).ToString("x4",
                    CultureInfo.InvariantCulture)),
                _ => _json.Append(unit),
            };
        }
        _json.Append('"');
    }
}
