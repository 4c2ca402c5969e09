namespace Foretoken.Tokenization.Jinja;

/// <summary>How a statement ended.</summary>
internal enum JinjaFlow
{
    Next,
    Break,
    Continue,
}

/// <summary>A statement of a template.</summary>
internal abstract class JinjaStatement(int line)
{
    public JinjaFlow Execute(JinjaScope scope, JinjaRun run)
    {
        run.Line = line;
        run.Step();
        run.Enter();
        JinjaFlow flow = Run(scope, run);
        run.Leave();
        return flow;
    }

    protected abstract JinjaFlow Run(JinjaScope scope, JinjaRun run);

    public static JinjaFlow ExecuteAll(IReadOnlyList<JinjaStatement> body, JinjaScope scope, JinjaRun run)
    {
        foreach (JinjaStatement statement in body)
        {
            JinjaFlow flow = statement.Execute(scope, run);
            if (flow != JinjaFlow.Next)
                return flow;
        }
        return JinjaFlow.Next;
    }
}

internal sealed class TextStatement(int line, string text) : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run)
    {
        run.Write(text);
        return JinjaFlow.Next;
    }
}

internal sealed class PrintStatement(int line, JinjaExpression value) : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run)
    {
        run.Write(JinjaText.Print(value.Evaluate(scope, run)));
        return JinjaFlow.Next;
    }
}

/// <summary>The branches of if, elif and else; they share the scope around them.</summary>
internal sealed class IfStatement(int line, IReadOnlyList<(JinjaExpression? Condition, IReadOnlyList<JinjaStatement> Body)> branches)
    : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run)
    {
        foreach (var (condition, body) in branches)
        {
            if (condition is null || JinjaOperators.IsTrue(condition.Evaluate(scope, run)))
                return ExecuteAll(body, scope, run);
        }
        return JinjaFlow.Next;
    }
}

/// <summary><c>for</c>; every round has a scope of its own, so that what is set inside is forgotten.</summary>
internal sealed class ForStatement(
    int line, IReadOnlyList<string> names, JinjaExpression items, JinjaExpression? condition, IReadOnlyList<JinjaStatement> body,
        IReadOnlyList<JinjaStatement> otherwise)
    : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run)
    {
        List<object?> list = [.. JinjaFilters.Iterate(items.Evaluate(scope, run), run)];
        if (condition is not null)
            list = [.. list.Where(item => JinjaOperators.IsTrue(condition.Evaluate(Bind(new JinjaScope(scope), names, item, run), run)))];
        if (list.Count == 0)
            return ExecuteAll(otherwise, new JinjaScope(scope), run);
        var loop = new JinjaLoop(list);
        for (int i = 0; i < list.Count; i++)
        {
            run.Step();
            JinjaScope round = Bind(new JinjaScope(scope), names, list[i], run);
            loop.Index0 = i;
            round.Set("loop", loop);
            if (ExecuteAll(body, round, run) == JinjaFlow.Break)
                break;
        }
        return JinjaFlow.Next;
    }

    /// <summary>Sets one name to a value, or several to the items of a list.</summary>
    public static JinjaScope Bind(JinjaScope scope, IReadOnlyList<string> names, object? value, JinjaRun run)
    {
        if (names.Count == 1)
        {
            scope.Set(names[0], value);
            return scope;
        }
        List<object?> parts = [.. JinjaFilters.Iterate(value, run)];
        if (parts.Count != names.Count)
            throw run.Error($"{parts.Count} values cannot be assigned to {names.Count} names");
        for (int i = 0; i < parts.Count; i++)
            scope.Set(names[i], parts[i]);
        return scope;
    }
}

internal sealed class FlowStatement(int line, JinjaFlow flow) : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run) => flow;
}

/// <summary><c>set</c> of names, of a namespace's member, or of a block's output.</summary>
internal sealed class SetStatement(int line, IReadOnlyList<string> names, string? member, JinjaExpression? value, IReadOnlyList<JinjaStatement> block,
    IReadOnlyList<(string Name, JinjaFilter Filter, ArgumentList Arguments)> filters) : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run)
    {
        object? result = value is not null ? value.Evaluate(scope, run) : run.Capture(() => ExecuteAll(block, new JinjaScope(scope), run));
        foreach (var (name, filter, arguments) in filters)
            result = FilterExpression.Apply(result, name, filter, arguments, scope, run);
        if (member is null)
            ForStatement.Bind(scope, names, result, run);
        else if (scope.Get(names[0]) is JinjaNamespace space)
            space.Items[member] = result;
        else
            throw run.Error($"\"{names[0]}\" is not a namespace, so its member \"{member}\" cannot be set");
        return JinjaFlow.Next;
    }
}

/// <summary>
/// Statements with a scope of their own whose output passes through filters, if any (<c>filter</c>, <c>with</c>, <c>generation</c>).
/// </summary>
internal sealed class BlockStatement(int line, IReadOnlyList<(string Name, JinjaExpression Value)> variables, IReadOnlyList<JinjaStatement> body,
    IReadOnlyList<(string Name, JinjaFilter Filter, ArgumentList Arguments)> filters, bool ownScope) : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run)
    {
        JinjaScope inner = ownScope ? new JinjaScope(scope) : scope;
        foreach (var (name, value) in variables)
            inner.Set(name, value.Evaluate(scope, run));
        if (filters.Count == 0)
            return ExecuteAll(body, inner, run);
        object? result = run.Capture(() => ExecuteAll(body, inner, run));
        foreach (var (name, filter, arguments) in filters)
            result = FilterExpression.Apply(result, name, filter, arguments, scope, run);
        run.Write(JinjaText.Print(result));
        return JinjaFlow.Next;
    }
}

/// <summary>A macro: a function that returns the output of its body and sees the template's own variables.</summary>
internal sealed class MacroStatement(int line, string name, IReadOnlyList<(string Name, JinjaExpression? Default)> parameters,
    IReadOnlyList<JinjaStatement> body) : JinjaStatement(line)
{
    protected override JinjaFlow Run(JinjaScope scope, JinjaRun run)
    {
        scope.Set(name, new JinjaFunction(name, arguments => Call(scope, arguments)));
        return JinjaFlow.Next;
    }

    private object? Call(JinjaScope definition, JinjaArguments arguments)
    {
        JinjaRun run = arguments.Run;
        if (arguments.Positional.Count > parameters.Count)
            throw run.Error($"{name} takes {parameters.Count} arguments, not {arguments.Positional.Count}");
        if (arguments.Named.Keys.FirstOrDefault(given => parameters.All(parameter => parameter.Name != given)) is { } unknown)
            throw run.Error($"{name} has no parameter \"{unknown}\"");
        var scope = new JinjaScope(definition);
        for (int i = 0; i < parameters.Count; i++)
        {
            var (parameter, otherwise) = parameters[i];
            object? value = arguments.Has(i, parameter) ? arguments.Get(i, parameter) : otherwise is null ? new JinjaUndefined(parameter)
                : otherwise.Evaluate(scope, run);
            scope.Set(parameter, value);
        }
        return run.Capture(() => ExecuteAll(body, scope, run));
    }
}
