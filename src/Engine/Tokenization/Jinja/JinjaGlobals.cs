using System.Globalization;

namespace Foretoken.Tokenization.Jinja;

/// <summary>The functions that every chat template may call.</summary>
internal static class JinjaGlobals
{
    public static void Define(JinjaScope scope, DateTime? date)
    {
        Add(scope, "raise_exception", arguments => throw arguments.Run.Error(
            $"the template refuses the messages: {JinjaText.Print(arguments.Get(0, "message")).Text}", "Change the messages"));
        Add(scope, "range", Range);
        Add(scope, "namespace", MakeNamespace);
        Add(scope, "dict", arguments =>
        {
            var map = new JinjaMap();
            foreach (var (name, value) in arguments.Named)
                map.Items[name] = value;
            return map;
        });
        if (date is { } now)
            Add(scope, "strftime_now", arguments => new MarkedText(FormatDate(now, arguments.Text(0, "format").Text, arguments.Run)));
    }

    private static void Add(JinjaScope scope, string name, Func<JinjaArguments, object?> body) => scope.Set(name, new JinjaFunction(name, body));

    private static object? MakeNamespace(JinjaArguments arguments)
    {
        var space = new JinjaNamespace();
        if (arguments.Positional.Count > 0 && arguments.Positional[0] is JinjaMap map)
        {
            foreach (var (name, value) in map.Items)
                space.Items[name] = value;
        }
        foreach (var (name, value) in arguments.Named)
            space.Items[name] = value;
        return space;
    }

    private static object? Range(JinjaArguments arguments)
    {
        long first = arguments.Integer(0, "start", 0), start = arguments.Positional.Count > 1 ? first : 0;
        long stop = arguments.Positional.Count > 1 ? arguments.Integer(1, "stop", 0) : first, step = arguments.Integer(2, "step", 1);
        if (step == 0)
            throw arguments.Run.Error("the step of a range must not be 0");
        decimal count = Math.Max(0, Math.Ceiling(((decimal)stop - start) / step));
        arguments.Run.Charge(count > long.MaxValue / 16 ? long.MaxValue / 16 : (long)count);
        return Enumerable.Range(0, (int)count).Select(i => (object?)(start + i * step)).ToList();
    }

    /// <summary>The conversions of C's strftime that templates use, in English.</summary>
    private static string FormatDate(DateTime date, string format, JinjaRun run)
    {
        var text = new System.Text.StringBuilder();
        for (int at = 0; at < format.Length; at++)
        {
            if (format[at] != '%' || at + 1 >= format.Length)
            {
                text.Append(format[at]);
                continue;
            }
            string? pattern = format[++at] switch
            {
                'd' => "dd",
                'm' => "MM",
                'Y' => "yyyy",
                'y' => "yy",
                'b' => "MMM",
                'B' => "MMMM",
                'a' => "ddd",
                'A' => "dddd",
                'H' => "HH",
                'I' => "hh",
                'M' => "mm",
                'S' => "ss",
                'p' => "tt",
                '%' => "'%'",
                _ => null,
            };
            text.Append(pattern is null ? throw run.Error($"unknown date conversion %{format[at]}")
                : date.ToString(pattern, CultureInfo.InvariantCulture));
        }
        return text.ToString();
    }
}
