using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Foretoken.Tokenization.Jinja;

// Values of a template: null (none), bool, long, double, MarkedText (strings), List<object?> (lists and tuples), JinjaMap, JinjaNamespace,
// JinjaUndefined, JinjaLoop and JinjaFunction.

/// <summary>A name or member that does not exist. Prints as nothing, is false, and has no members.</summary>
internal sealed record JinjaUndefined(string Name);

/// <summary>A mapping with its keys in order of insertion.</summary>
/// <param name="protectedKeys">The keys come from untrusted input.</param>
internal sealed class JinjaMap(bool protectedKeys = false)
{
    public OrderedDictionary<string, object?> Items { get; } = [];

    public MarkedText Key(string key) => protectedKeys ? JinjaText.Untrusted(key) : new MarkedText(key);

    public IEnumerable<object?> Keys => Items.Keys.Select(key => (object?)Key(key));
}

/// <summary>The mutable object that <c>namespace()</c> makes, the only way to carry a value out of a loop.</summary>
internal sealed class JinjaNamespace
{
    public Dictionary<string, object?> Items { get; } = [];
}

/// <summary>A function, a method bound to its object, or a macro.</summary>
internal sealed record JinjaFunction(string Name, Func<JinjaArguments, object?> Body);

/// <summary>The special variable <c>loop</c>.</summary>
internal sealed class JinjaLoop(IReadOnlyList<object?> items)
{
    public int Index0 { get; set; }

    public object? Get(string name) => name switch
    {
        "index" => (long)Index0 + 1,
        "index0" => (long)Index0,
        "revindex" => (long)items.Count - Index0,
        "revindex0" => (long)items.Count - Index0 - 1,
        "first" => Index0 == 0,
        "last" => Index0 == items.Count - 1,
        "length" => (long)items.Count,
        "previtem" => Index0 > 0 ? items[Index0 - 1] : new JinjaUndefined("loop.previtem"),
        "nextitem" => Index0 + 1 < items.Count ? items[Index0 + 1] : new JinjaUndefined("loop.nextitem"),
        "cycle" => new JinjaFunction("cycle", arguments => arguments.Positional[Index0 % arguments.Positional.Count]),
        _ => new JinjaUndefined("loop." + name),
    };
}

/// <summary>The arguments of a call.</summary>
internal sealed class JinjaArguments(string callee, IReadOnlyList<object?> positional, IReadOnlyDictionary<string, object?> named, JinjaRun run)
{
    private readonly HashSet<string> _used = [];
    private int _usedPositions;

    public IReadOnlyList<object?> Positional
    {
        get
        {
            _usedPositions = positional.Count;
            return positional;
        }
    }

    public IReadOnlyDictionary<string, object?> Named
    {
        get
        {
            _used.UnionWith(named.Keys);
            return named;
        }
    }

    public JinjaRun Run => run;

    public bool Has(int index, string name)
    {
        _usedPositions = Math.Max(_usedPositions, index + 1);
        _used.Add(name);
        return index < positional.Count || named.ContainsKey(name);
    }

    public object? Get(int index, string name) => !Has(index, name)
        ? throw run.Error($"{callee} needs its argument \"{name}\"")
        : index < positional.Count ? positional[index] : named[name];

    public object? Get(int index, string name, object? otherwise) => Has(index, name) ? Get(index, name) : otherwise;

    public bool Flag(int index, string name, bool otherwise) => JinjaOperators.IsTrue(Get(index, name, otherwise));

    public MarkedText Text(int index, string name) =>
        Get(index, name) is MarkedText text ? text : throw run.Error($"the argument \"{name}\" of {callee} must be a string");

    public long Integer(int index, string name, long otherwise) => Get(index, name, otherwise) switch
    {
        long value => value,
        bool value => value ? 1 : 0,
        _ => throw run.Error($"the argument \"{name}\" of {callee} must be an integer"),
    };

    /// <summary>Refuses arguments that nothing asked for, rather than ignoring what the template wants.</summary>
    public void EnsureAllUsed()
    {
        if (positional.Count > _usedPositions)
            throw run.Error($"{callee} takes at most {_usedPositions} arguments here");
        if (named.Keys.FirstOrDefault(name => !_used.Contains(name)) is { } unknown)
            throw run.Error($"{callee} has no argument \"{unknown}\"");
    }
}

/// <summary>Strings and conversions to and from them.</summary>
internal static class JinjaText
{
    /// <summary>A string from untrusted input: no control token is matched in it.</summary>
    public static MarkedText Untrusted(string text)
    {
        var marks = new bool[text.Length];
        Array.Fill(marks, true);
        return new MarkedText(text, text.Length == 0 ? null : marks);
    }

