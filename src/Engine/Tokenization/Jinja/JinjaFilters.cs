using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization.Jinja;

internal delegate object? JinjaFilter(object? value, JinjaArguments arguments);

internal delegate bool JinjaTest(object? value, JinjaArguments arguments);

/// <summary>The filters (<c>value | name</c>) that chat templates use. An unknown one is refused when the template is read.</summary>
internal static class JinjaFilters
{
    private static readonly Dictionary<string, JinjaFilter> s_filters = new()
    {
        ["trim"] = (value, arguments) => JinjaStringMethods.Strip(JinjaText.Print(value), arguments.Get(0, "chars", null) is MarkedText set
            ? set.Text : null, true, true),
        ["upper"] = (value, _) => JinjaText.Print(value) is var text ? JinjaStringMethods.ChangeCase(text, text.Text.ToUpperInvariant()) : null,
        ["lower"] = (value, _) => JinjaText.Print(value) is var text ? JinjaStringMethods.ChangeCase(text, text.Text.ToLowerInvariant()) : null,
        ["capitalize"] = (value, _) => JinjaStringMethods.Capitalize(JinjaText.Print(value)),
        ["title"] = (value, _) => JinjaStringMethods.Title(JinjaText.Print(value)),
        ["length"] = Length,
        ["count"] = Length,
        ["string"] = (value, _) => JinjaText.Print(value),
        ["safe"] = (value, _) => value,
        ["int"] = ToInteger,
        ["float"] = ToFloat,
        ["abs"] = (value, arguments) => JinjaOperators.Order(value, 0L, arguments.Run) < 0
            ? JinjaOperators.Binary("-", 0L, value, arguments.Run) : value,
        ["default"] = Default,
        ["d"] = Default,
        ["list"] = (value, arguments) => Iterate(value, arguments.Run).ToList(),
        ["join"] = Join,
        ["replace"] = (value, arguments) => JinjaStringMethods.Replace(JinjaText.Print(value), arguments.Text(0, "old"), arguments.Text(1, "new"),
            arguments.Get(2, "count", null) is null ? -1 : arguments.Integer(2, "count", -1), arguments.Run),
        ["items"] = (value, arguments) => value is JinjaMap map ? JinjaMembers.Items(map) : value is JinjaUndefined ? new List<object?>()
            : throw arguments.Run.Error("items needs a mapping"),
        ["dictsort"] = (value, arguments) => value is JinjaMap map
            ? Sort(JinjaMembers.Items(map), arguments.Flag(2, "reverse", false), arguments.Flag(0, "case_sensitive", false),
                arguments.Get(1, "by", null) is MarkedText { Text: "value" } ? 1L : 0L, arguments.Run)
            : throw arguments.Run.Error("dictsort needs a mapping"),
        ["first"] = (value, arguments) => Iterate(value, arguments.Run).DefaultIfEmpty(new JinjaUndefined("the first item")).First(),
        ["last"] = (value, arguments) => Iterate(value, arguments.Run).DefaultIfEmpty(new JinjaUndefined("the last item")).Last(),
        ["reverse"] = (value, arguments) => JinjaMembers.Slice(value is MarkedText ? value
            : Iterate(value, arguments.Run).ToList(), null, null, -1, arguments.Run),
        ["sort"] = (value, arguments) => Sort(Iterate(value, arguments.Run), arguments.Flag(0, "reverse", false), arguments.Flag(1,
            "case_sensitive", false),
            arguments.Get(2, "attribute", null), arguments.Run),
        ["unique"] = Unique,
        ["min"] = (value, arguments) => Extreme(value, arguments, sign: -1),
        ["max"] = (value, arguments) => Extreme(value, arguments, sign: 1),
        ["map"] = Map,
        ["select"] = (value, arguments) => Select(value, arguments, byAttribute: false, keep: true),
        ["reject"] = (value, arguments) => Select(value, arguments, byAttribute: false, keep: false),
        ["selectattr"] = (value, arguments) => Select(value, arguments, byAttribute: true, keep: true),
        ["rejectattr"] = (value, arguments) => Select(value, arguments, byAttribute: true, keep: false),
        ["indent"] = Indent,
        ["tojson"] = ToJson,
    };

