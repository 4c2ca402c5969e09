namespace Foretoken.Tokenization.Jinja;

/// <summary>An expression of a template.</summary>
internal abstract class JinjaExpression(int line)
{
    public int Line => line;

    public object? Evaluate(JinjaScope scope, JinjaRun run)
    {
        run.Line = line;
        run.Step();
        run.Enter();
        object? value = Compute(scope, run);
        run.Leave();
        run.Line = line;
        return value;
    }

    protected abstract object? Compute(JinjaScope scope, JinjaRun run);
}

internal sealed class LiteralExpression(int line, object? value) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run) => value;
}

internal sealed class NameExpression(int line, string name) : JinjaExpression(line)
{
    public string Name => name;

    protected override object? Compute(JinjaScope scope, JinjaRun run) => scope.Get(name);
}

internal sealed class ListExpression(int line, IReadOnlyList<JinjaExpression> items) : JinjaExpression(line)
{
    public IReadOnlyList<JinjaExpression> Items => items;

    protected override object? Compute(JinjaScope scope, JinjaRun run) => items.Select(item => item.Evaluate(scope, run)).ToList();
}

internal sealed class MapExpression(int line, IReadOnlyList<(JinjaExpression Key, JinjaExpression Value)> entries) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run)
    {
        var keys = entries.Select(entry => entry.Key.Evaluate(scope, run) is MarkedText key ? key
            : throw run.Error("a key of a mapping must be a string")).ToList();
        var map = new JinjaMap(keys.Any(key => key.Protected is not null));
        for (int i = 0; i < keys.Count; i++)
            map.Items[keys[i].Text] = entries[i].Value.Evaluate(scope, run);
        return map;
    }
}

/// <summary><c>a.b</c> or <c>a["b"]</c>.</summary>
internal sealed class MemberExpression(int line, JinjaExpression target, JinjaExpression? index, string? name) : JinjaExpression(line)
{
    public JinjaExpression Target => target;

    /// <summary>The name after the dot, null for an index.</summary>
    public string? Name => name;

    protected override object? Compute(JinjaScope scope, JinjaRun run)
    {
        object? value = target.Evaluate(scope, run);
        return name is not null ? JinjaMembers.Attribute(value, name, run) : JinjaMembers.Index(value, index!.Evaluate(scope, run), run);
    }
}

internal sealed class SliceExpression(int line, JinjaExpression target, JinjaExpression? start, JinjaExpression? stop,
    JinjaExpression? step) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run)
    {
        object? value = target.Evaluate(scope, run);
        return JinjaMembers.Slice(value, Bound(start, scope, run), Bound(stop, scope, run), Bound(step, scope, run) ?? 1, run);
    }

    private static long? Bound(JinjaExpression? bound, JinjaScope scope, JinjaRun run) => bound?.Evaluate(scope, run) switch
    {
        null => null,
        long value => value,
        _ => throw run.Error("the bounds of a slice must be integers"),
    };
}

/// <summary>The arguments of a call, a filter or a test, as written.</summary>
internal sealed record ArgumentList(IReadOnlyList<JinjaExpression> Positional, IReadOnlyList<(string Name, JinjaExpression Value)> Named)
{
    public static ArgumentList Empty { get; } = new([], []);

    public JinjaArguments Evaluate(string callee, JinjaScope scope, JinjaRun run)
    {
        var named = new Dictionary<string, object?>();
        List<object?> positional = [.. Positional.Select(argument => argument.Evaluate(scope, run))];
        foreach (var (name, value) in Named)
            named[name] = value.Evaluate(scope, run);
        return new JinjaArguments(callee, positional, named, run);
    }
}

internal sealed class CallExpression(int line, JinjaExpression callee, ArgumentList arguments) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run)
    {
        string name = callee is NameExpression variable ? variable.Name : callee is MemberExpression { Name: { } member } ? member : "the value";
        return callee.Evaluate(scope, run) switch
        {
            JinjaFunction function => function.Body(arguments.Evaluate(function.Name, scope, run)),
            JinjaUndefined => throw run.Error($"\"{name}\" is not defined and cannot be called",
                "Only the functions and methods that chat templates use are known"),
            _ => throw run.Error($"\"{name}\" is not a function"),
        };
    }
}

internal sealed class FilterExpression(int line, JinjaExpression value, string name, JinjaFilter filter, ArgumentList arguments)
    : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run) => Apply(value.Evaluate(scope, run), name, filter, arguments, scope, run);

    public static object? Apply(object? value, string name, JinjaFilter filter, ArgumentList arguments, JinjaScope scope, JinjaRun run)
    {
        JinjaArguments given = arguments.Evaluate(name, scope, run);
        object? result = filter(value, given);
        given.EnsureAllUsed();
        return result;
    }
}

internal sealed class TestExpression(int line, JinjaExpression value, string name, JinjaTest test, ArgumentList arguments, bool negated)
    : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run) =>
        test(value.Evaluate(scope, run), arguments.Evaluate(name, scope, run)) != negated;
}

internal sealed class ConditionalExpression(int line, JinjaExpression condition, JinjaExpression then, JinjaExpression? otherwise)
    : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run) =>
        JinjaOperators.IsTrue(condition.Evaluate(scope, run)) ? then.Evaluate(scope, run)
            : otherwise is null ? new JinjaUndefined("the missing else") : otherwise.Evaluate(scope, run);
}

/// <summary><c>and</c> and <c>or</c>, which evaluate the right side only if needed and give the deciding operand.</summary>
internal sealed class LogicalExpression(int line, bool isAnd, JinjaExpression left, JinjaExpression right) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run)
    {
        object? value = left.Evaluate(scope, run);
        return JinjaOperators.IsTrue(value) == isAnd ? right.Evaluate(scope, run) : value;
    }
}

internal sealed class NotExpression(int line, JinjaExpression operand) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run) => !JinjaOperators.IsTrue(operand.Evaluate(scope, run));
}

internal sealed class UnaryExpression(int line, string sign, JinjaExpression operand) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run) =>
        sign == "-" ? JinjaOperators.Binary("-", 0L, operand.Evaluate(scope, run), run)
            : JinjaOperators.Binary("+", 0L, operand.Evaluate(scope, run), run);
}

internal sealed class BinaryExpression(int line, string op, JinjaExpression left, JinjaExpression right) : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run)
    {
        object? first = left.Evaluate(scope, run), second = right.Evaluate(scope, run);
        return JinjaOperators.Binary(op, first, second, run);
    }
}

/// <summary>A chain of comparisons: <c>a &lt; b &lt;= c</c> means <c>a &lt; b and b &lt;= c</c>.</summary>
internal sealed class ComparisonExpression(int line, JinjaExpression first, IReadOnlyList<(string Op, JinjaExpression Operand)> rest)
    : JinjaExpression(line)
{
    protected override object? Compute(JinjaScope scope, JinjaRun run)
    {
        object? left = first.Evaluate(scope, run);
        foreach (var (op, operand) in rest)
        {
            object? right = operand.Evaluate(scope, run);
            if (!JinjaOperators.Compare(op, left, right, run))
                return false;
            left = right;
        }
        return true;
    }
}
