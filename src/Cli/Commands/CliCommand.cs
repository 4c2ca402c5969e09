using System.CommandLine;
using Foretoken.Cli.Options;

namespace Foretoken.Cli.Commands;

/// <summary>One verb of the command line: its flags, its arguments and what it does.</summary>
internal abstract class CliCommand
{
    private readonly List<Flag> _flags = [];

    protected CliCommand(string name, string description)
    {
        Definition = new Command(name, description);
        Definition.SetAction(_ => 0); // dispatch is ours: the library only parses and writes help
    }

    public Command Definition { get; }

    public string Name => Definition.Name;

    public IReadOnlyList<Flag> Flags => _flags;

    /// <summary>Runs the command and returns its exit code. Flags are read, and thereby checked, before any work begins.</summary>
    public abstract int Run(CommandContext context);

    protected TFlag Add<TFlag>(TFlag flag)
        where TFlag : Flag
    {
        _flags.Add(flag);
        Definition.Add(flag.Definition);
        return flag;
    }

    /// <summary>Adds an optional positional argument.</summary>
    protected Argument<string> AddArgument(string name, string description)
    {
        var argument = new Argument<string>(name) { Description = description, Arity = ArgumentArity.ZeroOrOne };
        Definition.Add(argument);
        return argument;
    }

    /// <summary>The argument's value, or null where it was not given.</summary>
    protected static string? Value(CommandContext context, Argument<string> argument) =>
        context.Parsed.GetResult(argument) is { Tokens.Count: > 0 } result ? result.Tokens[0].Value : null;
}
