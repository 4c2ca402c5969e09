using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis.Text;

namespace Foretoken.Generators.Kernels;

/// <summary>Reads of PTX what a launch needs: the stamp, the entries and their parameters (PTX ISA, kernel function parameters).</summary>
internal static class PtxReader
{
    private static readonly Regex Stamp = new(@"^// source sha256: (?<hash>[0-9a-f]{64})\s*$", RegexOptions.Multiline | RegexOptions.CultureInvariant);
    private static readonly Regex Entry = new(@"^\s*(?:\.visible\s+|\.weak\s+)?\.entry\s+(?<name>[\w$]+)\s*(?:\((?<list>[^)]*)\))?(?<tail>[^{;]*)\{", RegexOptions.Multiline | RegexOptions.CultureInvariant);
    private static readonly Regex MaxThreads = new(@"\.maxntid\s+(?<x>\d{1,9})(?:\s*,\s*(?<y>\d{1,9}))?(?:\s*,\s*(?<z>\d{1,9}))?", RegexOptions.CultureInvariant);

    private static readonly Regex Parameter = new(
        @"\.param\s+(?:\.align\s+\d+\s+)?\.(?<type>[busf](?:8|16|32|64))(?:\s+\.ptr(?:\s+\.(?:global|const|shared|local))?(?:\s+\.align\s+\d+)?)?\s+[\w$]+\s*(?:\[(?<count>\d{1,7})\])?\s*$",
        RegexOptions.CultureInvariant);

    private static readonly Regex DynamicShared = new(@"^\s*\.extern\s+\.shared\b", RegexOptions.Multiline | RegexOptions.CultureInvariant);

    public static PtxFile Read(string path, SourceText text)
    {
        string ptx = text.ToString();
        var entries = new List<PtxEntry>();
        var findings = new List<Finding>();
        foreach (Match match in Entry.Matches(ptx).Cast<Match>())
        {
            Place place = Place.Of(path, text, match.Groups["name"].Index, match.Groups["name"].Length);
            var shapes = new List<ParameterShape>();
            foreach (string declaration in match.Groups["list"].Value.Split(',').Select(p => p.Trim()).Where(p => p.Length > 0))
            {
                if (ShapeOf(declaration) is { } shape) shapes.Add(shape);
                else findings.Add(new Finding(Rules.Unreadable, place, $"Entry {match.Groups["name"].Value} has a parameter that cannot be read: '{declaration}'."));
            }

            entries.Add(new PtxEntry(match.Groups["name"].Value, new(shapes), ThreadsOf(match.Groups["tail"].Value), place));
        }

        Match stamp = Stamp.Match(ptx);
        return new PtxFile(
            System.IO.Path.GetFileNameWithoutExtension(path), stamp.Success ? stamp.Groups["hash"].Value : null, DynamicShared.IsMatch(ptx),
            new(entries), new(findings), Place.Of(path, text, 0, 1));
    }

    private static ParameterShape? ShapeOf(string declaration)
    {
        Match match = Parameter.Match(declaration);
        if (!match.Success) return null;
        string type = match.Groups["type"].Value;
        int bytes = int.Parse(type.Substring(1), CultureInfo.InvariantCulture) / 8;
        if (match.Groups["count"].Success)
            return new ParameterShape(ParameterKind.Bytes, bytes * int.Parse(match.Groups["count"].Value, CultureInfo.InvariantCulture));
        return new ParameterShape(type[0] == 'f' ? ParameterKind.Float : ParameterKind.Integer, bytes);
    }

    private static int ThreadsOf(string tail)
    {
        Match match = MaxThreads.Match(tail);
        if (!match.Success) return 0;
        return new[] { "x", "y", "z" }.Select(d => match.Groups[d]).Where(g => g.Success)
            .Aggregate(1, (product, g) => product * int.Parse(g.Value, CultureInfo.InvariantCulture));
    }
}
