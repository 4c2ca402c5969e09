namespace Foretoken.Tokenization.Jinja;

/// <summary>Operators on template values, as Python defines them.</summary>
internal static class JinjaOperators
{
    public static bool IsTrue(object? value) => value switch
    {
        null or JinjaUndefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        MarkedText text => text.Text.Length > 0,
        List<object?> list => list.Count > 0,
        JinjaMap map => map.Items.Count > 0,
        _ => true,
    };

    public static object? Binary(string op, object? left, object? right, JinjaRun run) => op switch
    {
        "~" => Join(JinjaText.Print(left), JinjaText.Print(right), run),
        "+" when left is MarkedText first && right is MarkedText second => Join(first, second, run),
        "+" when left is List<object?> first && right is List<object?> second => JoinLists(first, second, run),
        "*" when left is MarkedText text && right is long count => Repeat(text, count, run),
        "*" when left is long count && right is MarkedText text => Repeat(text, count, run),
        _ when left is long or double or bool && right is long or double or bool => Arithmetic(op, left, right, run),
        _ => throw run.Error($"{TypeName(left)} {op} {TypeName(right)} is not defined"),
    };

    public static bool Compare(string op, object? left, object? right, JinjaRun run) => op switch
    {
        "==" => AreEqual(left, right),
        "!=" => !AreEqual(left, right),
        "in" => Contains(right, left, run),
        "not in" => !Contains(right, left, run),
        "<" => Order(left, right, run) < 0,
        "<=" => Order(left, right, run) <= 0,
        ">" => Order(left, right, run) > 0,
        _ => Order(left, right, run) >= 0,
    };

    public static bool AreEqual(object? left, object? right) => (left, right) switch
    {
        (null, null) or (JinjaUndefined, JinjaUndefined) => true,
        (MarkedText first, MarkedText second) => first.Text == second.Text,
        (List<object?> first, List<object?> second) => first.Count == second.Count
            && first.Zip(second).All(pair => AreEqual(pair.First, pair.Second)),
        (JinjaMap first, JinjaMap second) => first.Items.Count == second.Items.Count
            && first.Items.All(item => second.Items.TryGetValue(item.Key, out object? other) && AreEqual(item.Value, other)),
        (long or double or bool, long or double or bool) => left is long or bool && right is long or bool ? ToLong(left) == ToLong(right)
            : ToDouble(left) == ToDouble(right),
        _ => ReferenceEquals(left, right),
    };

    public static bool Contains(object? container, object? item, JinjaRun run) => container switch
    {
        MarkedText text when item is MarkedText part => text.Text.Contains(part.Text, StringComparison.Ordinal),
        List<object?> list => list.Any(member => AreEqual(member, item)),
        JinjaMap map => item is MarkedText key && map.Items.ContainsKey(key.Text),
        JinjaUndefined => false,
        _ => throw run.Error($"{TypeName(item)} in {TypeName(container)} is not defined"),
    };

    /// <summary>Negative if <paramref name="left"/> comes first; only numbers and strings have an order.</summary>
    public static int Order(object? left, object? right, JinjaRun run) => (left, right) switch
    {
        (MarkedText first, MarkedText second) => string.CompareOrdinal(first.Text, second.Text),
        (long or bool, long or bool) => ToLong(left).CompareTo(ToLong(right)),
        (long or double or bool, long or double or bool) => ToDouble(left).CompareTo(ToDouble(right)),
        _ => throw run.Error($"{TypeName(left)} and {TypeName(right)} have no order"),
    };

    public static string TypeName(object? value) => value switch
    {
        null => "none",
        bool => "a boolean",
        long => "an integer",
        double => "a float",
        MarkedText => "a string",
        List<object?> => "a list",
        JinjaMap => "a mapping",
        JinjaUndefined undefined => $"undefined ({undefined.Name})",
        JinjaFunction => "a function",
        _ => "an object",
    };

    private static MarkedText Join(MarkedText left, MarkedText right, JinjaRun run)
    {
        run.Charge(left.Text.Length + (long)right.Text.Length);
        return JinjaText.Concat(left, right);
    }

    private static List<object?> JoinLists(List<object?> left, List<object?> right, JinjaRun run)
    {
        run.Charge(left.Count + (long)right.Count);
        return [.. left, .. right];
    }

    private static MarkedText Repeat(MarkedText text, long count, JinjaRun run)
    {
        if (count <= 0 || text.Text.Length == 0)
            return "";
        run.Charge(count > int.MaxValue ? long.MaxValue / 16 : text.Text.Length * count);
        var result = new MarkedTextBuilder();
        for (long i = 0; i < count; i++)
            result.Append(text);
        return result.ToMarkedText();
    }

    private static object Arithmetic(string op, object? left, object? right, JinjaRun run)
    {
        bool integers = left is long or bool && right is long or bool;
        if (op is "/" or "//" or "%" && ToDouble(right) == 0)
            throw run.Error("division by zero");
        if (op == "**" || op == "/")
        {
            double value = op == "/" ? ToDouble(left) / ToDouble(right) : Math.Pow(ToDouble(left), ToDouble(right));
            bool whole = op == "**" && integers && ToLong(right) >= 0 && Math.Abs(value) < 1L << 53;
            return whole ? (object)(long)value : value;
        }
        return integers ? (object)Integers(op, ToLong(left), ToLong(right), run) : Doubles(op, ToDouble(left), ToDouble(right));
    }

    private static long Integers(string op, long left, long right, JinjaRun run)
    {
        try
        {
            return op switch
            {
                "+" => checked(left + right),
                "-" => checked(left - right),
                "*" => checked(left * right),
                "//" => FloorDivide(left, right),
                _ => checked(left - right * FloorDivide(left, right)),
            };
        }
        catch (OverflowException)
        {
            throw run.Error("the number is too large");
        }
    }

    private static long FloorDivide(long left, long right)
    {
        long quotient = checked(left / right);
        return left % right != 0 && left < 0 != right < 0 ? quotient - 1 : quotient;
    }

    private static double Doubles(string op, double left, double right) => op switch
    {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "//" => Math.Floor(left / right),
        _ => left - right * Math.Floor(left / right),
    };

    private static long ToLong(object? value) => value is bool flag ? flag ? 1 : 0 : (long)value!;

    private static double ToDouble(object? value) => value is double number ? number : ToLong(value);
}
