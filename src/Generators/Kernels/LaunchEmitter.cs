namespace Foretoken.Generators.Kernels;

/// <summary>The C# of launch structs and of the list of kernels.</summary>
internal static class LaunchEmitter
{
    private const string Namespace = "Foretoken.Backends.Cuda.Kernels", Generator = nameof(KernelGenerator);

    public static string EmitModule(LaunchModule module)
    {
        var w = new SourceWriter(Generator, $"cu/{module.Module}.cu");
        w.Line("using Foretoken.Backends.Cuda;").Line().Open($"namespace {Namespace}");
        foreach (LaunchFamily family in LaunchFamily.Of(module.Kernels)) EmitFamily(w, family, module);
        return w.Close().ToString();
    }

    /// <summary>The structures that kernels take by value, each once: several sources may share one of a header.</summary>
    public static string EmitStructs(KernelRegistry registry)
    {
        var w = new SourceWriter(Generator, "all of cu/*.cu");
        w.Line("#pragma warning disable CS0649 // a field of a structure that no launch sets is 0");
        w.Line("using Foretoken.Backends.Cuda;").Line().Open($"namespace {Namespace}");
        foreach (LaunchStruct structure in registry.Structs) EmitStruct(w, structure);
        return w.Close().ToString();
    }

    public static string EmitRegistry(KernelRegistry registry)
    {
        var w = new SourceWriter(Generator, "all of cu/*.cu");
        w.Line("using Foretoken.Backends.Cuda;").Line().Open($"namespace {Namespace}");
        w.Line("/// <summary>All kernels, in the order of their names.</summary>");
        w.Open("internal static class KernelRegistry");
        for (int i = 0; i < registry.Kernels.Count; i++) w.Line($"public const int {registry.Kernels[i].Struct} = {i};");
        w.Line().Open("public static CudaKernelInfo[] All { get; } = new CudaKernelInfo[]");
        foreach (RegisteredKernel k in registry.Kernels)
            w.Line($"new CudaKernelInfo(\"{k.Name}\", \"{k.Module}\", {k.MaxThreads}, {(k.DynamicShared ? "true" : "false")}),");
        return w.Close("};").Close().Close().ToString();
    }

    private static void EmitFamily(SourceWriter w, LaunchFamily family, LaunchModule module)
    {
        LaunchKernel first = family.Kernels[0];
        string source = $"cu/{module.Module}.cu";
        if (family.IsChoice) EmitChoice(w, family, source);
        w.Line(family.IsChoice
            ? $"/// <summary>A launch of one of the kernels <see cref=\"{family.Choice}\"/> of {source}.</summary>"
            : $"/// <summary>A launch of <c>{Xml(first.Signature)}</c> of {source}.</summary>");
        w.Open($"internal readonly unsafe struct {family.Struct}");
        w.Line($"public const string Module = \"{module.Module}\";").Line();
        w.Line("/// <summary>Most threads of a block that the kernel was compiled for, or every one of several; 0 where none names a limit.</summary>");
        w.Line($"public const int MaxThreads = {family.MaxThreads};").Line();
        if (family.IsChoice)
        {
            w.Line("/// <summary>The kernel that is launched.</summary>").Line($"public required {family.Choice} Kernel {{ get; init; }}").Line();
        }
        else
        {
            w.Line($"public const string EntryPoint = \"{first.Name}\";").Line();
            w.Line("/// <summary>The kernel's number in <see cref=\"KernelRegistry.All\"/>.</summary>");
            w.Line($"public const int Index = KernelRegistry.{first.Struct};").Line();
        }

        foreach (LaunchParameter p in family.Parameters) w.Line($"public required {p.CsType} {p.Property} {{ get; init; }}").Line();
        w.Line("/// <summary>Blocks of the launch.</summary>").Line("public required Dim3 Grid { get; init; }").Line();
        w.Line("/// <summary>Threads of a block.</summary>").Line("public required Dim3 Block { get; init; }").Line();
        w.Line("/// <summary>Bytes of shared memory beside those that the kernel declares itself.</summary>").Line("public uint SharedBytes { get; init; }").Line();
        w.Line("public CudaLaunchOptions Options { get; init; }").Line();
        EmitLaunch(w, family);
        w.Close().Line();
    }

    private static void EmitChoice(SourceWriter w, LaunchFamily family, string source)
    {
        w.Line($"/// <summary>The kernels of {source} that <see cref=\"{family.Struct}\"/> launches, by their numbers in <see cref=\"KernelRegistry.All\"/>.</summary>");
        w.Open($"internal enum {family.Choice}");
        foreach (LaunchKernel kernel in family.Kernels)
            w.Line($"/// <summary><c>{Xml(kernel.Signature)}</c></summary>").Line($"{family.Member(kernel)} = KernelRegistry.{kernel.Struct},").Line();
        w.Close().Line();
    }

    private static void EmitLaunch(SourceWriter w, LaunchFamily family)
    {
        w.Line("/// <summary>Enqueues the kernel. Allocates nothing; the arguments are copied before it returns.</summary>");
        w.Open("public void Launch(CudaStream stream)");
        int count = family.Parameters.Count;
        for (int i = 0; i < count; i++) w.Line($"{family.Parameters[i].CsType} argument{i} = {family.Parameters[i].Property};");
        w.Line(count == 0 ? "void** arguments = null;" : $"void** arguments = stackalloc void*[{count}];");
        for (int i = 0; i < count; i++) w.Line($"arguments[{i}] = &argument{i};");
        w.Line($"stream.Launch({(family.IsChoice ? "(int)Kernel" : "Index")}, Grid, Block, SharedBytes, Options, arguments);").Close();
    }

    private static void EmitStruct(SourceWriter w, LaunchStruct structure)
    {
        w.Line($"/// <summary>The structure <c>{structure.CppName}</c>, {structure.Bytes} bytes.</summary>");
        w.Line($"[global::System.Runtime.InteropServices.StructLayout(global::System.Runtime.InteropServices.LayoutKind.Explicit, Size = {structure.Bytes})]");
        w.Open($"internal struct {structure.Name}");
        foreach (LaunchField f in structure.Fields)
            w.Line($"[global::System.Runtime.InteropServices.FieldOffset({f.Offset})]").Line($"public {f.CsType} {f.Name};").Line();
        w.Close().Line();
    }

    private static string Xml(string text) => text.Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;");
}
