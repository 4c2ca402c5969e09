using System.Runtime.InteropServices;

namespace Foretoken.Ptx.Execution;

/// <summary>A kernel ready to run: predecoded code, constants and the sizes that a block needs.</summary>
internal sealed unsafe class Kernel : IDisposable
{
    private readonly List<nint> _blocks = [];

    public required string Name { get; init; }
    public required string File { get; init; }
    public required string[] Lines { get; init; }
    public required KernelParameter[] Parameters { get; init; }
    public int ParameterBytes { get; init; }
    public long[]? RequiredThreads { get; init; }
    public long MaxThreads { get; init; }
    public int StaticSharedBytes { get; set; }
    public int LocalBytes { get; set; }
    public int RegisterBytes { get; set; }
    public int RegisterCount { get; set; }
    public int PredicateCount { get; set; }
    public int TrackedCount { get; set; }

    /// <summary>Smallest shared access in bytes: the grain of the race checks.</summary>
    public int SharedGranularity { get; set; } = 16;

    /// <summary>Blocks may talk to each other through global memory.</summary>
    public bool NeedsOneThread { get; set; }
    /// <summary>Some loads are <c>.nc</c>: what they read must not be written by the launch.</summary>
    public bool HasReadOnlyLoads { get; set; }
    public Instruction* Code { get; set; }
    public int CodeLength { get; set; }
    public byte* Constants { get; set; }
    public byte* ConstMemory { get; set; }
    public long ConstBytes { get; set; }

    public string SourceLine(int line) => line >= 1 && line <= Lines.Length ? Lines[line - 1].Trim() : "";

    /// <summary>Zeroed, 64-byte aligned memory that lives as long as the kernel.</summary>
    public byte* Allocate(long bytes)
    {
        void* memory = NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 64), 64);
        NativeMemory.Clear(memory, (nuint)Math.Max(bytes, 64));
        _blocks.Add((nint)memory);
        return (byte*)memory;
    }

    public void Dispose()
    {
        foreach (nint block in _blocks)
            NativeMemory.AlignedFree((void*)block);
        _blocks.Clear();
        Code = null;
    }
}

/// <summary>A parameter's place in the argument buffer.</summary>
/// <param name="Offset">Bytes from the buffer's start.</param>
public sealed record KernelParameter(string Name, string Type, int Offset, int Bytes);
