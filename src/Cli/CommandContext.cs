using System.CommandLine;

namespace Foretoken.Cli;

/// <summary>A parsed command line and the process around it.</summary>
internal sealed record CommandContext(ParseResult Parsed, CliHost Host);
