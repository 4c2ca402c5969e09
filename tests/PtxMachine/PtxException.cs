namespace Foretoken.Ptx;

/// <summary>PTX text that the machine cannot load: syntax, an unknown instruction or modifier, an undefined name. The line counts from 1.</summary>
public sealed class PtxParseException(string file, int line, string message) : Exception($"{file}({line}): {message}")
{
    public int Line { get; } = line;
}

/// <summary>What a running kernel did wrong.</summary>
public enum PtxFaultKind
{
    /// <summary>An address outside every allocation, or outside the block's shared, local, constant or parameter memory.</summary>
    OutOfBounds,

    /// <summary>An address that is no multiple of the access's total size.</summary>
    Misaligned,

    /// <summary>Global or shared memory that nobody wrote was read.</summary>
    UninitialisedMemory,

    /// <summary>A register was read by a lane that never wrote it.</summary>
    UninitialisedRegister,

    /// <summary>Two threads accessed the same shared bytes, one of them writing, with no barrier between.</summary>
    SharedRace,

    /// <summary>Data that the kernel reads as read-only (<c>ld.global.nc</c>) was written by the same launch.</summary>
    ReadOnlyData,

    /// <summary>Some lanes reached an aligned barrier or warp operation and the others never did.</summary>
    DivergentBarrier,

    /// <summary>Every warp waits.</summary>
    Deadlock,

    /// <summary>A warp passed <see cref="PtxMachineOptions.InstructionLimit"/>.</summary>
    InstructionLimit,

    /// <summary>The kernel executed <c>trap</c>, or an operand that the instruction forbids.</summary>
    IllegalInstruction,

    /// <summary>The launch itself is impossible: grid, block, shared memory or arguments.</summary>
    InvalidLaunch,
}

/// <summary>A kernel fault, with the PTX line, the block and the thread.</summary>
public sealed class PtxFaultException(PtxFaultKind kind, string message) : Exception(message)
{
    public PtxFaultKind Kind { get; } = kind;
}