    /// <summary>A rewritten string, with marks on all of it if any part of the source has some.</summary>
    public static MarkedText Derived(string text, bool untrusted) => untrusted ? Untrusted(text) : new MarkedText(text);

    public static MarkedText Concat(MarkedText left, MarkedText right)
    {
        if (left.Protected is null && right.Protected is null)
            return new MarkedText(left.Text + right.Text);
        var marks = new bool[left.Text.Length + right.Text.Length];
        left.Protected?.CopyTo(marks, 0);
        right.Protected?.CopyTo(marks, left.Text.Length);
        return new MarkedText(left.Text + right.Text, marks);
    }

    /// <summary>White space as Python's <c>str.strip</c> sees it.</summary>
    public static bool IsSpace(char unit) => char.IsWhiteSpace(unit) || unit is >= '\x1C' and <= '\x1F';

    /// <summary>What <c>{{ value }}</c> prints.</summary>
    public static MarkedText Print(object? value) => value is MarkedText text ? text : Describe(value, quoteStrings: false);

    /// <summary>Python's <c>repr</c>, close enough for what templates print.</summary>
    private static MarkedText Describe(object? value, bool quoteStrings)
    {
        switch (value)
        {
            case null:
                return "None";
            case bool flag:
                return flag ? "True" : "False";
            case long number:
                return number.ToString(CultureInfo.InvariantCulture);
            case double number:
                return FormatDouble(number);
            case JinjaUndefined:
                return "";
            case MarkedText text:
                return quoteStrings ? Derived(Quote(text.Text), text.Protected is not null) : text;
            case List<object?> list:
                return Join("[", list.Select(item => Describe(item, quoteStrings: true)), "]");
            case JinjaMap map:
                return Join("{", map.Items.Select(item => Concat(Describe(map.Key(item.Key), true), Concat(": ", Describe(item.Value, true)))), "}");
            default:
                return "<" + value.GetType().Name + ">";
        }
    }

    private static string Quote(string text)
    {
        char quote = text.Contains('\'', StringComparison.Ordinal) && !text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        var quoted = new StringBuilder().Append(quote);
        foreach (char unit in text)
        {
            _ = unit switch
            {
                '\n' => quoted.Append("\\n"),
                '\r' => quoted.Append("\\r"),
                '\t' => quoted.Append("\\t"),
                '\\' => quoted.Append("\\\\"),
                _ when unit == quote => quoted.Append('\\').Append(unit),
                _ => quoted.Append(unit),
            };
        }
        return quoted.Append(quote).ToString();
    }

    public static string FormatDouble(double number)
    {
        if (double.IsNaN(number) || double.IsInfinity(number))
            return double.IsNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
        string text = number.ToString("R", CultureInfo.InvariantCulture).ToLowerInvariant();
        return text.AsSpan().ContainsAny('.', 'e') ? text : text + ".0";
    }

    private static MarkedText Join(string open, IEnumerable<MarkedText> parts, string close)
    {
        var result = new MarkedTextBuilder();
        result.Append(open);
        bool first = true;
        foreach (MarkedText part in parts)
        {
            result.Append(first ? "" : ", ");
            result.Append(part);
            first = false;
        }
        result.Append(close);
        return result.ToMarkedText();
    }

    /// <summary>A JSON value from outside as a template value; its strings are untrusted.</summary>
    public static object? FromJson(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.String => Untrusted(element.GetString()!),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Number => element.TryGetInt64(out long number) ? (object)number : element.GetDouble(),
        JsonValueKind.Array => element.EnumerateArray().Select(FromJson).ToList(),
        JsonValueKind.Object => FromMembers(element.EnumerateObject()),
        _ => null,
    };

    private static JinjaMap FromMembers(IEnumerable<JsonProperty> members)
    {
        var map = new JinjaMap(protectedKeys: true);
        foreach (JsonProperty member in members)
            map.Items[member.Name] = FromJson(member.Value);
        return map;
    }
}

/// <summary>Collects text with its marks.</summary>
internal sealed class MarkedTextBuilder
{
    private readonly StringBuilder _text = new();
    private readonly List<(int Start, bool[] Marks)> _marks = [];

    public int Length => _text.Length;

    public void Append(MarkedText text)
    {
        if (text.Protected is not null)
            _marks.Add((_text.Length, text.Protected));
        _text.Append(text.Text);
    }

    public MarkedText ToMarkedText()
    {
        if (_marks.Count == 0)
            return new MarkedText(_text.ToString());
        var all = new bool[_text.Length];
        foreach (var (start, marks) in _marks)
            marks.CopyTo(all, start);
        return new MarkedText(_text.ToString(), all);
    }
}
