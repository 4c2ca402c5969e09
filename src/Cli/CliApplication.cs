using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Reflection;
using System.Text.RegularExpressions;
using Foretoken.Cli.Commands;
using Foretoken.Cli.Options;

namespace Foretoken.Cli;

/// <summary>
/// The command tree and the one place where errors become messages and exit codes. stdout carries the result only, stderr everything else.
/// </summary>
internal static partial class CliApplication
{
    private const int HelpWidth = 120;

    /// <summary>Version and, in builds from a repository, the commit.</summary>
    public static string Version =>
        typeof(CliApplication).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    /// <summary>Runs one command line and returns its exit code; throws nothing.</summary>
    public static int Run(IReadOnlyList<string> args, CliHost host)
    {
        try
        {
            int code = Dispatch(args, host);
            host.Output.Flush();
            return code;
        }
        catch (Exception e)
        {
            return ErrorReport.Write(e, host);
        }
        finally
        {
            FlushQuietly(host.Error);
        }
    }

    /// <summary>Every command; one class each. Adding a command is one line here.</summary>
    internal static IReadOnlyList<CliCommand> Commands() =>
    [
        new RunCommand(),
        new ChatCommand(),
        new EvalCommand(),
        new TrainCliCommand(),
        new InspectCommand(),
        new BenchCommand(),
        new DoctorCommand(),
        new LogitsCommand(),
        new TokenizeCommand(),
        new DetokenizeCommand(),
        new SynthCommand(),
        new ConvertCommand(),
    ];

    private static int Dispatch(IReadOnlyList<string> args, CliHost host)
    {
        IReadOnlyList<CliCommand> commands = Commands();
        var root = new RootCommand("Foretoken: language-model inference in pure C#. Results go to stdout, everything else to stderr.");
        root.Directives.Clear(); // a first argument in [brackets] is a prompt, not a directive
        foreach (CliCommand c in commands) root.Add(c.Definition);
        foreach (Option o in root.Options)
            if (o is HelpOption { Action: HelpAction help }) help.MaxWidth = HelpWidth;

        // Prompts may begin with '@' and may be a single dash and letters: no response files, no bundled one-letter flags.
        ParseResult parsed = root.Parse(args, new ParserConfiguration { EnablePosixBundling = false, ResponseFileTokenReplacer = null });
        if (parsed.Action is HelpAction)
            return parsed.Invoke(new InvocationConfiguration { Output = host.Output, Error = host.Error, EnableDefaultExceptionHandler = false });
        if (root.Options.OfType<VersionOption>().Any(v => parsed.GetResult(v) is { Implicit: false }))
        {
            host.Output.WriteLine(Version);
            return ExitCode.Success;
        }

        CliCommand? command = commands.FirstOrDefault(c => c.Definition == parsed.CommandResult.Command);
        if (command is null)
        {
            if (args.Count > 0)
            {
                string[] names = [.. commands.Select(c => c.Name)];
                throw new UsageException($"'{args[0]}' is not a command{Spelling.Suggestion(args[0], [.. names, "--help", "--version"])}: use one of {string.Join(", ", names)}.");
            }

            _ = root.Parse(["--help"]).Invoke(new InvocationConfiguration { Output = host.Error, Error = host.Error });
            return ExitCode.Usage;
        }

        RefuseUnknownFlags(args, parsed, command);
        if (parsed.UnmatchedTokens.Count > 0)
        {
            string arguments = string.Join(" and ", command.Definition.Arguments.Select(a => a.Name));
            throw new UsageException(arguments.Length == 0
                ? $"'foretoken {command.Name}' takes no argument, but '{parsed.UnmatchedTokens[0]}' was given: leave it out."
                : $"'{parsed.UnmatchedTokens[0]}' is one argument too many: 'foretoken {command.Name}' takes {arguments}. Leave it out, or put quotes around what has spaces.");
        }

        if (parsed.Errors.Count > 0) throw new UsageException($"{parsed.Errors[0].Message} See 'foretoken {command.Name} --help'.");
        EnvironmentCheck.Run(commands, host);
        return command.Run(new CommandContext(parsed, host));
    }

    // System.CommandLine takes a word that begins with dashes for an argument where the command has free arguments: a mistyped flag would
    // become part of the prompt. Text that contains a space, or that follows "--", is an argument.
    private static void RefuseUnknownFlags(IReadOnlyList<string> args, ParseResult parsed, CliCommand command)
    {
        foreach (Token token in parsed.Tokens)
        {
            if (token.Type == TokenType.DoubleDash) break;
            if (token.Type != TokenType.Argument || !FlagPattern().IsMatch(token.Value) || !IsPositional(parsed, token)) continue;
            string name = token.Value.Split('=')[0];
            throw new UsageException(
                $"{name} is not a flag of 'foretoken {command.Name}'{Spelling.Suggestion(name, command.Flags.Select(f => f.Name))}. "
                + $"See 'foretoken {command.Name} --help'; text that begins with a dash goes after '--'.");
        }

        foreach (string arg in args.TakeWhile(a => a != "--"))
        {
            int equals = arg.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0 && command.Flags.FirstOrDefault(f => f.IsSwitch && f.Name == arg[..equals]) is { } flag)
                throw new UsageException($"{flag.Name} takes no value, but '{arg}' gives one: leave '{arg[equals..]}' out.");
            if (equals > 0 && equals == arg.Length - 1 && command.Flags.FirstOrDefault(f => !f.IsSwitch && f.Name == arg[..equals]) is { } bare) // the next word would be its value
                throw new UsageException($"{bare.Name} has no value behind its equals sign: give one, or leave the flag out.");
        }
    }

    private static bool IsPositional(ParseResult parsed, Token token) =>
        parsed.CommandResult.Children.OfType<ArgumentResult>().Any(a => a.Tokens.Contains(token)) || parsed.UnmatchedTokens.Contains(token.Value);

    private static void FlushQuietly(TextWriter writer)
    {
        try
        {
            writer.Flush();
        }
        catch (IOException)
        {
            // stderr is gone: there is nobody left to tell
        }
    }

    [GeneratedRegex("^--?[A-Za-z][A-Za-z0-9-]*(=.*)?$", RegexOptions.Singleline)]
    private static partial Regex FlagPattern();
}
