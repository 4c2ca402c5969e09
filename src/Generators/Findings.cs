using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Text;

namespace Foretoken.Generators;

/// <summary>A place in a file, comparable by value.</summary>
internal sealed record Place(string Path, int Start, int Length, int Line, int Column, int EndColumn)
{
    /// <summary>The place of <paramref name="length"/> characters from <paramref name="start"/> on; they are shown on one line.</summary>
    public static Place Of(string path, SourceText text, int start, int length)
    {
        LinePosition position = text.Lines.GetLinePosition(start);
        int end = Math.Min(position.Character + length, text.Lines[position.Line].Span.Length);
        return new Place(path, start, length, position.Line, position.Character, Math.Max(end, position.Character));
    }

    public static Place Of(Location location)
    {
        FileLinePositionSpan span = location.GetLineSpan();
        return new Place(
            span.Path, location.SourceSpan.Start, location.SourceSpan.Length, span.StartLinePosition.Line, span.StartLinePosition.Character,
            span.EndLinePosition.Line == span.StartLinePosition.Line ? span.EndLinePosition.Character : span.StartLinePosition.Character + 1);
    }

    public Location ToLocation() => Location.Create(
        Path, new TextSpan(Start, Length), new LinePositionSpan(new LinePosition(Line, Column), new LinePosition(Line, EndColumn)));
}

/// <summary>A diagnostic as a value: which rule, where, with what words.</summary>
internal sealed record Finding(string Rule, Place Place, EquatableArray<string> Words)
{
    public Finding(string rule, Place place, params string[] words)
        : this(rule, place, new EquatableArray<string>(words))
    {
    }

    public Diagnostic ToDiagnostic() => Diagnostic.Create(Rules.Of(Rule), Place.ToLocation(), [.. Words]);
}

/// <summary>Everything that the generators refuse.</summary>
internal static class Rules
{
    public const string PtxMissing = "FTK001", PtxStale = "FTK002", ParameterCount = "FTK003", ParameterKind = "FTK004", NoMapping = "FTK005",
        EntryUnmatched = "FTK006", NameTaken = "FTK007", Unreadable = "FTK008", PtxWithoutSource = "FTK009", HeaderMissing = "FTK010",
        TableShape = "FTK101", TableParameter = "FTK102", TableDuplicate = "FTK103";

    private const string Remedy = "Run: dotnet cake --target=Ptx";

    private static readonly Dictionary<string, DiagnosticDescriptor> All = new[]
    {
        Rule(PtxMissing, "PTX is missing", "{0} has no {1}. " + Remedy + "."),
        Rule(PtxStale, "PTX is stale", "{0} was not made from this source and its headers ({1}). " + Remedy + "."),
        Rule(ParameterCount, "Signature and PTX differ in count", "Kernel {0} has {1} parameters here and {2} in {3}. " + Remedy + "."),
        Rule(ParameterKind, "Signature and PTX differ in width or kind", "Parameter {0} of kernel {1} is {2} here and {3} in {4}. " + Remedy + "."),
        Rule(NoMapping, "No typed mapping", "Parameter {0} of kernel {1} has type '{2}', which has no C# type: {3}"),
        Rule(EntryUnmatched, "Kernel without counterpart", "{0}"),
        Rule(NameTaken, "Name is taken", "'{0}' would be named {1}, as {2} is. Rename one of them."),
        Rule(Unreadable, "Unreadable", "{0}"),
        Rule(PtxWithoutSource, "PTX without source", "{0} has no source {1}. Delete it, or add the source."),
        Rule(HeaderMissing, "Header is missing", "{0} includes \"{1}\", which is not among the files of cu/."),
        Rule(TableShape, "Not a function table", "{0}"),
        Rule(TableParameter, "Not a native parameter", "Parameter {0} of {1} has type {2}: only unmanaged types, pointers and 'out' of them can be passed."),
        Rule(TableDuplicate, "Export is used twice", "{0} already calls {1}."),
    }.ToDictionary(d => d.Id);

    public static DiagnosticDescriptor Of(string id) => All[id];

    private static DiagnosticDescriptor Rule(string id, string title, string message) =>
        new(id, title, message, "Foretoken.Cuda", DiagnosticSeverity.Error, isEnabledByDefault: true);
}
