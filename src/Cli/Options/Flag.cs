using System.CommandLine;
using System.CommandLine.Parsing;
using Foretoken.Settings;

namespace Foretoken.Cli.Options;

/// <summary>
/// A flag and its environment twin: <c>--max-tokens</c> is also <c>FORETOKEN_MAX_TOKENS</c>; the command line wins. Values are parsed when the
/// command asks for them, by our own parsers, so that every message names the flag (or the variable), the rule and the remedy.
/// </summary>
internal abstract class Flag
{
    protected Flag(Option option, string help, bool isSwitch)
    {
        Definition = option;
        Name = option.Name;
        EnvironmentName = "FORETOKEN_" + Name.TrimStart('-').Replace('-', '_').ToUpperInvariant();
        IsSwitch = isSwitch;
        option.Description = $"{help} [{EnvironmentName}]";
    }

    public Option Definition { get; }

    public string Name { get; }

    public string EnvironmentName { get; }

    /// <summary>True for a flag without a value.</summary>
    public bool IsSwitch { get; }

    /// <summary>Whether the command line itself sets the flag.</summary>
    public bool GivenOnLine(CommandContext context) => context.Parsed.GetResult(Definition) is { Implicit: false };

    protected string? FromEnvironment(CommandContext context)
    {
        string? value = context.Host.Environment(EnvironmentName);
        return string.IsNullOrEmpty(value) ? null : value;
    }

    protected IReadOnlyList<string> Tokens(CommandContext context) =>
        context.Parsed.GetResult(Definition) is { } result ? [.. result.Tokens.Select(t => t.Value)] : [];
}

/// <summary>Reads a flag's text; throws <see cref="UsageException"/> whose message begins with <paramref name="source"/>.</summary>
/// <param name="text">The value as typed.</param>
/// <param name="source">The flag or the environment variable that holds it.</param>
internal delegate T FlagParser<T>(string text, string source);

/// <summary>A flag with one value.</summary>
internal sealed class Flag<T>(string name, string valueName, string help, FlagParser<T> parse, T fallback, params string[] aliases)
    : Flag(new Option<string>(name, aliases) { HelpName = valueName, Arity = ArgumentArity.ExactlyOne }, help, isSwitch: false)
{
    public T Get(CommandContext context)
    {
        if (GivenOnLine(context)) return parse(Tokens(context)[0], Name);
        return FromEnvironment(context) is { } text ? parse(text, EnvironmentName) : fallback;
    }

    /// <summary>
    /// The value of a flag that excludes others: where the command line gives one of those (<paramref name="otherOnLine"/>), the environment twin of this one
    /// counts for nothing.
    /// </summary>
    public T GetBeside(bool otherOnLine, CommandContext context) => otherOnLine && !GivenOnLine(context) ? fallback : Get(context);
}

/// <summary>A flag that may be given several times; its environment twin gives one value.</summary>
internal sealed class ListFlag<T>(string name, string valueName, string help, FlagParser<T> parse)
    : Flag(new Option<string[]>(name) { HelpName = valueName, Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false }, help, isSwitch: false)
{
    public IReadOnlyList<T> Get(CommandContext context)
    {
        if (GivenOnLine(context)) return [.. Tokens(context).Select(t => parse(t, Name))];
        return FromEnvironment(context) is { } text ? [parse(text, EnvironmentName)] : [];
    }
}

/// <summary>A flag without a value; its environment twin is 1 or 0.</summary>
internal sealed class Switch(string name, string help)
    : Flag(new Option<bool>(name) { Arity = ArgumentArity.Zero }, help, isSwitch: true)
{
    public bool Get(CommandContext context)
    {
        if (GivenOnLine(context)) return true;
        return EnvironmentSwitch.Parse(EnvironmentName, FromEnvironment(context)) ?? false;
    }

    /// <inheritdoc cref="Flag{T}.GetBeside"/>
    public bool GetBeside(bool otherOnLine, CommandContext context) => otherOnLine && !GivenOnLine(context) ? false : Get(context);
}
