using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// What CPUID says of what emitted code needs (Intel SDM volume 2A, CPUID), and the decisions that follow from it and from XCR0, the register in which the
/// operating system says what it saves between threads. A processor may have the instructions and the system not save their registers: a virtual machine,
/// an old kernel, one started with <c>clearcpuid</c>.
/// </summary>
internal readonly record struct ProcessorWords
{
    // XCR0: SSE, AVX, opmask, upper halves of zmm 0–15, zmm 16–31.
    private const ulong Avx512State = 0b1110_0110;

    /// <summary>The highest leaf: leaf 0, EAX.</summary>
    public required int HighestLeaf { get; init; }

    /// <summary>Leaf 1, ECX: bit 27 OSXSAVE.</summary>
    public required int Leaf1Ecx { get; init; }

    /// <summary>Leaf 7, subleaf 0, EAX: the highest subleaf.</summary>
    public required int Leaf7Eax { get; init; }

    /// <summary>Leaf 7, subleaf 0, EBX: bits 16 AVX512F, 17 DQ, 30 BW, 31 VL.</summary>
    public required int Leaf7Ebx { get; init; }

    /// <summary>Leaf 7, subleaf 0, ECX: bit 11 AVX512_VNNI.</summary>
    public required int Leaf7Ecx { get; init; }

    /// <summary>Leaf 7, subleaf 1, EAX: bit 5 AVX512_BF16.</summary>
    public required int Leaf7Subleaf1Eax { get; init; }

    /// <summary>Whether products of bfloat16 pairs (AVX512_BF16) can be emitted, where anything can.</summary>
    public bool HasBFloat16 => HighestLeaf >= 7 && Leaf7Eax >= 1 && Bit(Leaf7Subleaf1Eax, 5);

    /// <summary>Asks this processor, which must be an x64.</summary>
    public static ProcessorWords Read()
    {
        int highest = X86Base.CpuId(0, 0).Eax;
        (int Eax, int Ebx, int Ecx, int Edx) seven = highest >= 7 ? X86Base.CpuId(7, 0) : default;
        return new ProcessorWords
        {
            HighestLeaf = highest, Leaf1Ecx = X86Base.CpuId(1, 0).Ecx, Leaf7Eax = seven.Eax, Leaf7Ebx = seven.Ebx, Leaf7Ecx = seven.Ecx,
            Leaf7Subleaf1Eax = seven.Eax >= 1 ? X86Base.CpuId(7, 1).Eax : 0,
        };
    }

    /// <summary>Why 512-bit integer code cannot run; null = it can.</summary>
    /// <param name="readXcr0">Reads XCR0, which only a system that announces it lets programs do; its result is null where no code page can be made.</param>
    public string? WhyNotEmit(Func<ulong?> readXcr0)
    {
        if (HighestLeaf < 7) return "the processor reports no extended features";
        if (!Bit(Leaf1Ecx, 27)) return "the system does not report its register state (OSXSAVE)";
        foreach ((string name, int word, int bit) in new[]
        {
            ("AVX512F", Leaf7Ebx, 16), ("AVX512DQ", Leaf7Ebx, 17), ("AVX512BW", Leaf7Ebx, 30), ("AVX512VL", Leaf7Ebx, 31), ("AVX512_VNNI", Leaf7Ecx, 11),
        })
        {
            if (!Bit(word, bit)) return $"no {name}";
        }

        if (readXcr0() is not { } state) return "the system refuses executable memory";
        return (state & Avx512State) == Avx512State ? null : "the system does not save the 512-bit registers";
    }

    private static bool Bit(int word, int bit) => (word >> bit & 1) != 0;
}
