using System.Reflection;
using System.Text.Json;
using Foretoken.Sampling;
using Foretoken.Settings;

namespace Foretoken.Cli;

/// <summary>The one place that turns an exception into a line on stderr and an exit code. <c>FORETOKEN_DEBUG=1</c> adds the stack trace.</summary>
internal static class ErrorReport
{
    private const int DiskFullUnix = 28; // ENOSPC
    private const int DiskFullWindows = unchecked((int)0x80070070);

    /// <summary>Writes the message and returns the exit code.</summary>
    public static int Write(Exception exception, CliHost host)
    {
        Exception e = Unwrap(exception);
        bool debug = host.Environment(EnvironmentSwitch.Debug.Name) is "1" or "true"; // another value is refused, and it is that error which is written
        (string? message, int code) = Describe(e);
        try
        {
            if (e is not ClosedPipeException) host.Output.Flush(); // what came before the error is still a result
        }
        catch (IOException)
        {
            // the first error is the one to report
        }

        try
        {
            if (message is not null) host.Error.WriteLine($"error: {OneLine(message)}");
            if (debug) host.Error.WriteLine(exception);
        }
        catch (IOException)
        {
            // stderr is gone too: the exit code remains
        }

        return code;
    }

    private static (string? Message, int Code) Describe(Exception e) => e switch
    {
        ClosedPipeException => (null, ExitCode.Success),
        OperationCanceledException => ("interrupted.", ExitCode.Interrupted),
        UsageException or EnvironmentVariableException => (e.Message, ExitCode.Usage),
        InvalidRequestException { Field: not "prompt" } => (e.Message, ExitCode.Usage),
        RunException => (e.Message, ExitCode.RunError),
        FileNotFoundException { FileName: { Length: > 0 } file } => ($"{file}: no such file. Check the path.", ExitCode.RunError),
        DirectoryNotFoundException or FileNotFoundException => ($"{e.Message} Check the path.", ExitCode.RunError),
        UnauthorizedAccessException => ($"{e.Message} Check the permissions of the file and its folder.", ExitCode.RunError),
        IOException { HResult: DiskFullUnix or DiskFullWindows } => ($"{e.Message.TrimEnd('.')}. Free some room, or write to another disk.", ExitCode.RunError),
        IOException or JsonException or ArgumentException or InvalidDataException => (e.Message, ExitCode.RunError),
        OutOfMemoryException => ("the system has no memory left: use a smaller model, a shorter context or --type int8.", ExitCode.RunError),
        _ when IsOurs(e) => (e.Message, ExitCode.RunError),
        _ => ($"internal error ({e.GetType().Name}): {e.Message} Run again with {EnvironmentSwitch.Debug.Name}=1 for the trace.", ExitCode.RunError),
    };

    // The engine's own exceptions already name the file, the field, the rule and the remedy.
    private static bool IsOurs(Exception e) => e.GetType().Namespace?.StartsWith("Foretoken", StringComparison.Ordinal) == true;

    private static Exception Unwrap(Exception e) => e switch
    {
        AggregateException { InnerExceptions.Count: 1, InnerException: { } inner } => Unwrap(inner),
        TargetInvocationException { InnerException: { } inner } => Unwrap(inner),
        TypeInitializationException { InnerException: { } inner } => Unwrap(inner),
        _ => e,
    };

    private static string OneLine(string message) => message.ReplaceLineEndings(" ").Trim();
}
