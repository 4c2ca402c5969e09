using System.Runtime.CompilerServices;

namespace Foretoken.Tokenization.Jinja;

/// <summary>
/// One rendering: its output, where it is, and its limits. A template comes with a downloaded model and is not trusted: it can neither run
/// long, nor take much memory, nor reach anything but its variables.
/// </summary>
internal sealed class JinjaRun(string file, JinjaLimits limits)
{
    private long _steps, _characters;
    private int _depth;

    /// <summary>Where output goes; block sets and macros divert it.</summary>
    public MarkedTextBuilder Output { get; set; } = new();

    /// <summary>The line of the construct that is being evaluated.</summary>
    public int Line { get; set; } = 1;

    public TokenizerException Error(string rule, string remedy = "Correct the chat template or the messages") => JinjaSyntax.Error(file,
        Line, rule, remedy);

    /// <summary>Counts one step of evaluation.</summary>
    public void Step()
    {
        if (++_steps > limits.MaxSteps)
            throw Error($"more than {limits.MaxSteps} steps", "The template does not end in reasonable time");
    }

    /// <summary>Counts <paramref name="count"/> characters or list items before they are made.</summary>
    public void Charge(long count)
    {
        _characters += count;
        if (count > limits.MaxCharacters || _characters > 8 * limits.MaxCharacters)
            throw Error($"more than {limits.MaxCharacters} characters or items", "The template or the messages are too large");
    }

    public void Write(MarkedText text)
    {
        Charge(text.Text.Length);
        if (Output.Length + (long)text.Text.Length > limits.MaxCharacters)
            throw Error($"the output has more than {limits.MaxCharacters} characters", "The template or the messages are too large");
        Output.Append(text);
    }

    public void Enter()
    {
        if (++_depth > limits.MaxDepth || !RuntimeHelpers.TryEnsureSufficientExecutionStack())
            throw Error($"more than {limits.MaxDepth} nested evaluations", "The template calls itself without end");
    }

    public void Leave() => _depth--;

    /// <summary>Evaluates <paramref name="body"/> with its output diverted, and returns that output.</summary>
    public MarkedText Capture(Action body)
    {
        MarkedTextBuilder outer = Output;
        Output = new MarkedTextBuilder();
        try
        {
            body();
            return Output.ToMarkedText();
        }
        finally
        {
            Output = outer;
        }
    }
}

/// <summary>How much one rendering may use.</summary>
/// <param name="MaxSteps">Evaluated constructs.</param>
/// <param name="MaxCharacters">Characters of the output and of any value.</param>
/// <param name="MaxDepth">Nested evaluations.</param>
internal sealed record JinjaLimits(long MaxSteps = 5_000_000, long MaxCharacters = 1 << 25, int MaxDepth = 400);

/// <summary>Variables: those of this block, then those around it.</summary>
internal sealed class JinjaScope(JinjaScope? parent)
{
    private readonly Dictionary<string, object?> _variables = [];

    public JinjaScope Root => parent is null ? this : parent.Root;

    public object? Get(string name)
    {
        for (JinjaScope? scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope._variables.TryGetValue(name, out object? value))
                return value;
        }
        return new JinjaUndefined(name);
    }

    public void Set(string name, object? value) => _variables[name] = value;

    private JinjaScope? Parent => parent;
}
