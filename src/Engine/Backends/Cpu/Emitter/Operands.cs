namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>The general 64-bit registers by their encoding.</summary>
internal enum Gpr
{
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// <summary>A 512-bit register, 0..31.</summary>
internal readonly record struct Zmm
{
    public Zmm(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)index, 31u, nameof(index));
        Index = index;
    }

    public int Index { get; }
}

/// <summary>A mask register; k0 as an operand means none.</summary>
internal enum Mask
{
    None,
    K1,
    K2,
}

/// <summary>A memory operand: [Base + Index · Scale + Displacement].</summary>
internal readonly record struct Address
{
    public Address(Gpr @base, int displacement = 0)
    {
        Base = @base;
        Displacement = displacement;
    }

    /// <param name="base">Any register.</param>
    /// <param name="index">Any register but rsp, which the encoding cannot express.</param>
    /// <param name="scale">1, 2, 4 or 8.</param>
    /// <param name="displacement">Bytes.</param>
    public Address(Gpr @base, Gpr index, int scale, int displacement = 0)
        : this(@base, displacement)
    {
        if (index == Gpr.Rsp) throw new ArgumentException("rsp cannot be an index register.", nameof(index));
        if (scale is not (1 or 2 or 4 or 8)) throw new ArgumentOutOfRangeException(nameof(scale), scale, "A scale is 1, 2, 4 or 8.");
        Index = index;
        Scale = scale;
    }

    public Gpr Base { get; }

    /// <summary>Null where only the base counts.</summary>
    public Gpr? Index { get; }

    public int Scale { get; }

    public int Displacement { get; }
}
