using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>8-bit lines as they are. // zmm 28 line, then scales   29 product   31 mask of scales</summary>
internal sealed class Int8TileCode() : TileCode(WeightType.Int8, maxRows: 14)
{
    private static readonly Zmm s_line = new(28), s_halfMask = new(31);

    private protected override Zmm Product => new(29);

    private protected override void WriteConstants(Assembler a) => Broadcast(a, s_halfMask, unchecked((uint)HalfScales.Mask));

    private protected override void WriteLines(Assembler a, int half, Action<int, Zmm> multiply)
    {
        for (int line = 0; line < 8; line++)
        {
            a.Vmovups(s_line, new Address(Gpr.Rax, line * LineBytes));
            multiply(line, s_line);
        }
    }

    private protected override Zmm WriteScales(Assembler a, int half)
    {
        WidenHalves(a, s_line, new Address(Gpr.Rdx), s_halfMask);
        return s_line;
    }
}

/// <summary>4-bit lines, two in each stored line. // zmm 28 line, then scales   29 line, then product   30 mask of nibbles   31 mask of scales</summary>
internal sealed class Int4TileCode() : TileCode(WeightType.Int4, maxRows: 14)
{
    private static readonly Zmm s_low = new(28), s_high = new(29), s_nibbleMask = new(30), s_halfMask = new(31);

    private protected override Zmm Product => s_high;

    /// <summary>The low and the high nibbles of stored line <paramref name="line"/>.</summary>
    public static void WritePair(Assembler a, int line, Zmm low, Zmm high, Zmm mask)
    {
        a.Vmovups(low, new Address(Gpr.Rax, line * LineBytes));
        a.Vpsrld(high, low, 4);
        a.Vpandd(low, low, mask);
        a.Vpandd(high, high, mask);
    }

    private protected override void WriteConstants(Assembler a)
    {
        Broadcast(a, s_nibbleMask, 0x0F0F0F0F);
        Broadcast(a, s_halfMask, unchecked((uint)HalfScales.Mask));
    }

    private protected override void WriteLines(Assembler a, int half, Action<int, Zmm> multiply)
    {
        for (int line = 0; line < 4; line++)
        {
            WritePair(a, line, s_low, s_high, s_nibbleMask);
            multiply(line, s_low);
            multiply(line + 4, s_high);
        }
    }

    private protected override Zmm WriteScales(Assembler a, int half)
    {
        WidenHalves(a, s_low, new Address(Gpr.Rdx), s_halfMask);
        return s_low;
    }
}

/// <summary>
/// As Int4; scales are d times the step's bytes, minimums dmin times them.
/// // zmm 24 mask of scales   25 d   26 dmin   27 mask of nibbles   28 line, then scales or minimums   29 line, then product
/// </summary>
internal sealed class Q4KTileCode() : TileCode(WeightType.Q4K, maxRows: 12)
{
    private static readonly Zmm s_halfMask = new(24), s_factor = new(25), s_minimumFactor = new(26), s_nibbleMask = new(27), s_low = new(28), s_high = new(29);

    private protected override Zmm Product => s_high;

    private protected override void WriteConstants(Assembler a)
    {
        Broadcast(a, s_nibbleMask, 0x0F0F0F0F);
        Broadcast(a, s_halfMask, unchecked((uint)HalfScales.Mask));
    }

    private protected override void WriteGroup(Assembler a)
    {
        WidenHalves(a, s_factor, new Address(Gpr.Rdx), s_halfMask);
        WidenHalves(a, s_minimumFactor, new Address(Gpr.Rdx, Q4KFormat.MinimumFactorOffset), s_halfMask);
        a.Lea(Gpr.R13, new Address(Gpr.Rdx, Q4KFormat.StepScalesOffset));
        a.Mov(Gpr.R12, 8u);
    }

    private protected override void WriteLines(Assembler a, int half, Action<int, Zmm> multiply)
    {
        for (int line = 0; line < 4; line++)
        {
            Int4TileCode.WritePair(a, line, s_low, s_high, s_nibbleMask);
            multiply(line, s_low);
            multiply(line + 4, s_high);
        }
    }

    private protected override Zmm WriteScales(Assembler a, int half)
    {
        a.Vpmovzxbd(s_low, new Address(Gpr.R13));
        a.Vcvtdq2ps(s_low, s_low);
        a.Vmulps(s_low, s_low, s_factor);
        return s_low;
    }

    private protected override Zmm WriteMinimums(Assembler a)
    {
        a.Vpmovzxbd(s_low, new Address(Gpr.R13, Q4KFormat.StepMinimumsOffset));
        a.Vcvtdq2ps(s_low, s_low);
        a.Vmulps(s_low, s_low, s_minimumFactor);
        return s_low;
    }
}

/// <summary>
/// 6-bit lines: four bits as in Int4, two from a stored line that four lines share; each half has its scales, d times signed bytes.
/// // zmm 24 mask of scales   25 d   26 mask of upper bits   27 mask of nibbles   28 line, then scales   29 upper bits, then product   30 stored upper bits
/// </summary>
internal sealed class Q6KTileCode() : TileCode(WeightType.Q6K, maxRows: 12)
{
    private static readonly Zmm s_halfMask = new(24), s_factor = new(25), s_upperMask = new(26), s_nibbleMask = new(27);
    private static readonly Zmm s_line = new(28), s_upper = new(29), s_stored = new(30);

    private protected override Zmm Product => s_upper;

    private protected override void WriteConstants(Assembler a)
    {
        Broadcast(a, s_nibbleMask, 0x0F0F0F0F);
        Broadcast(a, s_upperMask, 0x30303030);
        Broadcast(a, s_halfMask, unchecked((uint)HalfScales.Mask));
    }

    private protected override void WriteGroup(Assembler a)
    {
        WidenHalves(a, s_factor, new Address(Gpr.Rdx), s_halfMask);
        a.Lea(Gpr.R13, new Address(Gpr.Rdx, Q6KFormat.StepScalesOffset));
        a.Mov(Gpr.R12, 8u);
    }

    private protected override void WriteLines(Assembler a, int half, Action<int, Zmm> multiply)
    {
        a.Vmovups(s_stored, new Address(Gpr.Rax, Q6KFormat.HighOffset + half * LineBytes));
        for (int line = 0; line < 4; line++)
        {
            a.Vmovups(s_line, new Address(Gpr.Rax, line * LineBytes));
            if (half == 1) a.Vpsrld(s_line, s_line, 4);
            a.Vpandd(s_line, s_line, s_nibbleMask);
            if (line < 2) a.Vpslld(s_upper, s_stored, (byte)(4 - 2 * line));
            else a.Vpsrld(s_upper, s_stored, (byte)(2 * line - 4));
            a.Vpandd(s_upper, s_upper, s_upperMask);
            a.Vpord(s_line, s_line, s_upper);
            multiply(4 * half + line, s_line);
        }
    }

    private protected override Zmm WriteScales(Assembler a, int half)
    {
        a.Vpmovsxbd(s_line, new Address(Gpr.R13, half * Q6KFormat.HalfScaleBytes));
        a.Vcvtdq2ps(s_line, s_line);
        a.Vmulps(s_line, s_line, s_factor);
        return s_line;
    }
}
