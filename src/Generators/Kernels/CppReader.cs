using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis.Text;

namespace Foretoken.Generators.Kernels;

/// <summary>
/// Reads of a CUDA source what a launch needs: <c>extern "C" __global__</c> signatures, plain structures and includes. It is no C++ compiler: signatures
/// are spelled out (not made by macros or templates), and what it cannot read it refuses.
/// </summary>
internal static class CppReader
{
    private static readonly Regex Include = new(@"^[ \t]*#[ \t]*include[ \t]*""(?<name>[^""\n]+)""", RegexOptions.Multiline | RegexOptions.CultureInvariant);
    private static readonly Regex KernelHead = new(@"\bextern\s*""C""\s*__global__\b", RegexOptions.CultureInvariant);

    private static readonly Regex StructHead = new(
        @"(?<!\btemplate\s*<[^<>;{}]*>\s*)\bstruct\s+(?:alignas\s*\(\s*(?<align>[1-9]\d{0,3})\s*\)\s*)?(?<name>[A-Za-z_]\w*)\s*\{(?<body>[^{}()]*)\}\s*;",
        RegexOptions.CultureInvariant);

    private static readonly Regex Field = new(
        @"^(?<type>.+?[\s*])(?<name>[A-Za-z_]\w*)\s*(?:\[\s*(?<count>\d{1,6})\s*\])?$", RegexOptions.Singleline | RegexOptions.CultureInvariant);

    private static readonly Regex Parameter = new(@"^(?<type>.*[\s*&>])(?<name>[A-Za-z_]\w*)$", RegexOptions.Singleline | RegexOptions.CultureInvariant);
    private static readonly Regex Qualifier = new(@"\b(const|volatile|__restrict__|__restrict|struct|__grid_constant__)\b", RegexOptions.CultureInvariant);
    private static readonly Regex Blank = new(@"\s+", RegexOptions.CultureInvariant);

    public static CppFile Read(string path, SourceText text)
    {
        string content = text.ToString(), code = WithoutComments(content);
        var findings = new List<Finding>();
        var kernels = new List<CppKernel>();
        foreach (Match head in KernelHead.Matches(code).Cast<Match>())
        {
            if (ReadKernel(path, text, code, head, findings) is { } kernel) kernels.Add(kernel);
        }

        var includes = Include.Matches(content).Cast<Match>().Select(m => new CppInclude(m.Groups["name"].Value, At(path, text, m.Groups["name"])));
        return new CppFile(
            System.IO.Path.GetFileName(path), ContentHash.OfText(content), new(includes), new(kernels), new(ReadStructs(path, text, code)), new(findings),
            Place.Of(path, text, 0, 1));
    }

    /// <summary>Blanks comments, so that positions stay; strings stay as they are.</summary>
    internal static string WithoutComments(string code)
    {
        char[] result = code.ToCharArray();
        for (int i = 0; i < result.Length; i++)
        {
            if (code[i] is '"' or '\'')
            {
                char quote = code[i];
                for (i++; i < code.Length && code[i] != quote && code[i] != '\n'; i++)
                {
                    if (code[i] == '\\') i++;
                }
            }
            else if (code[i] == '/' && i + 1 < code.Length && code[i + 1] is '/' or '*')
            {
                bool line = code[i + 1] == '/';
                int end = code.IndexOf(line ? "\n" : "*/", i + 2, StringComparison.Ordinal);
                end = end < 0 ? code.Length : line ? end : end + 2;
                for (; i < end; i++)
                {
                    if (code[i] is not ('\n' or '\r')) result[i] = ' ';
                }

                i--;
            }
        }

        return new string(result);
    }

