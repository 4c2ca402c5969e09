using System.Security.Cryptography;
using System.Text;

namespace Foretoken.Generators.Kernels;

/// <summary>
/// The hash that ties a PTX file to its sources. Of a file: SHA-256 of its text with line ends as LF. Of a module: SHA-256 of one line
/// <c>HASH  NAME\n</c> for the source and then for each header that it includes, directly or through others, in the order of their names. build.cake writes
/// the same hash into the PTX.
/// </summary>
internal static class ContentHash
{
    public static string OfText(string text) => Sha256(text.Replace("\r\n", "\n"));

    public static string OfModule(CppFile source, IReadOnlyDictionary<string, CppFile> headers)
    {
        var lines = new StringBuilder($"{source.Hash}  {source.Name}\n");
        foreach (CppFile header in Closure(source, headers).OrderBy(h => h.Name, StringComparer.Ordinal)) lines.Append($"{header.Hash}  {header.Name}\n");
        return Sha256(lines.ToString());
    }

    /// <summary>The headers that a source includes, directly or through others.</summary>
    public static IReadOnlyCollection<CppFile> Closure(CppFile source, IReadOnlyDictionary<string, CppFile> headers)
    {
        var found = new Dictionary<string, CppFile>(StringComparer.Ordinal);
        var open = new Stack<CppFile>([source]);
        while (open.Count > 0)
        {
            foreach (CppInclude include in open.Pop().Includes)
            {
                if (found.ContainsKey(include.Name) || !headers.TryGetValue(include.Name, out CppFile? header)) continue;
                found[include.Name] = header;
                open.Push(header);
            }
        }

        return found.Values;
    }

    private static string Sha256(string text)
    {
        using var sha = SHA256.Create();
        return string.Concat(sha.ComputeHash(Encoding.UTF8.GetBytes(text)).Select(b => b.ToString("x2")));
    }
}
