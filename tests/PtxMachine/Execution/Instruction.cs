namespace Foretoken.Ptx.Execution;

/// <summary>How the warp's loop treats an instruction.</summary>
internal enum StepKind : byte
{
    /// <summary>Runs on whatever lanes are here.</summary>
    Plain,
    Branch,
    Exit,

    /// <summary>Runs when all lanes of its member mask are here (<c>.sync</c> and <c>.aligned</c> operations).</summary>
    WarpSync,

    /// <summary>bar and barrier: waits for other warps.</summary>
    Barrier,
    Trap,
}

/// <summary>
/// A predecoded instruction. Operands are byte offsets into the warp's registers, or into the kernel's constants when the sign bit is set; a register is
/// 32 lanes of 4 bytes (predicates aside), a 64-bit one 32 lanes of 8. Narrower values lie zero-extended in 4 bytes. Predicate operands are indices into
/// the warp's predicate words (one bit per lane), complemented when the sign bit is set; index 0 is always true, 1 always false.
/// </summary>
internal unsafe struct Instruction
{
    public delegate*<Warp, Instruction*, uint, void> Run;
    public int* List;
    public long Immediate;
    public int D, A, B, C, E;
    public int P, Q, R;
    public int Guard;
    public int Target;
    public int Line;
    public int Mode;
    public int Width;
    public int Count;
    public StepKind Kind;
    public bool Aligned; // of loads: .nc
    public bool Flag;

    /// <summary>A step that no PTX instruction stands for: checks of registers, copies of arguments, halves of an instruction. It is not counted.</summary>
    public bool Uncounted;
}
