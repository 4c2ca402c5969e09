namespace Foretoken.Tokenization.Jinja;

/// <summary>Attributes, indexes and slices. Only template data can be reached: there is no way from a value to the program's own objects.</summary>
internal static class JinjaMembers
{
    /// <summary><c>value.name</c>: a method, else a key.</summary>
    public static object? Attribute(object? value, string name, JinjaRun run)
    {
        if (name.StartsWith('_'))
            throw run.Error($"access to the attribute \"{name}\" is refused", "Names that begin with _ are not part of the data of a chat");
        return value switch
        {
            JinjaUndefined undefined => throw run.Error($"\"{undefined.Name}\" is not defined and has no member \"{name}\""),
            JinjaMap map => MapMethod(map, name) ?? Member(map, name),
            JinjaNamespace space => space.Items.TryGetValue(name, out object? member) ? member : new JinjaUndefined(name),
            JinjaLoop loop => loop.Get(name),
            MarkedText text => (object?)JinjaStringMethods.Bind(text, name) ?? new JinjaUndefined(name),
            List<object?> list => (object?)ListMethod(list, name) ?? new JinjaUndefined(name),
            _ => new JinjaUndefined(name),
        };
    }

    /// <summary><c>value[index]</c>; what is not there is undefined.</summary>
    public static object? Index(object? value, object? index, JinjaRun run)
    {
        switch (value)
        {
            case JinjaUndefined undefined:
                throw run.Error($"\"{undefined.Name}\" is not defined and cannot be indexed");
            case JinjaMap map when index is MarkedText key:
                object? member = Member(map, key.Text);
                return member is JinjaUndefined ? MapMethod(map, key.Text) ?? member : member;
            case JinjaMap:
                return new JinjaUndefined(JinjaText.Print(index).Text);
            case List<object?> list when index is long at:
                at = at < 0 ? at + list.Count : at;
                return at >= 0 && at < list.Count ? list[(int)at] : new JinjaUndefined($"item {at}");
            case MarkedText text when index is long at:
                List<(int Start, int Length)> characters = Characters(text.Text);
                at = at < 0 ? at + characters.Count : at;
                return at >= 0 && at < characters.Count
                    ? text.Slice(characters[(int)at].Start, characters[(int)at].Start + characters[(int)at].Length)
                    : new JinjaUndefined($"character {at}");
            default:
                return index is MarkedText name ? Attribute(value, name.Text, run)
                    : throw run.Error($"{JinjaOperators.TypeName(value)} cannot be indexed");
        }
    }

    /// <summary>An attribute as filters name it: an index, or names with dots between them.</summary>
    public static object? Path(object? value, object? path, JinjaRun run)
    {
        if (path is not MarkedText names)
            return Index(value, path, run);
        foreach (string name in names.Text.Split('.'))
            value = Index(value, long.TryParse(name, System.Globalization.NumberStyles.None,
                System.Globalization.CultureInfo.InvariantCulture, out long at)
                ? (object)at : new MarkedText(name), run);
        return value;
    }

    /// <summary>Python's slices of lists and strings; strings are cut by code points.</summary>
    public static object? Slice(object? value, long? start, long? stop, long step, JinjaRun run)
    {
        if (step == 0)
            throw run.Error("the step of a slice must not be 0");
        if (value is List<object?> list)
        {
            run.Charge(list.Count);
            return Positions(list.Count, start, stop, step).Select(at => list[at]).ToList();
        }
        if (value is not MarkedText text)
            throw run.Error($"{JinjaOperators.TypeName(value)} cannot be sliced");
        run.Charge(text.Text.Length);
        List<(int Start, int Length)> characters = Characters(text.Text);
        var result = new MarkedTextBuilder();
        foreach (int at in Positions(characters.Count, start, stop, step))
            result.Append(text.Slice(characters[at].Start, characters[at].Start + characters[at].Length));
        return result.ToMarkedText();
    }

    /// <summary>Number of code points.</summary>
    public static int CountCharacters(string text) => text.EnumerateRunes().Count();

    private static IEnumerable<int> Positions(int count, long? start, long? stop, long step)
    {
        long Clamp(long? bound, long absent, long low, long high) =>
            bound is not { } given ? absent : Math.Clamp(given < 0 ? given + count : given, low, high);
        if (step > 0)
        {
            long end = Clamp(stop, count, 0, count);
            for (long at = Clamp(start, 0, 0, count); at < end; at += Math.Min(step, count))
                yield return (int)at;
        }
        else
        {
            long end = Clamp(stop, -1, -1, count - 1);
            for (long at = Clamp(start, count - 1, -1, count - 1); at > end; at += Math.Max(step, -count))
                yield return (int)at;
        }
    }

    private static List<(int Start, int Length)> Characters(string text)
    {
        var characters = new List<(int, int)>(text.Length);
        for (int at = 0, length; at < text.Length; at += length)
        {
            length = at + 1 < text.Length && char.IsSurrogatePair(text[at], text[at + 1]) ? 2 : 1;
            characters.Add((at, length));
        }
        return characters;
    }

    private static object? Member(JinjaMap map, string name) => map.Items.TryGetValue(name, out object? value) ? value : new JinjaUndefined(name);

    private static JinjaFunction? MapMethod(JinjaMap map, string name) => name switch
    {
        "get" => new JinjaFunction(name, arguments =>
            arguments.Get(0, "key") is MarkedText key && map.Items.TryGetValue(key.Text, out object? value) ? value
                : arguments.Get(1, "default", null)),
        "keys" => new JinjaFunction(name, _ => map.Keys.ToList()),
        "values" => new JinjaFunction(name, _ => map.Items.Values.ToList()),
        "items" => new JinjaFunction(name, _ => Items(map)),
        _ => null,
    };

    public static List<object?> Items(JinjaMap map) => [.. map.Items.Select(item => (object?)new List<object?> { map.Key(item.Key), item.Value })];

    private static JinjaFunction? ListMethod(List<object?> list, string name) => name switch
    {
        "count" => new JinjaFunction(name, arguments => (long)list.Count(item => JinjaOperators.AreEqual(item, arguments.Get(0, "value")))),
        "index" => new JinjaFunction(name, arguments =>
            list.FindIndex(item => JinjaOperators.AreEqual(item, arguments.Get(0, "value"))) is >= 0 and var at ? (long)at
                : throw arguments.Run.Error("the value is not in the list")),
        "append" or "extend" or "insert" or "pop" or "remove" or "clear" or "sort" or "reverse" => new JinjaFunction(name, arguments =>
            throw arguments.Run.Error($"changing a list with {name} is refused",
                "Chat templates are rendered in an immutable environment; build a new list with +")),
        _ => null,
    };
}
