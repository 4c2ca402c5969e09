using Foretoken.Cli.Commands;
using Foretoken.Settings;

namespace Foretoken.Cli.Options;

/// <summary>
/// Looks at the variables before a command runs: a switch of the engine that is neither on nor off is refused, and a name that nothing reads is said aloud,
/// as it is likely a misspelt one. Values of flags' twins are checked when a command reads them. docs/environment.md lists all.
/// </summary>
internal static class EnvironmentCheck
{
    private const string Prefix = "FORETOKEN_";

    /// <summary>What the scripts and the tests of the repository read: a command that they start inherits it.</summary>
    internal static readonly string[] Elsewhere = [Prefix + "PYTHON", Prefix + "CI_SLOW_SECONDS", Prefix + "EQUALITY", Prefix + "SIMULATE", Prefix + "SHAPES"];

    /// <summary>Writes warnings to stderr.</summary>
    /// <exception cref="EnvironmentVariableException">A switch has a value without meaning.</exception>
    public static void Run(IReadOnlyList<CliCommand> commands, CliHost host)
    {
        foreach (EnvironmentSwitch variable in EnvironmentSwitch.All) _ = EnvironmentSwitch.Parse(variable.Name, host.Environment(variable.Name));
        string[] given = [.. host.EnvironmentNames().Where(n => n.StartsWith(Prefix, StringComparison.Ordinal) && !string.IsNullOrEmpty(host.Environment(n)))];
        if (given.Length == 0) return;
        HashSet<string> known = Known(commands);
        foreach (string name in given.Where(n => !known.Contains(n)).Order(StringComparer.Ordinal))
            host.Error.WriteLine($"warning: no command reads {name}{Spelling.Suggestion(name, known)}: unset it, or name the flag that you mean.");
    }

    /// <summary>Every variable with our prefix that something reads.</summary>
    internal static HashSet<string> Known(IReadOnlyList<CliCommand> commands) =>
        [.. commands.SelectMany(c => c.Flags).Select(f => f.EnvironmentName), .. EnvironmentSwitch.All.Select(s => s.Name), .. Elsewhere];
}