    private static CppKernel? ReadKernel(string path, SourceText text, string code, Match head, List<Finding> findings)
    {
        // [attributes] void [attributes] name ( parameters )
        int at = head.Index + head.Length;
        string? name = null;
        Place place = Place.Of(path, text, head.Index, head.Length);
        while (true)
        {
            Match word = Regex.Match(code.Substring(at), @"\A\s*(?<word>[A-Za-z_]\w*)\s*");
            if (!word.Success) break;
            int open = at + word.Length;
            if (open < code.Length && code[open] == '(')
            {
                int close = Closing(code, open);
                string called = word.Groups["word"].Value;
                if (close < 0 || called == "void") break;
                if (called is "__launch_bounds__" or "__attribute__" or "__cluster_dims__" or "__maxnreg__" or "__block_size__")
                {
                    at = close + 1;
                    continue;
                }

                name = called;
                place = Place.Of(path, text, at + word.Groups["word"].Index, name.Length);
                string signature = Blank.Replace(code.Substring(open + 1, close - open - 1), " ").Trim();
                return ReadParameters(path, text, code, open + 1, close, name, findings) is { } parameters
                    ? new CppKernel(name, $"{name}({signature})", new(parameters), place)
                    : null;
            }

            at = open;
        }

        findings.Add(new Finding(Rules.Unreadable, place, "This kernel's signature cannot be read: spell it out as extern \"C\" __global__ void name(type parameter, ...)."));
        return null;
    }

    private static List<CppParameter>? ReadParameters(string path, SourceText text, string code, int start, int end, string kernel, List<Finding> findings)
    {
        var parameters = new List<CppParameter>();
        if (string.IsNullOrWhiteSpace(code.Substring(start, end - start)) || code.Substring(start, end - start).Trim() == "void") return parameters;
        int depth = 0, from = start;
        for (int i = start; i <= end; i++)
        {
            if (i < end && code[i] is '<' or '(' or '[') depth++;
            else if (i < end && code[i] is '>' or ')' or ']') depth--;
            if (i < end && (code[i] != ',' || depth > 0)) continue;
            string declaration = code.Substring(from, i - from);
            Match match = Parameter.Match(declaration.Trim());
            int lead = declaration.Length - declaration.TrimStart().Length;
            Place place = Place.Of(path, text, from + lead, Math.Max(1, declaration.Trim().Length));
            if (!match.Success)
            {
                findings.Add(new Finding(Rules.Unreadable, place, $"Parameter {parameters.Count} of kernel {kernel} cannot be read: write it as 'type name'."));
                return null;
            }

            parameters.Add(new CppParameter(Canonical(match.Groups["type"].Value), match.Groups["name"].Value, place));
            from = i + 1;
        }

        return parameters;
    }

    private static IEnumerable<CppStruct> ReadStructs(string path, SourceText text, string code)
    {
        foreach (Match match in StructHead.Matches(code).Cast<Match>())
        {
            var fields = new List<CppField>();
            int at = match.Groups["body"].Index;
            foreach (string declaration in match.Groups["body"].Value.Split(';'))
            {
                Match field = Field.Match(declaration.Trim());
                int start = at + declaration.Length - declaration.TrimStart().Length;
                at += declaration.Length + 1;
                if (declaration.Trim().Length == 0) continue;
                Place place = Place.Of(path, text, start, declaration.Trim().Length);
                int count = field.Groups["count"].Success ? int.Parse(field.Groups["count"].Value, CultureInfo.InvariantCulture) : 1;
                fields.Add(field.Success
                    ? new CppField(Canonical(field.Groups["type"].Value), field.Groups["name"].Value, count, place)
                    : new CppField(declaration.Trim(), "", 1, place));
            }

            int alignment = match.Groups["align"].Success ? int.Parse(match.Groups["align"].Value, CultureInfo.InvariantCulture) : 1;
            yield return new CppStruct(match.Groups["name"].Value, alignment, new(fields), At(path, text, match.Groups["name"]));
        }
    }

    /// <summary>A type without qualifiers, with single blanks between words and none before stars: <c>unsigned int*</c>.</summary>
    private static string Canonical(string type)
    {
        string plain = Blank.Replace(Qualifier.Replace(type, " "), " ").Trim();
        return Regex.Replace(plain, @"\s*(\*|&)\s*", "$1").Replace("std::", "");
    }

    private static int Closing(string code, int open)
    {
        int depth = 0;
        for (int i = open; i < code.Length; i++)
        {
            if (code[i] == '(') depth++;
            else if (code[i] == ')' && --depth == 0) return i;
        }

        return -1;
    }

    private static Place At(string path, SourceText text, Group group) => Place.Of(path, text, group.Index, group.Length);
}
