namespace Foretoken.Settings;

/// <summary>A variable of the environment holds a value that has no meaning. The message names the variable, its value, the rule and the remedy.</summary>
public sealed class EnvironmentVariableException(string variable, string message) : Exception(message)
{
    /// <summary>The name of the variable.</summary>
    public string Variable { get; } = variable;
}

/// <summary>
/// A variable of the environment that is on or off. Whatever is neither is refused: a mistyped value that counted as one of the two would go unnoticed.
/// docs/environment.md lists all variables.
/// </summary>
internal sealed record EnvironmentSwitch(string Name)
{
    /// <summary>Off: no machine code is written at start; products take the widest instructions that .NET offers.</summary>
    public static EnvironmentSwitch Emitter { get; } = new("FORETOKEN_EMITTER");

    /// <summary>On: errors of the command line come with their trace.</summary>
    public static EnvironmentSwitch Debug { get; } = new("FORETOKEN_DEBUG");

    /// <summary>Those that are no flag's twin.</summary>
    public static IReadOnlyList<EnvironmentSwitch> All { get; } = [Emitter, Debug];

    /// <summary>What this process was started with; null = not set.</summary>
    /// <exception cref="EnvironmentVariableException">It holds something else than on or off.</exception>
    public bool? Read() => Parse(Name, Environment.GetEnvironmentVariable(Name));

    /// <summary>The meaning of a value: 1 and true are on, 0 and false are off, empty is not set.</summary>
    /// <param name="variable">What holds it, for the message.</param>
    /// <param name="value">As it was set; null = not set.</param>
    /// <exception cref="EnvironmentVariableException">It is none of these.</exception>
    public static bool? Parse(string variable, string? value) => value switch
    {
        null or "" => null,
        "1" or "true" => true,
        "0" or "false" => false,
        _ => throw new EnvironmentVariableException(variable, $"{variable} must be 1 or 0, not '{value}': set it to 1 (on) or 0 (off), or unset it."),
    };
}
