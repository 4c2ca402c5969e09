using System.Collections.Immutable;
using System.Text;
using Foretoken.Backends.Cuda;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Text;

namespace Foretoken.Tests.Generators;

/// <summary>A file among the additional files of a compilation.</summary>
internal sealed class InMemoryFile(string path, string content) : AdditionalText
{
    public override string Path => path;

    public override SourceText GetText(CancellationToken cancellationToken = default) => SourceText.From(content, Encoding.UTF8);
}

/// <summary>Runs a generator with Roslyn's own driver over sources and additional files given as text.</summary>
internal static class GeneratorHarness
{
    private static readonly CSharpParseOptions Parse = new(LanguageVersion.Preview);

    private static readonly ImmutableArray<MetadataReference> References =
    [
        .. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(p => Path.GetFileName(p).StartsWith("System.", StringComparison.Ordinal) || Path.GetFileName(p) is "netstandard.dll" or "mscorlib.dll")
            .Select(p => MetadataReference.CreateFromFile(p)),
        MetadataReference.CreateFromFile(typeof(CudaException).Assembly.Location),
    ];

    /// <summary>A compilation that may see the engine's internal types, as the engine's own generated code does.</summary>
    public static CSharpCompilation Compile(params string[] sources) => CSharpCompilation.Create(
        "Foretoken.Tests", sources.Select(s => CSharpSyntaxTree.ParseText(s, Parse)), References,
        new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, allowUnsafe: true, nullableContextOptions: NullableContextOptions.Enable));

    /// <summary>A driver that records which steps ran again.</summary>
    public static GeneratorDriver Driver(IIncrementalGenerator generator, params AdditionalText[] files) => CSharpGeneratorDriver.Create(
        [generator.AsSourceGenerator()], files, Parse, optionsProvider: null,
        new GeneratorDriverOptions(IncrementalGeneratorOutputKind.None, trackIncrementalGeneratorSteps: true));

    /// <summary>
    /// Runs once: the diagnostics of the generator, and of the compilation with what was generated (errors and warnings, but for CS0436: the engine, which the
    /// compilation refers to, has a list of kernels of its own).
    /// </summary>
    public static (ImmutableArray<Diagnostic> Generator, ImmutableArray<Diagnostic> Compiler, GeneratorDriverRunResult Result) Run(
        IIncrementalGenerator generator, CSharpCompilation compilation, params AdditionalText[] files)
    {
        GeneratorDriver driver = Driver(generator, files).RunGeneratorsAndUpdateCompilation(compilation, out Compilation output, out ImmutableArray<Diagnostic> found);
        return (found, [.. output.GetDiagnostics().Where(d => d.Severity >= DiagnosticSeverity.Warning && d.Id != "CS0436")], driver.GetRunResult());
    }

    /// <summary>Why the outputs of a named step are what they are, over all of its runs.</summary>
    public static IncrementalStepRunReason[] Reasons(GeneratorDriverRunResult result, string step) =>
        [.. result.Results.Single().TrackedSteps[step].SelectMany(s => s.Outputs).Select(o => o.Reason)];
}
