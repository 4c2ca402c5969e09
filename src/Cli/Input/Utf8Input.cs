using System.Buffers;
using System.Text;
using System.Text.Json;

namespace Foretoken.Cli.Input;

/// <summary>Reads text and lines as strict UTF-8. Lines end at \n only: \r, U+0085, U+2028 and the like are ordinary characters.</summary>
internal static class Utf8Input
{
    /// <summary>Largest text read whole; no supported context holds more.</summary>
    public const int MaximumTextBytes = 64 << 20;

    /// <summary>The byte order mark.</summary>
    private static ReadOnlySpan<byte> Mark => [0xEF, 0xBB, 0xBF];

    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>All of <paramref name="stream"/> as text.</summary>
    /// <param name="stream">Read to its end.</param>
    /// <param name="name">The file's name, or stdin, for messages.</param>
    /// <param name="cancel">Ends a wait for input.</param>
    /// <param name="keepMark">Whether a byte order mark at the beginning is text.</param>
    /// <exception cref="RunException">More than <see cref="MaximumTextBytes"/>, or not UTF-8.</exception>
    public static string ReadAll(Stream stream, string name, CancellationToken cancel, bool keepMark = false)
    {
        using var bytes = new MemoryStream();
        byte[] buffer = new byte[1 << 16];
        for (int n; (n = ReadSome(stream, buffer, name, cancel)) > 0;)
        {
            bytes.Write(buffer, 0, n);
            if (bytes.Length > MaximumTextBytes) throw new RunException($"{name} is longer than {MaximumTextBytes >> 20} MiB: give a shorter text.");
        }

        return Decode(bytes.GetBuffer().AsSpan(0, (int)bytes.Length), name, keepMark);
    }

    /// <summary>All of the file at <paramref name="path"/> as text.</summary>
    /// <exception cref="RunException">The file is missing, unreadable, too long or not UTF-8.</exception>
    public static string ReadFile(string path, CancellationToken cancel)
    {
        using FileStream stream = Open(path);
        return ReadAll(stream, path, cancel);
    }

    /// <summary>Opens a file for reading, or says why not.</summary>
    public static FileStream Open(string path)
    {
        try
        {
            if (Directory.Exists(path)) throw new RunException($"{path} is a folder: give the path of a file.");
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new RunException($"{path}: no such file. Check the path.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RunException($"{path} cannot be read ({e.Message.TrimEnd('.')}): check its permissions.", e);
        }
    }

    /// <summary>
    /// The lines of <paramref name="stream"/> with their numbers from 1, without the \n; a last line without \n counts, an empty rest does not.
    /// </summary>
    public static IEnumerable<(int Number, byte[] Utf8)> Lines(Stream stream, string name, CancellationToken cancel)
    {
        byte[] buffer = new byte[1 << 16];
        var line = new ArrayBufferWriter<byte>();
        int number = 1;
        for (int n; (n = ReadSome(stream, buffer, name, cancel)) > 0;)
        {
            int start = 0;
            for (int end; (end = Array.IndexOf(buffer, (byte)'\n', start, n - start)) >= 0; start = end + 1)
            {
                line.Write(buffer.AsSpan(start, end - start));
                yield return (number++, line.WrittenSpan.ToArray());
                line.Clear();
            }

            line.Write(buffer.AsSpan(start, n - start));
            if (line.WrittenCount > MaximumTextBytes)
                throw new RunException($"{name} line {number} is longer than {MaximumTextBytes >> 20} MiB: give shorter lines.");
        }

        if (line.WrittenCount > 0) yield return (number, line.WrittenSpan.ToArray());
    }

    /// <summary>Like <see cref="Lines"/>, without lines that hold nothing but white space: in JSON Lines they are no records. The others keep their numbers.</summary>
    public static IEnumerable<(int Number, byte[] Utf8)> Records(Stream stream, string name, CancellationToken cancel) =>
        Lines(stream, name, cancel).Where(l => !IsBlank(l.Utf8, l.Number));

    /// <summary>Parses one line of JSON as an object. A byte order mark may begin the first line.</summary>
    /// <exception cref="RunException">No JSON object.</exception>
    public static JsonDocument ParseObject(byte[] utf8, string name, int line, string expected)
    {
        int start = MarkLength(utf8, line);
        if (IsBlank(utf8, line)) throw new RunException($"{name} line {line} is empty: write {expected}, or leave the line out.");
        try
        {
            var document = JsonDocument.Parse(utf8.AsMemory(start));
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? document
                : throw new RunException($"{name} line {line} is a JSON {document.RootElement.ValueKind}, not an object: write {expected}.");
        }
        catch (JsonException e)
        {
            throw new RunException($"{name} line {line} is not JSON ({Reason(e)}): write {expected}.", e);
        }
    }

    /// <summary>A string member of <paramref name="element"/>.</summary>
    /// <exception cref="RunException">It is missing, no string, or holds text that is no Unicode.</exception>
    public static string Text(JsonElement element, string field, string name, int line)
    {
        try
        {
            if (element.TryGetProperty(field, out JsonElement value) && value.ValueKind == JsonValueKind.String) return value.GetString()!;
        }
        catch (InvalidOperationException e) // a lone surrogate, or bytes that are not UTF-8
        {
            throw new RunException($"{name} line {line}: \"{field}\" is not Unicode text: remove lone surrogates and bytes that are not UTF-8.", e);
        }

        throw new RunException($"{name} line {line} has no string \"{field}\": write {{\"{field}\": \"…\"}}.");
    }

    /// <summary>Strict UTF-8; a byte order mark is left out unless <paramref name="keepMark"/>.</summary>
    /// <exception cref="RunException">Not UTF-8.</exception>
    public static string Decode(ReadOnlySpan<byte> utf8, string name, bool keepMark = false)
    {
        if (!keepMark && utf8.StartsWith(Mark)) utf8 = utf8[Mark.Length..];
        try
        {
            return s_strict.GetString(utf8);
        }
        catch (DecoderFallbackException e)
        {
            throw new RunException($"{name} is not UTF-8 (byte {e.Index}): convert it to UTF-8 first.", e);
        }
    }

    private static bool IsBlank(byte[] utf8, int line) => utf8.AsSpan(MarkLength(utf8, line)).Trim(" \t\r"u8).IsEmpty;

    private static int MarkLength(byte[] utf8, int line) => line == 1 && utf8.AsSpan().StartsWith(Mark) ? Mark.Length : 0;

    private static int ReadSome(Stream stream, byte[] buffer, string name, CancellationToken cancel)
    {
        try
        {
            // A read from a terminal or pipe blocks the thread and cannot be cancelled: waiting for it beside the token lets Ctrl-C end the wait.
            if (!cancel.CanBeCanceled || stream is MemoryStream or FileStream) return stream.Read(buffer);
            var read = Task.Run(() => stream.Read(buffer), CancellationToken.None);
            Task.WaitAny([read], cancel); // a failed read is thrown by its result, not wrapped
            return read.GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RunException($"{name} cannot be read ({e.Message.TrimEnd('.')}): give a file or a pipe that holds text.", e);
        }
    }

    private static string Reason(JsonException e)
    {
        int end = e.Message.IndexOf(" LineNumber", StringComparison.Ordinal);
        return (end < 0 ? e.Message : e.Message[..end]).TrimEnd('.');
    }
}