    public static JinjaFilter? Find(string name) => s_filters.GetValueOrDefault(name);

    public static string Names => string.Join(", ", s_filters.Keys);

    /// <summary>The items of a list, the keys of a mapping, the characters of a string; none of an undefined value.</summary>
    public static IEnumerable<object?> Iterate(object? value, JinjaRun run)
    {
        switch (value)
        {
            case List<object?> list:
                return list;
            case JinjaMap map:
                return map.Keys;
            case MarkedText text:
                run.Charge(text.Text.Length);
                return Enumerable.Range(0, JinjaMembers.CountCharacters(text.Text)).Select(at => JinjaMembers.Index(text, (long)at, run)).ToList();
            case JinjaUndefined:
                return [];
            default:
                throw run.Error($"{JinjaOperators.TypeName(value)} cannot be iterated");
        }
    }

    private static object? Length(object? value, JinjaArguments arguments) => value switch
    {
        MarkedText text => (long)JinjaMembers.CountCharacters(text.Text),
        List<object?> list => (long)list.Count,
        JinjaMap map => (long)map.Items.Count,
        JinjaUndefined => 0L,
        _ => throw arguments.Run.Error($"{JinjaOperators.TypeName(value)} has no length"),
    };

    private static object? Default(object? value, JinjaArguments arguments)
    {
        object? otherwise = arguments.Get(0, "default_value", new MarkedText(""));
        bool replaceFalse = arguments.Flag(1, "boolean", false);
        return value is JinjaUndefined || replaceFalse && !JinjaOperators.IsTrue(value) ? otherwise : value;
    }

    private static object? Join(object? value, JinjaArguments arguments)
    {
        MarkedText separator = arguments.Has(0, "d") ? arguments.Text(0, "d") : "";
        List<object?> items = [.. Iterate(value, arguments.Run)];
        if (arguments.Has(1, "attribute"))
            items = [.. items.Select(item => JinjaMembers.Path(item, arguments.Get(1, "attribute"), arguments.Run))];
        return JinjaStringMethods.Join(separator, items, arguments.Run);
    }

    private static object? ToInteger(object? value, JinjaArguments arguments)
    {
        object? otherwise = arguments.Get(0, "default", 0L);
        return value switch
        {
            long or bool => JinjaOperators.Binary("+", 0L, value, arguments.Run),
            double number when Math.Abs(number) < 1L << 62 => (long)number,
            MarkedText text when long.TryParse(text.Text.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture,
                out long number) => number,
            _ => otherwise,
        };
    }

    private static object? ToFloat(object? value, JinjaArguments arguments)
    {
        object? otherwise = arguments.Get(0, "default", 0.0);
        return value switch
        {
            long or bool or double => JinjaOperators.Binary("+", 0.0, value, arguments.Run),
            MarkedText text when double.TryParse(text.Text.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out double number) => number,
            _ => otherwise,
        };
    }

    private static List<object?> Sort(IEnumerable<object?> items, bool reverse, bool caseSensitive, object? attribute, JinjaRun run)
    {
        object? Key(object? item)
        {
            object? key = attribute is null ? item : JinjaMembers.Path(item, attribute, run);
            return key is MarkedText text && !caseSensitive ? new MarkedText(text.Text.ToLowerInvariant()) : key;
        }
        var comparer = Comparer<object?>.Create((left, right) => JinjaOperators.Order(left, right, run));
        try
        {
            return [.. reverse ? items.OrderByDescending(Key, comparer) : items.OrderBy(Key, comparer)];
        }
        catch (InvalidOperationException error) when (error.InnerException is TokenizerException inner)
        {
            throw inner;
        }
    }

    private static object? Unique(object? value, JinjaArguments arguments)
    {
        var result = new List<object?>();
        foreach (object? item in Iterate(value, arguments.Run))
        {
            arguments.Run.Charge(result.Count);
            if (!result.Any(other => JinjaOperators.AreEqual(other, item)))
                result.Add(item);
        }
        return result;
    }

