using System.Runtime.InteropServices;
using Foretoken.Backends.Cuda;
using Foretoken.Generators.Driver;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using static Foretoken.Tests.Generators.GeneratorHarness;

namespace Foretoken.Tests.Generators;

public sealed class NativeTableGeneratorTests
{
    private const string Table = """
        using Foretoken.Backends.Cuda;
        namespace Sample;
        internal enum Code { Ok, Bad }
        [NativeTable(typeof(Code), "libsample.so.1", "sample.dll")]
        internal sealed unsafe partial class Sample
        {
            [NativeFunction("sample_open_v2")]
            public partial void Open(out nint handle, uint flags);

            [NativeFunction("sample_close")]
            public partial Code Close(nint handle);

            private void Fail(Code result, string call) => throw new System.InvalidOperationException($"{call}: {result}");
        }
        """;

    [Fact]
    public void Table_and_wrappers_compile_and_can_be_filled_with_managed_functions()
    {
        const string use = """
            using System.Runtime.InteropServices;
            namespace Sample;
            internal static unsafe class Use
            {
                public static Sample Make() => new(new SampleTable { sample_open_v2 = &Open, sample_close = &Close });

                [UnmanagedCallersOnly]
                private static Code Open(nint* handle, uint flags) { *handle = (nint)flags; return Code.Ok; }

                [UnmanagedCallersOnly]
                private static Code Close(nint handle) => Code.Bad;
            }
            """;
        var run = Run(new NativeTableGenerator(), Compile(Table, use));
        Assert.Empty(run.Generator);
        Assert.Empty(run.Compiler);
    }

    [Fact]
    public void Function_of_another_signature_does_not_fit_the_table()
    {
        const string use = """
            using System.Runtime.InteropServices;
            namespace Sample;
            internal static unsafe class Use
            {
                public static SampleTable Make() => new() { sample_close = &Close };

                [UnmanagedCallersOnly]
                private static Code Close(uint handle) => Code.Bad;
            }
            """;
        Assert.Contains(Run(new NativeTableGenerator(), Compile(Table, use)).Compiler, d => d.Severity == DiagnosticSeverity.Error && d.Location.SourceTree!.ToString() == use);
    }

    [Theory]
    [InlineData("unsafe partial class", "unsafe class", "FTK101", "partial class")]
    [InlineData("private void Fail(Code result, string call)", "private void Throw(Code result, string call)", "FTK101", "Fail(Code result, string call)")]
    [InlineData("public partial Code Close(nint handle);", "public partial int Close(nint handle);", "FTK101", "must return nothing (checked) or Code")]
    [InlineData("out nint handle, uint flags", "out nint handle, string flags", "FTK102", "flags")]
    [InlineData("sample_close", "sample_open_v2", "FTK103", "Open already calls sample_open_v2")]
    public void Table_that_cannot_be_written_is_refused(string old, string changed, string rule, string words)
    {
        Diagnostic found = Run(new NativeTableGenerator(), Compile(Table.Replace(old, changed, StringComparison.Ordinal))).Generator.First(d => d.Id == rule);
        Assert.Contains(words, found.GetMessage(System.Globalization.CultureInfo.InvariantCulture), StringComparison.Ordinal);
        Assert.True(found.Location.SourceSpan.Length > 0);
    }

    [Fact]
    public void Unrelated_changes_take_the_table_from_the_cache()
    {
        Compilation compilation = Compile(Table);
        GeneratorDriver driver = Driver(new NativeTableGenerator()).RunGenerators(compilation);
        compilation = compilation.AddSyntaxTrees(CSharpSyntaxTree.ParseText("class Unrelated { }", new(LanguageVersion.Preview)));
        driver = driver.RunGenerators(compilation);
        Assert.All(
            Reasons(driver.GetRunResult(), NativeTableGenerator.TableStep),
            r => Assert.True(r is IncrementalStepRunReason.Cached or IncrementalStepRunReason.Unchanged, r.ToString()));
    }

    [Fact]
    public void Absent_library_and_absent_function_are_reasons_and_no_errors()
    {
        Assert.Equal("libnowhere.so.1 and nowhere.dll cannot be loaded", ReasonOf("\"libnowhere.so.1\", \"nowhere.dll\""));
        if (OperatingSystem.IsLinux()) // the C library is there and has no such function
            Assert.Equal("libc.so.6 has no function sample_open_v2: it is older than this build needs", ReasonOf("\"libnowhere.so.1\", \"libc.so.6\""));
    }

    /// <summary>Compiles the table over other libraries, loads the assembly and asks for them.</summary>
    private static string ReasonOf(string libraries)
    {
        CSharpCompilation compilation = Compile(Table.Replace("\"libsample.so.1\", \"sample.dll\"", libraries, StringComparison.Ordinal));
        Driver(new NativeTableGenerator()).RunGeneratorsAndUpdateCompilation(compilation, out Compilation output, out _);
        using var image = new MemoryStream();
        Assert.True(output.Emit(image).Success);
        var context = new System.Runtime.Loader.AssemblyLoadContext("sample", isCollectible: true);
        image.Position = 0;
        object?[] arguments = [null];
        Type type = context.LoadFromStream(image).GetType("Sample.Sample", throwOnError: true)!;
        Assert.Null(type.GetMethod("TryLoad", System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Static)!.Invoke(null, arguments));
        context.Unload();
        return (string)arguments[0]!;
    }

    [Fact]
    public void Missing_function_is_named()
    {
        var empty = default(CudaDriverTable);
        Assert.Equal("cuInit", empty.FirstMissing());
        Assert.Contains("cuInit", Assert.Throws<ArgumentException>(() => new CudaDriver(default)).Message, StringComparison.Ordinal);
        Assert.Equal("cuInit", CudaDriverTable.Exports[0]);
        Assert.Equal(CudaDriverTable.Exports.Length, CudaDriverTable.Exports.ToArray().Distinct().Count());
    }

    [Fact]
    public void Layouts_are_those_of_the_driver()
    {
        Assert.Equal(56, Marshal.SizeOf<CudaLaunchConfig>());
        Assert.Equal(72, Marshal.SizeOf<CudaLaunchAttribute>());
        Assert.Equal(32, (int)Marshal.OffsetOf<CudaLaunchConfig>(nameof(CudaLaunchConfig.Stream)));
        Assert.Equal(40, (int)Marshal.OffsetOf<CudaLaunchConfig>(nameof(CudaLaunchConfig.Attributes)));
        Assert.Equal(48, (int)Marshal.OffsetOf<CudaLaunchConfig>(nameof(CudaLaunchConfig.AttributeCount)));
        Assert.Equal(8, (int)Marshal.OffsetOf<CudaLaunchAttribute>(nameof(CudaLaunchAttribute.Value)));
    }
}
