namespace Foretoken.Generators.Kernels;

/// <summary>How a parameter travels: what a launch must agree on with the PTX.</summary>
internal enum ParameterKind
{
    Integer,
    Float,
    Bytes,
}

/// <summary>Width and kind of a parameter. Pointers are integers of 8 bytes, structures are bytes.</summary>
internal sealed record ParameterShape(ParameterKind Kind, int Bytes)
{
    public override string ToString() => Kind switch
    {
        ParameterKind.Float => $"a float of {8 * Bytes} bits",
        ParameterKind.Integer => $"an integer of {8 * Bytes} bits",
        _ => $"a structure of {Bytes} bytes",
    };
}

/// <summary>A parameter as the source declares it.</summary>
/// <param name="CppType">Its type without const, volatile and restrict.</param>
internal sealed record CppParameter(string CppType, string Name, Place Place);

/// <summary>An <c>extern "C" __global__</c> function.</summary>
internal sealed record CppKernel(string Name, string Signature, EquatableArray<CppParameter> Parameters, Place Place);

/// <summary>A field of a structure; <paramref name="Count"/> is 1 unless it is an array.</summary>
internal sealed record CppField(string CppType, string Name, int Count, Place Place);

/// <summary>A structure of plain fields, which kernels may take by value.</summary>
/// <param name="Alignment">Of alignas; 1 without.</param>
internal sealed record CppStruct(string Name, int Alignment, EquatableArray<CppField> Fields, Place Place);

/// <summary>A <c>#include "…"</c>.</summary>
internal sealed record CppInclude(string Name, Place Place);

/// <summary>A source or header: what the generator needs of it, and the hash of its content.</summary>
internal sealed record CppFile(
    string Name, string Hash, EquatableArray<CppInclude> Includes, EquatableArray<CppKernel> Kernels, EquatableArray<CppStruct> Structs,
    EquatableArray<Finding> Findings, Place Place)
{
    public bool IsSource => Name.EndsWith(".cu", StringComparison.Ordinal);

    /// <summary>The name without extension: what the PTX is called.</summary>
    public string Module => System.IO.Path.GetFileNameWithoutExtension(Name);
}

/// <summary>An entry of a PTX file.</summary>
/// <param name="MaxThreads">Threads per block of <c>.maxntid</c>; 0 where there is none.</param>
internal sealed record PtxEntry(string Name, EquatableArray<ParameterShape> Parameters, int MaxThreads, Place Place);

/// <summary>A PTX file.</summary>
/// <param name="SourceHash">The stamped hash of its sources; null where it has no stamp.</param>
/// <param name="DynamicShared">Whether it declares shared memory whose size the launch gives.</param>
internal sealed record PtxFile(string Module, string? SourceHash, bool DynamicShared, EquatableArray<PtxEntry> Entries, EquatableArray<Finding> Findings, Place Place);

/// <summary>A parameter with its C# type.</summary>
internal sealed record LaunchParameter(string CsType, string Property, string CppName);

/// <summary>A kernel that can be launched.</summary>
internal sealed record LaunchKernel(string Name, string Struct, string Signature, int MaxThreads, bool DynamicShared, EquatableArray<LaunchParameter> Parameters, Place Place);

/// <summary>A field of a structure in C#.</summary>
internal sealed record LaunchField(string CsType, string Name, string CppName, int Offset);

/// <summary>A structure that kernels take by value, in C#.</summary>
internal sealed record LaunchStruct(string Name, string CppName, int Bytes, EquatableArray<LaunchField> Fields, Place Place);

/// <summary>What is written for one source.</summary>
internal sealed record LaunchModule(
    string Module, EquatableArray<LaunchKernel> Kernels, EquatableArray<LaunchStruct> Structs, EquatableArray<Finding> Findings);
