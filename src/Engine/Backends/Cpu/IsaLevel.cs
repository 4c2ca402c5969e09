using System.Runtime.Intrinsics.X86;
using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Backends.Cpu;

/// <summary>Which family of kernels runs. All levels compute the same bits: a level is a matter of speed only.</summary>
public enum IsaLevel
{
    /// <summary>128-bit vectors of the base library: every x64 and Arm64 machine.</summary>
    Portable,

    /// <summary>256-bit vectors with fused multiply-add (x64 since 2013); 8-bit dot products through AVX-VNNI where present.</summary>
    Avx2,

    /// <summary>512-bit vectors for floats; 8-bit dot products as in <see cref="Avx2"/>, as .NET 10 exposes no wider ones.</summary>
    Avx512,

    /// <summary><see cref="Avx512"/>, with 512-bit dot products of integer types in machine code written at start (<see cref="EmitterSupport"/>).</summary>
    Emitted,
}

/// <summary>What the machine offers; switching instruction sets off (<c>DOTNET_EnableAVX512=0</c>, <c>DOTNET_EnableAVX2=0</c>, …) is honoured, as is <c>FORETOKEN_EMITTER=0</c>.</summary>
public static class IsaLevels
{
    /// <summary>The fastest level that this machine supports.</summary>
    public static IsaLevel Best => IsSupported(IsaLevel.Emitted) ? IsaLevel.Emitted
        : IsSupported(IsaLevel.Avx512) ? IsaLevel.Avx512
        : IsSupported(IsaLevel.Avx2) ? IsaLevel.Avx2
        : IsaLevel.Portable;

    /// <summary>Whether this machine can run the level's kernels.</summary>
    public static bool IsSupported(IsaLevel level) => level switch
    {
        IsaLevel.Emitted => EmitterSupport.IsSupported && IsSupported(IsaLevel.Avx512),
        IsaLevel.Avx512 => Avx512F.IsSupported && Avx512BW.IsSupported && IsSupported(IsaLevel.Avx2),
        IsaLevel.Avx2 => Avx2.IsSupported && Fma.IsSupported,
        _ => true,
    };
}
