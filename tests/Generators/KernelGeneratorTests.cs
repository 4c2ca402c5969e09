using System.Globalization;
using Foretoken.Generators;
using Foretoken.Generators.Kernels;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Text;
using static Foretoken.Tests.Generators.GeneratorHarness;

namespace Foretoken.Tests.Generators;

public sealed class KernelGeneratorTests
{
    private const string Source = """
        // a comment with extern "C" __global__ void not_a_kernel(int x)
        #include "common.cuh"
        extern "C" __global__ void __launch_bounds__(256, 2) scale_rows(const bf16* __restrict__ values, float factor, int rows, u8* out)
        {
            out[0] = 1;
        }
        """;

    private const string Header = "#pragma once\ntypedef unsigned char u8;\n";

    private const string Entry = """
        .version 8.0
        .target sm_80
        .address_size 64
        .visible .entry scale_rows(
        	.param .u64 .ptr .global .align 2 scale_rows_param_0,
        	.param .f32 scale_rows_param_1,
        	.param .u32 scale_rows_param_2,
        	.param .u64 scale_rows_param_3
        )
        .maxntid 256, 1, 1
        .minnctapersm 2
        {
        	ret;
        }
        """;

    private readonly Dictionary<string, string> _texts = []; // the content that a path had last

    [Fact]
    public void Kernel_gets_a_struct_with_typed_fields_that_compiles()
    {
        const string use = """
            using Foretoken.Backends.Cuda;
            using Foretoken.Backends.Cuda.Kernels;
            using Foretoken.Numerics;
            internal static class Use
            {
                public static void Launch(CudaStream stream, DevicePointer<BFloat16> values, DevicePointer<byte> result) =>
                    new ScaleRows { Values = values, Factor = 2f, Rows = 3, Out = result, Grid = (3, 2), Block = ScaleRows.MaxThreads, SharedBytes = 16 }.Launch(stream);
            }
            """;
        var run = Run(new KernelGenerator(), Compile(use), Files(Source, Header, Stamped(Entry)));
        Assert.Empty(run.Generator);
        Assert.Empty(run.Compiler);
        string text = run.Result.GeneratedTrees.Single(t => t.FilePath.EndsWith("Kernels.module.g.cs", StringComparison.Ordinal)).ToString();
        Assert.Contains("public const int MaxThreads = 256;", text, StringComparison.Ordinal);
        Assert.Contains("stackalloc void*[4]", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Values = default(DevicePointer<float>)", "CS0029")] // another element type
    [InlineData("Values = values, Factor = 2.0", "CS0664")] // a double
    [InlineData("Values = values, Rows = 3L", "CS0266")] // too wide
    [InlineData("Values = values", "CS9035")] // the others are missing
    public void Wrong_or_missing_argument_does_not_compile(string arguments, string error)
    {
        string use = $$"""
            using Foretoken.Backends.Cuda;
            using Foretoken.Backends.Cuda.Kernels;
            using Foretoken.Numerics;
            internal static class Use
            {
                public static void Launch(CudaStream stream, DevicePointer<BFloat16> values) => new ScaleRows { {{arguments}} }.Launch(stream);
            }
            """;
        var run = Run(new KernelGenerator(), Compile(use), Files(Source, Header, Stamped(Entry)));
        Assert.Empty(run.Generator);
        Assert.Contains(run.Compiler, d => d.Id == error);
    }

    [Fact]
    public void Kernels_of_one_signature_share_a_struct_and_are_told_apart_by_an_enumeration()
    {
        const string use = """
            using Foretoken.Backends.Cuda;
            using Foretoken.Backends.Cuda.Kernels;
            internal static class Use
            {
                public static void Launch(CudaStream stream, DevicePointer<float> values, bool wide) => new AddKv
                {
                    Kernel = wide ? AddKvKernel.F32 : AddKvKernel.Int8, Values = values, Count = 3, Grid = 1, Block = AddKv.MaxThreads,
                }.Launch(stream);

                public static void Other(CudaStream stream, DevicePointer<float> values, DevicePointer<uint> words)
                {
                    new AddWords { Values = words, Count = 3, Grid = 1, Block = 1 }.Launch(stream); // another type
                    new AddAll { Values = values, Number = 3, Grid = 1, Block = 1 }.Launch(stream); // another name
                    new Copy { Values = values, Count = 3, Grid = 1, Block = 1 }.Launch(stream); // no word in common
                    int[] numbers = { KernelRegistry.AddKvF32, (int)AddKvKernel.F32, KernelRegistry.Copy, Copy.Index };
                }
            }
            """;
        var run = RunAlike(use);
        Assert.Empty(run.Generator);
        Assert.Empty(run.Compiler);
        string text = run.Result.GeneratedTrees.Single(t => t.FilePath.EndsWith("Kernels.module.g.cs", StringComparison.Ordinal)).ToString();
        Assert.Contains("F32 = KernelRegistry.AddKvF32,", text, StringComparison.Ordinal);
        Assert.Contains("Int8 = KernelRegistry.AddKvInt8,", text, StringComparison.Ordinal);
        Assert.Contains("public const int MaxThreads = 64;", text, StringComparison.Ordinal); // 128 and 64
        Assert.DoesNotContain("struct AddKvF32", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Values = values, Count = 3", "CS9035")] // which of them is not said
    [InlineData("Kernel = OtherKvKernel.F32, Values = values, Count = 3", "CS0266")] // a kernel of another signature
    [InlineData("Kernel = KernelRegistry.Copy, Values = values, Count = 3", "CS0266")] // a number
    public void Kernel_that_is_not_of_the_signature_does_not_compile(string arguments, string error)
    {
        string use = $$"""
            using Foretoken.Backends.Cuda;
            using Foretoken.Backends.Cuda.Kernels;
            internal static class Use
            {
                public static void Launch(CudaStream stream, DevicePointer<float> values) => new AddKv { {{arguments}}, Grid = 1, Block = 1 }.Launch(stream);
            }
            """;
        var run = RunAlike(use);
        Assert.Empty(run.Generator);
        Assert.Contains(run.Compiler, d => d.Id == error);
    }

    [Theory]
    [InlineData("add_kv(float* values, int count, int more)", "AddKv")]
    [InlineData("add_kv_kernel(float* values, int count, int more)", "AddKvKernel")]
    public void Shared_struct_and_its_enumeration_must_not_take_the_name_of_a_kernel(string kernel, string name)
    {
        Diagnostic found = RunAlike("", kernel).Generator.Single(d => d.Id == "FTK007");
        Assert.Contains($"would be named {name}, as {kernel[..kernel.IndexOf('(')]} of module.cu is", Message(found), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("product product_n8")] // one has no word of its own
    [InlineData("_ __")] // no words at all
    [InlineData("scale_n8 product_n8")] // nothing in common
    public void Kernels_that_share_no_word_beside_one_of_their_own_have_structs_of_their_own(string names)
    {
        LaunchKernel[] kernels = [.. names.Split(' ').Select(n => new LaunchKernel(n, Names.Pascal(n), n, 0, false, default, new Place("", 0, 0, 0, 0, 0)))];
        Assert.Equal(kernels.Select(k => k.Struct), LaunchFamily.Of(kernels).Select(f => f.Struct));
        Assert.All(LaunchFamily.Of(kernels), f => Assert.False(f.IsChoice));
    }

    [Fact]
    public void Missing_parameter_in_the_ptx_is_reported_at_the_kernel()
    {
        Diagnostic found = Single(Entry.Replace(",\n\t.param .u64 scale_rows_param_3", "", StringComparison.Ordinal));
        Assert.Equal("FTK003", found.Id);
        Assert.Equal("Kernel scale_rows has 4 parameters here and 3 in cu/ptx/module.ptx. Run: dotnet cake --target=Ptx.", Message(found));
        Assert.Equal("scale_rows", Text(found));
        Assert.Equal(("/repo/cu/module.cu", 2), Position(found));
    }

    [Theory]
    [InlineData(".param .f32 scale_rows_param_1", ".param .f64 scale_rows_param_1", "factor", "a float of 32 bits", "a float of 64 bits")]
    [InlineData(".param .f32 scale_rows_param_1", ".param .u32 scale_rows_param_1", "factor", "a float of 32 bits", "an integer of 32 bits")]
    [InlineData(".param .u32 scale_rows_param_2", ".param .u64 scale_rows_param_2", "rows", "an integer of 32 bits", "an integer of 64 bits")]
    [InlineData(".param .u64 scale_rows_param_3", ".param .align 8 .b8 scale_rows_param_3[24]", "out", "an integer of 64 bits", "a structure of 24 bytes")]
    public void Difference_of_width_or_kind_is_reported_at_the_parameter(string old, string changed, string parameter, string here, string there)
    {
        Diagnostic found = Single(Entry.Replace(old, changed, StringComparison.Ordinal));
        Assert.Equal("FTK004", found.Id);
        Assert.StartsWith($"Parameter {parameter} of kernel scale_rows is {here} here and {there} in cu/ptx/module.ptx.", Message(found), StringComparison.Ordinal);
        Assert.EndsWith(parameter, Text(found), StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_ptx_is_reported_at_the_source()
    {
        Diagnostic found = Assert.Single(Run(new KernelGenerator(), Compile(), File("cu/module.cu", Source), File("cu/common.cuh", Header)).Generator);
        Assert.Equal(("FTK001", "module.cu has no cu/ptx/module.ptx. Run: dotnet cake --target=Ptx."), (found.Id, Message(found)));
        Assert.Equal(("/repo/cu/module.cu", 0), Position(found));
    }

    [Fact]
    public void Ptx_is_stale_when_the_source_a_header_or_the_stamp_changed()
    {
        string ptx = Stamped(Entry);
        foreach (AdditionalText[] files in new[]
        {
            Files(Source + "\n", Header, ptx), Files(Source, Header + "\n", ptx), Files(Source, Header, Entry),
        })
        {
            Diagnostic found = Assert.Single(Run(new KernelGenerator(), Compile(), files).Generator);
            Assert.Equal("FTK002", found.Id);
            Assert.Contains("Run: dotnet cake --target=Ptx.", Message(found), StringComparison.Ordinal);
        }

        Assert.Empty(Run(new KernelGenerator(), Compile(), Files(Source.ReplaceLineEndings("\r\n"), Header, ptx)).Generator); // line ends do not count
    }

    [Theory]
    [InlineData("std::vector<float> values", "std::vector<float>")]
    [InlineData("texture_t* values", "texture_t*")]
    [InlineData("float& values", "float&")]
    public void Parameter_without_mapping_is_reported_with_its_type(string parameter, string type)
    {
        string source = Source.Replace("const bf16* __restrict__ values", parameter, StringComparison.Ordinal);
        Diagnostic found = Single(Entry, source);
        Assert.Equal("FTK005", found.Id);
        Assert.StartsWith($"Parameter values of kernel scale_rows has type '{type.Replace("std::", "", StringComparison.Ordinal)}', which has no C# type", Message(found), StringComparison.Ordinal);
        Assert.Equal(parameter, Text(found));
    }

    [Fact]
    public void Entry_without_signature_and_kernel_without_entry_are_reported()
    {
        string source = Source + "\nextern \"C\" __global__ void second(int a) { }\n";
        Diagnostic kernel = Single(Entry, source);
        Assert.Equal(("FTK006", "second"), (kernel.Id, Text(kernel)));
        Diagnostic entry = Single(Entry + "\n.visible .entry made_by_macro(\n\t.param .u32 a\n)\n{\n\tret;\n}\n");
        Assert.Equal(("FTK006", "made_by_macro"), (entry.Id, Text(entry)));
        Assert.Equal("/repo/cu/ptx/module.ptx", Position(entry).Path);
    }

    [Fact]
    public void Structures_by_value_are_laid_out_as_in_cpp_and_checked_for_size()
    {
        const string source = """
            struct tile { unsigned char kind; long long offset; float weights[3]; const float* data; };
            extern "C" __global__ void run_tile(tile t) { }
            """;
        const string entry = ".visible .entry run_tile(\n\t.param .align 8 .b8 run_tile_param_0[40]\n)\n{\n\tret;\n}\n";
        const string use = """
            using Foretoken.Backends.Cuda;
            using Foretoken.Backends.Cuda.Kernels;
            internal static class Use
            {
                public static void Launch(CudaStream stream) =>
                    new RunTile { T = new Tile { Kind = 1, Offset = 2, Weights2 = 3f, Data = default(DevicePointer<float>) }, Grid = 1, Block = 32 }.Launch(stream);
            }
            """;
        var run = Run(new KernelGenerator(), Compile(use), File("cu/module.cu", source), File("cu/ptx/module.ptx", Stamped(entry, source, [])));
        Assert.Empty(run.Generator);
        Assert.Empty(run.Compiler);
        string text = run.Result.GeneratedTrees.Single(t => t.FilePath.EndsWith("KernelStructs.g.cs", StringComparison.Ordinal)).ToString();
        Assert.Contains("Size = 40", text, StringComparison.Ordinal); // 1, 7 of padding, 8, 12, 4 of padding, 8
        string wrong = entry.Replace("[40]", "[48]", StringComparison.Ordinal);
        Diagnostic found = Assert.Single(
            Run(new KernelGenerator(), Compile(), File("cu/module.cu", source), File("cu/ptx/module.ptx", Stamped(wrong, source, []))).Generator);
        Assert.Equal("FTK004", found.Id);
    }

    [Fact]
    public void Structures_of_headers_are_shared_by_sources_and_others_must_not_take_their_name()
    {
        const string header = "struct tile { int rows; float* data; };\n";
        const string entry = ".visible .entry NAME(\n\t.param .align 8 .b8 NAME_param_0[16]\n)\n{\n\tret;\n}\n";
        AdditionalText[] With(string name, string source, bool usesHeader)
        {
            (string, string)[] headers = usesHeader ? [("tile.cuh", header)] : [];
            return [File($"cu/{name}.cu", source), File($"cu/ptx/{name}.ptx", Stamped(entry.Replace("NAME", name, StringComparison.Ordinal), source, headers, $"{name}.cu"))];
        }

        const string first = "#include \"tile.cuh\"\nextern \"C\" __global__ void first(tile t) { }\n", second = "#include \"tile.cuh\"\nextern \"C\" __global__ void second(tile t) { }\n";
        AdditionalText[] shared = [File("cu/tile.cuh", header), .. With("first", first, true), .. With("second", second, true)];
        var run = Run(new KernelGenerator(), Compile(), shared);
        Assert.Empty(run.Generator);
        Assert.Empty(run.Compiler);
        AdditionalText[] third = With("third", "struct tile { long long rows; long long columns; };\nextern \"C\" __global__ void third(tile t) { }\n", false);
        Diagnostic layout = Assert.Single(Run(new KernelGenerator(), Compile(), [.. shared, .. third]).Generator);
        Assert.Equal(("FTK007", "tile", "/repo/cu/third.cu"), (layout.Id, Text(layout), Position(layout).Path));
        AdditionalText[] kernel = With("tile", "#include \"tile.cuh\"\nextern \"C\" __global__ void tile(tile t) { }\n", true);
        Assert.Equal("FTK007", Assert.Single(Run(new KernelGenerator(), Compile(), [shared[0], .. kernel]).Generator).Id);
    }

    [Theory]
    [InlineData("struct alignas(0) odd { };\nextern \"C\" __global__ void k(odd o) { }", "FTK005")]
    [InlineData("struct big { float values[99999999999]; };\nextern \"C\" __global__ void k(big b) { }", "FTK005")]
    [InlineData("struct loop { loop* next; };\nextern \"C\" __global__ void k(loop l) { }", "FTK005")]
    public void Structures_that_cannot_be_laid_out_are_refused(string source, string rule)
    {
        const string entry = ".visible .entry k(\n\t.param .align 8 .b8 k_param_0[99999999999]\n)\n.maxntid 99999999999, 1, 1\n{\n\tret;\n}\n";
        var run = Run(new KernelGenerator(), Compile(), File("cu/module.cu", source), File("cu/ptx/module.ptx", Stamped(entry, source, [])));
        Assert.Contains(run.Generator, d => d.Id == rule);
        Assert.DoesNotContain(run.Generator, d => d.Id.StartsWith("CS", StringComparison.Ordinal)); // no exception of the generator
    }

    [Fact]
    public void Headers_of_one_name_in_two_folders_are_no_exception() =>
        Assert.DoesNotContain(Run(new KernelGenerator(), Compile(), [.. Files(Source, Header, Stamped(Entry)), File("cu/old/common.cuh", Header)]).Generator, d => d.Id.StartsWith("CS", StringComparison.Ordinal));

    [Fact]
    public void Files_cut_anywhere_are_read_without_an_exception()
    {
        const string structure = "struct alignas(16) tile { int kind; float weights[3]; };\n";
        string source = structure + Source, ptx = Stamped(Entry);
        for (int length = 0; length <= source.Length; length++) Assert.NotNull(CppReader.Read("/repo/cu/module.cu", SourceText.From(source[..length])));
        for (int length = 0; length <= ptx.Length; length++) Assert.NotNull(PtxReader.Read("/repo/cu/ptx/module.ptx", SourceText.From(ptx[..length])));
        CppFile whole = CppReader.Read("/repo/cu/module.cu", SourceText.From(source));
        Assert.Equal(("scale_rows", 4, "tile", 16), (whole.Kernels[0].Name, whole.Kernels[0].Parameters.Count, whole.Structs[0].Name, whole.Structs[0].Alignment));
    }

    [Theory]
    [InlineData("extern \"C\" __global__ void (int a) { }")]
    [InlineData("extern \"C\" __global__ void kernel(int) { }")]
    [InlineData("extern \"C\" __global__ void kernel(int a")]
    public void Signature_that_cannot_be_read_is_reported(string source)
    {
        Diagnostic found = Run(new KernelGenerator(), Compile(), File("cu/module.cu", source), File("cu/ptx/module.ptx", Stamped("", source, []))).Generator.First();
        Assert.Equal("FTK008", found.Id);
    }

    [Fact]
    public void Names_that_meet_and_files_that_miss_each_other_are_reported()
    {
        AdditionalText[] files = Files(Source, Header, Stamped(Entry));
        Diagnostic lost = Assert.Single(Run(new KernelGenerator(), Compile(), [.. files, File("cu/ptx/lost.ptx", Entry)]).Generator);
        Assert.Equal(("FTK009", "cu/ptx/lost.ptx has no source cu/lost.cu. Delete it, or add the source."), (lost.Id, Message(lost)));
        string twin = Source.Replace("scale_rows", "scaleRows", StringComparison.Ordinal), twinPtx = Entry.Replace("scale_rows", "scaleRows", StringComparison.Ordinal);
        Diagnostic taken = Run(
            new KernelGenerator(), Compile(),
            [.. files, File("cu/twin.cu", twin), File("cu/ptx/twin.ptx", Stamped(twinPtx, twin, [("common.cuh", Header)], "twin.cu"))]).Generator.Single(d => d.Id == "FTK007");
        Assert.Contains("ScaleRows", Message(taken), StringComparison.Ordinal);
        Diagnostic header = Run(new KernelGenerator(), Compile(), files[0], files[2]).Generator.Single(d => d.Id == "FTK010");
        Assert.Equal("common.cuh", Text(header));
    }

    [Fact]
    public void Only_what_a_change_touches_is_done_again()
    {
        var generator = new KernelGenerator();
        const string other = "extern \"C\" __global__ void other_kernel(int a) { }\n";
        const string otherEntry = ".visible .entry other_kernel(\n\t.param .u32 other_kernel_param_0\n)\n{\n\tret;\n}\n";
        AdditionalText[] files =
        [
            .. Files(Source, Header, Stamped(Entry)), File("cu/other.cu", other), File("cu/ptx/other.ptx", Stamped(otherEntry, other, [], "other.cu")),
        ];
        Compilation compilation = Compile();
        GeneratorDriver driver = Driver(generator, files).RunGenerators(compilation);

        // C# that has nothing to do with it: everything is taken from the cache
        compilation = compilation.AddSyntaxTrees(Microsoft.CodeAnalysis.CSharp.CSharpSyntaxTree.ParseText("class Unrelated { }", new(Microsoft.CodeAnalysis.CSharp.LanguageVersion.Preview)));
        driver = driver.RunGenerators(compilation);
        foreach (string step in new[] { KernelGenerator.SourceStep, KernelGenerator.PtxStep, KernelGenerator.ModuleStep, KernelGenerator.RegistryStep })
            Assert.All(Reasons(driver.GetRunResult(), step), r => Assert.True(r is IncrementalStepRunReason.Cached or IncrementalStepRunReason.Unchanged, $"{step}: {r}"));

        // a comment in one source and its new stamp: that file is read again, and no module comes out different
        string changed = Source + "// faster\n";
        driver = driver.ReplaceAdditionalText(files[0], File("cu/module.cu", changed))
            .ReplaceAdditionalText(files[2], File("cu/ptx/module.ptx", Stamped(Entry, changed, [("common.cuh", Header)])));
        driver = driver.RunGenerators(compilation);
        Assert.Single(Reasons(driver.GetRunResult(), KernelGenerator.SourceStep), r => r == IncrementalStepRunReason.Modified);
        Assert.All(Reasons(driver.GetRunResult(), KernelGenerator.ModuleStep), r => Assert.NotEqual(IncrementalStepRunReason.Modified, r));
        Assert.All(Reasons(driver.GetRunResult(), KernelGenerator.RegistryStep), r => Assert.NotEqual(IncrementalStepRunReason.Modified, r));
        Assert.All(
            driver.GetRunResult().Results.Single().TrackedOutputSteps.SelectMany(s => s.Value).SelectMany(s => s.Outputs),
            o => Assert.NotEqual(IncrementalStepRunReason.Modified, o.Reason));

        // a new parameter: that module is written again, the other is not
        string wider = changed.Replace("u8* out)", "u8* out, int more)", StringComparison.Ordinal);
        string widerEntry = Entry.Replace("scale_rows_param_3\n", "scale_rows_param_3,\n\t.param .u32 scale_rows_param_4\n", StringComparison.Ordinal);
        driver = driver.ReplaceAdditionalTexts([File("cu/module.cu", wider), files[1], File("cu/ptx/module.ptx", Stamped(widerEntry, wider, [("common.cuh", Header)])), files[3], files[4]]);
        driver = driver.RunGenerators(compilation);
        Assert.Empty(driver.GetRunResult().Diagnostics);
        Assert.Contains("More", driver.GetRunResult().GeneratedTrees.Single(t => t.FilePath.Contains("module", StringComparison.Ordinal)).ToString(), StringComparison.Ordinal);
        Assert.Single(Reasons(driver.GetRunResult(), KernelGenerator.ModuleStep), r => r is IncrementalStepRunReason.Modified or IncrementalStepRunReason.New);
    }

    /// <summary>Two pairs of kernels that share signature and first words, and three that share only one of both.</summary>
    private (System.Collections.Immutable.ImmutableArray<Diagnostic> Generator, System.Collections.Immutable.ImmutableArray<Diagnostic> Compiler, GeneratorDriverRunResult Result)
        RunAlike(string use, params string[] more)
    {
        string[] kernels =
        [
            "add_kv_f32(float* values, int count)", "copy(float* values, int count)", "add_kv_int8(float* values, int count)", "add_words(u32* values, int count)",
            "add_all(float* values, int number)", "other_kv_f32(float* values, int first, int count)", "other_kv_f16(float* values, int first, int count)", .. more,
        ];
        string source = string.Concat(kernels.Select(k => $"extern \"C\" __global__ void {k} {{ }}\n"));
        string ptx = string.Concat(kernels.Select(k => $".visible .entry {k[..k.IndexOf('(')]}(\n\t.param .u64 p0" +
            $"{string.Concat(Enumerable.Range(1, k.Count(c => c == ',')).Select(i => $",\n\t.param .u32 p{i}"))}\n)\n" +
            $"{(k.StartsWith("add_kv_", StringComparison.Ordinal) ? $".maxntid {(k.Contains("f32", StringComparison.Ordinal) ? 128 : 64)}, 1, 1\n" : "")}{{\n\tret;\n}}\n"));
        return Run(new KernelGenerator(), Compile(use), File("cu/module.cu", source), File("cu/ptx/module.ptx", Stamped(ptx, source, [])));
    }

    /// <summary>The only diagnostic over the PTX, stamped for the source.</summary>
    private Diagnostic Single(string ptx, string source = Source) =>
        Assert.Single(Run(new KernelGenerator(), Compile(), Files(source, Header, Stamped(ptx, source, [("common.cuh", Header)]))).Generator);

    private AdditionalText[] Files(string source, string header, string ptx) =>
        [File("cu/module.cu", source), File("cu/common.cuh", header), File("cu/ptx/module.ptx", ptx)];

    private InMemoryFile File(string path, string content)
    {
        _texts["/repo/" + path] = content;
        return new InMemoryFile("/repo/" + path, content);
    }

    private static string Stamped(string ptx) => Stamped(ptx, Source, [("common.cuh", Header)]);

    /// <summary>The stamp as build.cake writes it, computed here once more.</summary>
    private static string Stamped(string ptx, string source, (string Name, string Content)[] headers, string name = "module.cu") =>
        $"// source sha256: {Sha(string.Concat(headers.Prepend((Name: name, Content: source)).Select(f => $"{Sha(f.Content)}  {f.Name}\n")))}\n{ptx}";

    private static string Sha(string text) =>
        Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(text)));

    private static string Message(Diagnostic diagnostic) => diagnostic.GetMessage(CultureInfo.InvariantCulture);

    private static (string Path, int Line) Position(Diagnostic diagnostic)
    {
        FileLinePositionSpan span = diagnostic.Location.GetLineSpan();
        return (span.Path, span.StartLinePosition.Line);
    }

    /// <summary>The text that a diagnostic points at, taken from its span; the file is known by the diagnostic's path.</summary>
    private string Text(Diagnostic diagnostic)
    {
        TextSpan span = diagnostic.Location.SourceSpan;
        return _texts.TryGetValue(diagnostic.Location.GetLineSpan().Path, out string? text) ? text.Substring(span.Start, span.Length) : "";
    }
}
