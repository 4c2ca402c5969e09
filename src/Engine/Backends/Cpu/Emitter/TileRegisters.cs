namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>Where the code of a tile finds a panel's bytes, and which registers are the panel's own.</summary>
/// <param name="Index">0, or 1 for the second panel of a pair.</param>
internal readonly record struct PanelOperands(int Index)
{
    /// <summary>Bytes from the first panel to the second.</summary>
    public const Gpr Stride = Gpr.R14;

    /// <summary>Weights of the step.</summary>
    public Address Weights(int offset) => At(Gpr.Rax, offset);

    /// <summary>Scales of the step, or of the group of steps.</summary>
    public Address Scales(int offset = 0) => At(Gpr.Rdx, offset);

    /// <summary>Formats with groups of steps: scales of the step.</summary>
    public Address StepScales(int offset = 0) => At(Gpr.R13, offset);

    /// <summary>The second panel's registers are four below those of the first.</summary>
    public Zmm Own(Zmm register) => Index == 0 ? register : new Zmm(register.Index - 4);

    private Address At(Gpr register, int offset) => Index == 0 ? new Address(register, offset) : new Address(register, Stride, 1, offset);
}

/// <summary>
/// Where the sums of a tile are. A sum waits four cycles for the one before it, in which eight others can be begun: while there are registers each row and panel
/// has two integer sums (chains), which are added at the end of a step. Float sums stay in registers; where these do not suffice they are read and written once
/// per step: a load and a store beside ten multiplications.
/// </summary>
/// <param name="Panels">1 or 2.</param>
/// <param name="Rows">Rows of the tile.</param>
internal readonly record struct TileRegisters(int Panels, int Rows)
{
    /// <summary>What formats leave to the sums of two chains, and of two panels.</summary>
    private const int MostSums = 24;

    /// <summary>Integer sums per row and panel.</summary>
    public int Chains => 3 * Panels * Rows <= MostSums ? 2 : 1;

    /// <summary>Whether float sums are in registers: one panel has room for all its rows.</summary>
    public bool KeepsFloats => Panels == 1 || (Chains + 1) * Panels * Rows <= MostSums;

    public Zmm Integer(int chain, int panel, int row) => new((chain * Panels + panel) * Rows + row);

    public Zmm Float(int panel, int row) => new((Chains * Panels + panel) * Rows + row);
}
