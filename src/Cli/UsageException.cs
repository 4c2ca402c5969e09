namespace Foretoken.Cli;

/// <summary>The command line is wrong. The message names the flag, the rule and the remedy; the exit code is <see cref="ExitCode.Usage"/>.</summary>
internal sealed class UsageException(string message) : Exception(message);

/// <summary>The command cannot be carried out: a file is missing, unreadable or has wrong contents. The exit code is <see cref="ExitCode.RunError"/>.</summary>
internal sealed class RunException(string message, Exception? inner = null) : Exception(message, inner);
