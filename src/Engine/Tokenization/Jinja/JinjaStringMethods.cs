namespace Foretoken.Tokenization.Jinja;

/// <summary>The methods of strings that chat templates use, as in Python. Marks of untrusted text follow every character.</summary>
internal static class JinjaStringMethods
{
    public static JinjaFunction? Bind(MarkedText text, string name)
    {
        Func<JinjaArguments, object?>? body = name switch
        {
            "strip" => arguments => Strip(text, Characters(arguments), left: true, right: true),
            "lstrip" => arguments => Strip(text, Characters(arguments), left: true, right: false),
            "rstrip" => arguments => Strip(text, Characters(arguments), left: false, right: true),
            "upper" => _ => ChangeCase(text, text.Text.ToUpperInvariant()),
            "lower" => _ => ChangeCase(text, text.Text.ToLowerInvariant()),
            "capitalize" => _ => Capitalize(text),
            "title" => _ => Title(text),
            "startswith" => arguments => Affixes(arguments).Any(affix => text.Text.StartsWith(affix, StringComparison.Ordinal)),
            "endswith" => arguments => Affixes(arguments).Any(affix => text.Text.EndsWith(affix, StringComparison.Ordinal)),
            "split" => arguments => Split(text, arguments, fromRight: false),
            "rsplit" => arguments => Split(text, arguments, fromRight: true),
            "splitlines" => _ => SplitLines(text),
            "replace" => arguments => Replace(text, arguments.Text(0, "old"), arguments.Text(1, "new"), arguments.Integer(2, "count", -1),
                arguments.Run),
            "join" => arguments => Join(text, arguments.Get(0, "iterable"), arguments.Run),
            "find" => arguments => Position(text, text.Text.IndexOf(arguments.Text(0, "sub").Text, StringComparison.Ordinal)),
            "rfind" => arguments => Position(text, text.Text.LastIndexOf(arguments.Text(0, "sub").Text, StringComparison.Ordinal)),
            "count" => arguments => (long)Occurrences(text.Text, arguments.Text(0, "sub").Text),
            "removeprefix" => arguments => arguments.Text(0, "prefix").Text is var prefix && text.Text.StartsWith(prefix, StringComparison.Ordinal)
                ? text.Slice(prefix.Length, text.Text.Length) : text,
            "removesuffix" => arguments => arguments.Text(0, "suffix").Text is var suffix && text.Text.EndsWith(suffix, StringComparison.Ordinal)
                ? text.Slice(0, text.Text.Length - suffix.Length) : text,
            "isdigit" or "isnumeric" or "isdecimal" => _ => text.Text.Length > 0 && text.Text.All(char.IsDigit),
            "isalpha" => _ => text.Text.Length > 0 && text.Text.All(char.IsLetter),
            "isalnum" => _ => text.Text.Length > 0 && text.Text.All(char.IsLetterOrDigit),
            "isspace" => _ => text.Text.Length > 0 && text.Text.All(JinjaText.IsSpace),
            "isupper" => _ => text.Text.Any(char.IsUpper) && !text.Text.Any(char.IsLower),
            "islower" => _ => text.Text.Any(char.IsLower) && !text.Text.Any(char.IsUpper),
            _ => null,
        };
        return body is null ? null : new JinjaFunction(name, body);
    }

    public static MarkedText Strip(MarkedText text, string? characters, bool left, bool right)
    {
        bool Goes(char unit) => characters is null ? JinjaText.IsSpace(unit) : characters.Contains(unit, StringComparison.Ordinal);
        int start = 0, end = text.Text.Length;
        while (left && start < end && Goes(text.Text[start]))
            start++;
        while (right && end > start && Goes(text.Text[end - 1]))
            end--;
        return start == 0 && end == text.Text.Length ? text : text.Slice(start, end);
    }

    public static MarkedText ChangeCase(MarkedText text, string changed) =>
        changed.Length == text.Text.Length ? text with { Text = changed } : JinjaText.Derived(changed, text.Protected is not null);

    public static MarkedText Capitalize(MarkedText text) => text.Text.Length == 0
        ? text : ChangeCase(text, text.Text[..1].ToUpperInvariant() + text.Text[1..].ToLowerInvariant());

    public static MarkedText Title(MarkedText text) =>
        ChangeCase(text, string.Concat(text.Text.Select((unit, at) =>
            at > 0 && char.IsLetter(text.Text[at - 1]) ? char.ToLowerInvariant(unit) : char.ToUpperInvariant(unit))));

