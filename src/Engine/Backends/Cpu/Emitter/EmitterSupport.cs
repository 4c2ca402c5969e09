using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Foretoken.Settings;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Whether kernels can be emitted at run time, decided once per process: the processor has the instructions (CPUID), the system saves the 512-bit
/// registers (XGETBV), code pages can be made, the runtime's own AVX-512 switch is on, and <c>FORETOKEN_EMITTER</c> does not switch it off.
/// </summary>
internal static unsafe class EmitterSupport
{
    // Not fields of a static constructor, whose failure would hide the message behind a TypeInitializationException.
    private static readonly Lazy<string?> s_whyNot = new(Examine);
    private static readonly Lazy<bool> s_hasBFloat16 = new(() => IsSupported && ProcessorWords.Read().HasBFloat16);

    /// <summary>Null where the emitter works; else the reason why it does not, for reports.</summary>
    /// <exception cref="EnvironmentVariableException"><c>FORETOKEN_EMITTER</c> is neither on nor off.</exception>
    public static string? WhyNot => s_whyNot.Value;

    /// <inheritdoc cref="WhyNot"/>
    public static bool IsSupported => WhyNot is null;

    /// <summary>Whether products of bfloat16 pairs (AVX512_BF16) can be emitted too.</summary>
    public static bool HasBFloat16 => s_hasBFloat16.Value;

    /// <summary>What is said where the system lets code pages be made at start and refuses them later.</summary>
    public static PlatformNotSupportedException NoCodePages() =>
        new($"The system refuses executable memory: set {EnvironmentSwitch.Emitter.Name}=0.");

    private static string? Examine()
    {
        if (EnvironmentSwitch.Emitter.Read() == false) return $"switched off by {EnvironmentSwitch.Emitter.Name}";
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64) return "it writes x64 code only";
        if (!OperatingSystem.IsLinux()) return "it follows Linux's calling convention only";
        return Avx512F.IsSupported && Avx512BW.IsSupported ? ProcessorWords.Read().WhyNotEmit(ReadXcr0) : "no AVX-512, or switched off";
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