    private static object? Extreme(object? value, JinjaArguments arguments, int sign)
    {
        object? best = new JinjaUndefined("the extreme of nothing");
        foreach (object? item in Iterate(value, arguments.Run))
            best = best is JinjaUndefined || sign * JinjaOperators.Order(item, best, arguments.Run) > 0 ? item : best;
        return best;
    }

    private static object? Map(object? value, JinjaArguments arguments)
    {
        List<object?> items = [.. Iterate(value, arguments.Run)];
        if (arguments.Named.TryGetValue("attribute", out object? attribute))
        {
            return items.Select(item =>
            {
                object? found = JinjaMembers.Path(item, attribute, arguments.Run);
                return found is JinjaUndefined ? arguments.Named.GetValueOrDefault("default", found) : found;
            }).ToList();
        }
        string name = arguments.Text(0, "filter").Text;
        JinjaFilter filter = Find(name) ?? throw arguments.Run.Error($"unknown filter \"{name}\"", $"Supported: {Names}");
        var rest = new JinjaArguments(name, [.. arguments.Positional.Skip(1)], arguments.Named, arguments.Run);
        return items.Select(item => filter(item, rest)).ToList();
    }

    private static object? Select(object? value, JinjaArguments arguments, bool byAttribute, bool keep)
    {
        int skip = byAttribute ? 1 : 0;
        object? attribute = byAttribute ? arguments.Get(0, "attribute") : null;
        JinjaTest test = (operand, _) => JinjaOperators.IsTrue(operand);
        if (arguments.Positional.Count > skip)
        {
            string name = arguments.Text(skip, "test").Text;
            test = JinjaTests.Find(name) ?? throw arguments.Run.Error($"unknown test \"{name}\"", $"Supported: {JinjaTests.Names}");
        }
        var rest = new JinjaArguments("the test", [.. arguments.Positional.Skip(skip + 1)], arguments.Named, arguments.Run);
        return Iterate(value, arguments.Run)
            .Where(item => test(byAttribute ? JinjaMembers.Path(item, attribute, arguments.Run) : item, rest) == keep).ToList();
    }

    private static object? Indent(object? value, JinjaArguments arguments)
    {
        long width = arguments.Get(0, "width", 4L) is MarkedText ? -1 : arguments.Integer(0, "width", 4);
        MarkedText indentation = width < 0 ? arguments.Text(0, "width") : new string(' ', (int)Math.Min(width, 1000));
        bool first = arguments.Flag(1, "first", false), blank = arguments.Flag(2, "blank", false);
        var lines = (List<object?>)JinjaStringMethods.Bind(JinjaText.Print(value), "split")!.Body(new JinjaArguments("split",
            [new MarkedText("\n")], arguments.Named, arguments.Run))!;
        arguments.Run.Charge(lines.Count * (long)indentation.Text.Length);
        var result = new MarkedTextBuilder();
        for (int i = 0; i < lines.Count; i++)
        {
            var line = (MarkedText)lines[i]!;
            if (i > 0)
                result.Append("\n");
            if ((i > 0 || first) && (line.Text.Length > 0 || blank))
                result.Append(indentation);
            result.Append(line);
        }
        return result.ToMarkedText();
    }

    private static object? ToJson(object? value, JinjaArguments arguments)
    {
        object? indent = arguments.Get(1, "indent", null), separators = arguments.Get(2, "separators", null);
        var json = new JinjaJson(arguments.Run)
        {
            EscapeNonAscii = arguments.Flag(0, "ensure_ascii", false),
            Indent = indent is null ? -1 : (int)Math.Clamp(arguments.Integer(1, "indent", 0), 0, 16),
            SortKeys = arguments.Flag(3, "sort_keys", false),
        };
        if (separators is List<object?> { Count: 2 } pair && pair[0] is MarkedText comma && pair[1] is MarkedText colon)
            (json.ItemSeparator, json.KeySeparator) = (comma.Text, colon.Text);
        else if (separators is not null)
            throw arguments.Run.Error("the separators of tojson must be two strings");
        return json.Write(value);
    }
}