    public static MarkedText Replace(MarkedText text, MarkedText old, MarkedText content, long count, JinjaRun run)
    {
        if (old.Text.Length == 0)
            throw run.Error("replacing the empty string is not supported");
        run.Charge(text.Text.Length + (long)Occurrences(text.Text, old.Text) * content.Text.Length);
        var result = new MarkedTextBuilder();
        int at = 0;
        for (int found; count != 0 && (found = text.Text.IndexOf(old.Text, at, StringComparison.Ordinal)) >= 0; count--)
        {
            result.Append(text.Slice(at, found));
            result.Append(content);
            at = found + old.Text.Length;
        }
        result.Append(text.Slice(at, text.Text.Length));
        return result.ToMarkedText();
    }

    public static MarkedText Join(MarkedText separator, object? items, JinjaRun run)
    {
        var result = new MarkedTextBuilder();
        bool first = true;
        foreach (object? item in JinjaFilters.Iterate(items, run))
        {
            MarkedText part = JinjaText.Print(item);
            run.Charge(part.Text.Length + separator.Text.Length);
            if (!first)
                result.Append(separator);
            result.Append(part);
            first = false;
        }
        return result.ToMarkedText();
    }

    private static string? Characters(JinjaArguments arguments) => arguments.Get(0, "chars", null) is null ? null : arguments.Text(0, "chars").Text;

    private static IEnumerable<string> Affixes(JinjaArguments arguments) => arguments.Get(0, "prefix") is List<object?> list
        ? list.OfType<MarkedText>().Select(affix => affix.Text)
        : [arguments.Text(0, "prefix").Text];

    private static List<object?> Split(MarkedText text, JinjaArguments arguments, bool fromRight)
    {
        string? separator = arguments.Get(0, "sep", null) is null ? null : arguments.Text(0, "sep").Text;
        long most = arguments.Integer(1, "maxsplit", -1);
        if (separator?.Length == 0)
            throw arguments.Run.Error("splitting at the empty string is not possible");
        arguments.Run.Charge(text.Text.Length);
        List<(int Start, int End)> gaps = separator is null ? SpaceRuns(text.Text) : Matches(text.Text, separator, fromRight);
        var parts = new List<object?>();
        int at = 0;
        if (separator is null && gaps.Count > 0 && gaps[0].Start == 0)
        {
            at = gaps[0].End; // white space at the beginning separates nothing
            gaps.RemoveAt(0);
        }
        if (most >= 0 && most < gaps.Count)
            gaps = fromRight ? gaps.GetRange(gaps.Count - (int)most, (int)most) : gaps.GetRange(0, (int)most);
        foreach (var (start, end) in gaps)
        {
            parts.Add(text.Slice(at, start));
            at = end;
        }
        parts.Add(text.Slice(at, text.Text.Length));
        // Without a separator, runs of white space separate and the ends give no empty parts.
        return separator is null ? [.. parts.Where(part => ((MarkedText)part!).Text.Length > 0)] : parts;
    }

    private static List<(int Start, int End)> Matches(string text, string separator, bool fromRight)
    {
        var found = new List<(int, int)>();
        if (fromRight)
        {
            for (int at = text.Length; at >= separator.Length && (at = text.LastIndexOf(separator, at - 1, StringComparison.Ordinal)) >= 0;)
                found.Add((at, at + separator.Length));
            found.Reverse();
            return found;
        }
        for (int at = 0; (at = text.IndexOf(separator, at, StringComparison.Ordinal)) >= 0; at += separator.Length)
            found.Add((at, at + separator.Length));
        return found;
    }

    private static List<(int Start, int End)> SpaceRuns(string text)
    {
        var runs = new List<(int, int)>();
        for (int at = 0; at < text.Length;)
        {
            int start = at;
            while (at < text.Length && JinjaText.IsSpace(text[at]))
                at++;
            if (at > start)
                runs.Add((start, at));
            else
                at++;
        }
        return runs;
    }

    private static List<object?> SplitLines(MarkedText text)
    {
        var lines = new List<object?>();
        int at = 0;
        while (at < text.Text.Length)
        {
            int end = text.Text.AsSpan(at).IndexOfAny('\n', '\r');
            end = end < 0 ? text.Text.Length : at + end;
            lines.Add(text.Slice(at, end));
            at = end + (end + 1 < text.Text.Length && text.Text[end] == '\r' && text.Text[end + 1] == '\n' ? 2 : 1);
        }
        return lines;
    }

    private static object Position(MarkedText text, int unit) => unit < 0 ? -1L : (long)JinjaMembers.CountCharacters(text.Text[..unit]);

    private static int Occurrences(string text, string part)
    {
        if (part.Length == 0)
            return JinjaMembers.CountCharacters(text) + 1;
        int count = 0;
        for (int at = 0; (at = text.IndexOf(part, at, StringComparison.Ordinal)) >= 0; at += part.Length)
            count++;
        return count;
    }
}
