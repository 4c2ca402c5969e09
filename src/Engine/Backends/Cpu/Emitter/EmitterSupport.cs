using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Whether kernels can be emitted at run time, decided once per process: the processor has the instructions (CPUID), the system saves the 512-bit
/// registers (XGETBV), code pages can be made, the runtime's own AVX-512 switch is on, and <c>FORETOKEN_EMITTER</c> does not switch it off.
/// </summary>
internal static unsafe class EmitterSupport
{
    /// <summary>The environment variable that switches the emitter off: any value but 1; reports name it.</summary>
    public const string Variable = "FORETOKEN_EMITTER";

    // XCR0: SSE, AVX, opmask, upper halves of zmm 0–15, zmm 16–31.
    private const ulong Avx512State = 0b1110_0110;

    /// <summary>Null where the emitter works; else the reason why it does not, for reports.</summary>
    public static string? WhyNot { get; } = Examine();

    public static bool IsSupported => WhyNot is null;

    /// <summary>Whether products of bfloat16 pairs (AVX512_BF16) can be emitted too.</summary>
    public static bool HasBFloat16 { get; } = IsSupported && X86Base.CpuId(7, 0).Eax >= 1 && (X86Base.CpuId(7, 1).Eax >> 5 & 1) != 0;

    private static string? Examine()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } value && value != "1") return $"switched off by {Variable}={value}";
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64) return "it writes x64 code only";
        if (!OperatingSystem.IsLinux()) return "it follows Linux's calling convention only";
        if (!Avx512F.IsSupported || !Avx512BW.IsSupported) return "no AVX-512, or switched off";
        if (X86Base.CpuId(0, 0).Eax < 7) return "the processor reports no extended features";
        if ((X86Base.CpuId(1, 0).Ecx >> 27 & 1) == 0) return "the system does not report its register state (OSXSAVE)";
        if ((X86Base.CpuId(7, 0).Ecx >> 11 & 1) == 0) return "no AVX512_VNNI";
        if (ReadXcr0() is not { } state) return "the system refuses executable memory";
        return (state & Avx512State) == Avx512State ? null : "the system does not save the 512-bit registers";
    }

    /// <summary>Extended control register 0, by the first emitted code of the process; null without code pages.</summary>
    private static ulong? ReadXcr0()
    {
        var a = new Assembler();
        a.Mov(Gpr.Rcx, 0u);
        a.Xgetbv();
        a.Shl(Gpr.Rdx, 32);
        a.Or(Gpr.Rax, Gpr.Rdx);
        a.Ret();
        byte* code = CodeMemory.TryInstall(a.ToArray());
        return code is null ? null : ((delegate* unmanaged[SuppressGCTransition]<ulong>)code)();
    }
}
