namespace Foretoken.Cli.Input;

/// <summary>The process's stdin, or what says that there is none.</summary>
internal static class StandardInput
{
    private const int CloseOnExec = 0x80000; // O_CLOEXEC of Linux

    public static Stream Open() => WasClosed() ? new ClosedStream() : Console.OpenStandardInput();

    /// <summary>
    /// Whether the process was started without stdin (<c>&lt;&amp;-</c>). The runtime then gets descriptor 0 for a pipe of its own, which never has
    /// anything to read. Its descriptors are closed on exec; one that was inherited cannot be.
    /// </summary>
    private static bool WasClosed()
    {
        if (!OperatingSystem.IsLinux()) return false;
        try
        {
            string? flags = File.ReadLines("/proc/self/fdinfo/0").FirstOrDefault(l => l.StartsWith("flags:", StringComparison.Ordinal));
            return flags is not null && (Convert.ToInt64(flags[6..].Trim(), 8) & CloseOnExec) != 0;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return Directory.Exists("/proc/self/fdinfo"); // no such descriptor; without /proc nothing is known
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            return false;
        }
    }

    /// <summary>Fails when it is read; a <see cref="MemoryStream"/>, because those are read at once, without waiting beside an interrupt.</summary>
    private sealed class ClosedStream : MemoryStream
    {
        public override int Read(Span<byte> buffer) => throw Closed();

        public override int Read(byte[] buffer, int offset, int count) => throw Closed();

        private static RunException Closed() => new("stdin is closed: give the text as an argument or a file where the command takes one, or open stdin.");
    }
}
