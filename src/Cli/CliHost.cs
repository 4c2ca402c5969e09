using System.Text;
using Foretoken.Backends.Cuda;
using Foretoken.Cli.Input;
using Microsoft.Win32.SafeHandles;

namespace Foretoken.Cli;

/// <summary>
/// What a command sees of the process around it: streams, terminals, environment and the interrupt. Tests make their own, so that a command
/// line runs inside the test process exactly as it runs in a shell.
/// </summary>
internal sealed class CliHost : IDisposable
{
    /// <summary>Raw bytes: commands that read lines split on \n only and check UTF-8 themselves.</summary>
    public required Stream Input { get; init; }

    /// <summary>Results only.</summary>
    public required TextWriter Output { get; init; }

    /// <summary>Statistics, progress, warnings and errors.</summary>
    public required TextWriter Error { get; init; }

    public bool InputIsTerminal { get; init; }

    public bool OutputIsTerminal { get; init; }

    public bool ErrorIsTerminal { get; init; }

    /// <summary>Reads an environment variable; null or empty means that it is not set.</summary>
    public Func<string, string?> Environment { get; init; } = _ => null;

    /// <summary>The names of all environment variables.</summary>
    public Func<IEnumerable<string>> EnvironmentNames { get; init; } = () => [];

    /// <summary>Cancelled by Ctrl-C and SIGTERM.</summary>
    public CancellationToken Interrupt { get; init; }

    /// <summary>The folder that holds <c>models/</c>.</summary>
    public string BaseDirectory { get; init; } = AppContext.BaseDirectory;

    /// <summary>What to see of CUDA; null = what this process finds.</summary>
    public CudaPlatform? Cuda { get; init; }

    /// <summary>Progress lines are drawn only where they can be erased again.</summary>
    public bool ShowsProgress => ErrorIsTerminal && Environment("TERM") != "dumb";

    /// <summary>Colour on stdout: only on a terminal and without NO_COLOR (https://no-color.org).</summary>
    public bool OutputColor => OutputIsTerminal && Environment("TERM") != "dumb" && string.IsNullOrEmpty(Environment("NO_COLOR"));

    /// <summary>The host of the running process.</summary>
    public static CliHost ForProcess(CancellationToken interrupt) => new()
    {
        Input = StandardInput.Open(),
        Output = Writer(1, Console.IsOutputRedirected, Console.OpenStandardOutput),
        Error = Writer(2, Console.IsErrorRedirected, Console.OpenStandardError, isError: true),
        InputIsTerminal = !Console.IsInputRedirected,
        OutputIsTerminal = !Console.IsOutputRedirected,
        ErrorIsTerminal = !Console.IsErrorRedirected,
        Environment = System.Environment.GetEnvironmentVariable,
        EnvironmentNames = () => System.Environment.GetEnvironmentVariables().Keys.Cast<string>(),
        Interrupt = interrupt,
    };

    public void Dispose()
    {
        Input.Dispose();
        Output.Dispose();
        Error.Dispose();
    }

    private static StreamWriter Writer(int descriptor, bool redirected, Func<Stream> console, bool isError = false)
    {
        Stream stream = (redirected ? Pipe(descriptor) : null) ?? console();
        return new StreamWriter(new PipeStream(stream, isError), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), bufferSize: 4096)
        {
            NewLine = "\n",
            AutoFlush = isError,
        };
    }

    // The console's own stream swallows a closed pipe, and the command would go on computing for nobody; a file stream over the descriptor reports
    // it. A regular file keeps the console's stream: a file stream would write at an offset of its own and not where the shell appends.
    private static FileStream? Pipe(int descriptor)
    {
        if (OperatingSystem.IsWindows()) return null;
        var stream = new FileStream(new SafeFileHandle(descriptor, ownsHandle: false), FileAccess.Write, bufferSize: 0);
        return stream.CanSeek ? null : stream;
    }

    /// <summary>
    /// Turns the write error of a reader that went away into <see cref="ClosedPipeException"/>, so that it is told from a full disk. Messages that cannot
    /// be written anywhere (stderr closed or on a full disk) are lost and do not spoil the result on stdout.
    /// </summary>
    private sealed class PipeStream(Stream inner, bool isError) : Stream
    {
        private const int BrokenPipeUnix = 32; // EPIPE
        private const int BrokenPipeWindows = unchecked((int)0x8007006D), NoDataWindows = unchecked((int)0x800700E8);

        // what follows up to Write is Stream's contract for a stream that neither reads nor seeks
        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            try
            {
                inner.Write(buffer);
            }
            catch (IOException e) when (e.HResult is BrokenPipeUnix or BrokenPipeWindows or NoDataWindows)
            {
                throw new ClosedPipeException(e);
            }
            catch (Exception e) when (isError && e is IOException or UnauthorizedAccessException)
            {
                // there is no other place to say so
            }
            catch (IOException e)
            {
                throw new IOException($"stdout cannot be written ({e.Message}). Free some room, or redirect it elsewhere.", e);
            }
            catch (UnauthorizedAccessException e) // a bad file descriptor
            {
                throw new IOException("stdout is closed: redirect it to a file or a pipe.", e);
            }
        }
    }
}

/// <summary>The reader of stdout went away: nothing is left to do, and it is no error.</summary>
internal sealed class ClosedPipeException(Exception? inner = null) : IOException("The output pipe was closed by its reader.", inner);
