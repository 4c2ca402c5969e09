using System.Text;
using System.Text.Json;

namespace Foretoken.Training.Evaluation;

/// <summary>The text of a file of JSON Lines, which is UTF-8: other encodings are refused, not guessed.</summary>
internal static class JsonLinesText
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>All of a file, without a byte order mark.</summary>
    /// <param name="path">The file.</param>
    /// <param name="error">Makes the exception of a message that names file, rule and remedy: the file is missing, a folder, cannot be read or is not UTF-8.</param>
    public static string Read(string path, Func<string, Exception> error)
    {
        try
        {
            return s_strict.GetString(File.ReadAllBytes(path)).TrimStart('\uFEFF');
        }
        catch (DecoderFallbackException e)
        {
            throw error($"{path} is not UTF-8 (byte {e.Index}): convert it to UTF-8 first.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw error(
                Directory.Exists(path) ? $"{path} is a folder: give the path of a file of JSON Lines."
                : !File.Exists(path) ? $"{path}: no such file. Check the path."
                : $"{path} cannot be read ({e.Message.TrimEnd('.')}). Check the permissions of the file.");
        }
    }

    /// <summary>What is wrong with a line, without the parser's own count of lines and bytes.</summary>
    public static string Reason(JsonException e)
    {
        int end = e.Message.IndexOf(" LineNumber", StringComparison.Ordinal);
        return (end < 0 ? e.Message : e.Message[..end]).TrimEnd('.');
    }
}
