using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>8-bit lines as they are. // zmm 28 line, then scales   29 product   31 mask of scales   of the second panel 24, 25</summary>
internal sealed class Int8TileCode() : TileCode(WeightType.Int8, maxRows: 14, maxPairRows: 8, pairRows: 6, leastPairRows: 5)
{
    private static readonly Zmm s_line = new(28), s_halfMask = new(31);

    private protected override Zmm Product => new(29);

    private protected override void WriteConstants(Assembler a) => Broadcast(a, s_halfMask, unchecked((uint)HalfScales.Mask));

    private protected override int Loads => 8;

    private protected override (int Line, Zmm Register)[] WriteLines(Assembler a, PanelOperands panel, int half, int load)
    {
        a.Vmovups(panel.Own(s_line), panel.Weights(load * LineBytes));
        return [(load, panel.Own(s_line))];
    }

    private protected override Zmm WriteScales(Assembler a, PanelOperands panel, int half)
    {
        WidenHalves(a, panel.Own(s_line), panel.Scales(), s_halfMask);
        return panel.Own(s_line);
    }
}

/// <summary>4-bit lines, two in each stored line. // zmm 28 line, then scales   29 line, then product   30 mask of nibbles   31 mask of scales   of the second panel 24, 25</summary>
internal sealed class Int4TileCode() : TileCode(WeightType.Int4, maxRows: 14, maxPairRows: 4, pairRows: 4, leastPairRows: 3)
{
    private static readonly Zmm s_low = new(28), s_high = new(29), s_nibbleMask = new(30), s_halfMask = new(31);

    private protected override Zmm Product => s_high;

    /// <summary>The low and the high nibbles of a stored line.</summary>
    public static (int Line, Zmm Register)[] WriteNibbles(Assembler a, PanelOperands panel, int load, Zmm low, Zmm high, Zmm mask)
    {
        a.Vmovups(low, panel.Weights(load * LineBytes));
        a.Vpsrld(high, low, 4);
        a.Vpandd(low, low, mask);
        a.Vpandd(high, high, mask);
        return [(load, low), (load + 4, high)];
    }

    private protected override void WriteConstants(Assembler a)
    {
        Broadcast(a, s_nibbleMask, 0x0F0F0F0F);
        Broadcast(a, s_halfMask, unchecked((uint)HalfScales.Mask));
    }

    private protected override int Loads => 4;

    private protected override (int Line, Zmm Register)[] WriteLines(Assembler a, PanelOperands panel, int half, int load) =>
        WriteNibbles(a, panel, load, panel.Own(s_low), panel.Own(s_high), s_nibbleMask);

    private protected override Zmm WriteScales(Assembler a, PanelOperands panel, int half)
    {
        WidenHalves(a, panel.Own(s_low), panel.Scales(), s_halfMask);
        return panel.Own(s_low);
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

    private protected override int StepScalesOffset => Q4KFormat.StepScalesOffset;

    private protected override void WriteGroup(Assembler a, PanelOperands panel)
    {
        WidenHalves(a, panel.Own(s_factor), panel.Scales(), s_halfMask);
        WidenHalves(a, panel.Own(s_minimumFactor), panel.Scales(Q4KFormat.MinimumFactorOffset), s_halfMask);
    }

    private protected override int Loads => 4;

    private protected override (int Line, Zmm Register)[] WriteLines(Assembler a, PanelOperands panel, int half, int load) =>
        Int4TileCode.WriteNibbles(a, panel, load, panel.Own(s_low), panel.Own(s_high), s_nibbleMask);

    private protected override Zmm WriteScales(Assembler a, PanelOperands panel, int half) => WriteBytes(a, panel, panel.StepScales(), panel.Own(s_factor));

    private protected override Zmm WriteMinimums(Assembler a, PanelOperands panel) =>
        WriteBytes(a, panel, panel.StepScales(Q4KFormat.StepMinimumsOffset), panel.Own(s_minimumFactor));

    /// <summary>Sixteen bytes times a factor.</summary>
    private static Zmm WriteBytes(Assembler a, PanelOperands panel, Address bytes, Zmm factor)
    {
        Zmm result = panel.Own(s_low);
        a.Vpmovzxbd(result, bytes);
        a.Vcvtdq2ps(result, result);
        a.Vmulps(result, result, factor);
        return result;
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

    private protected override int StepScalesOffset => Q6KFormat.StepScalesOffset;

    private protected override int Loads => 4;

    private protected override void WriteGroup(Assembler a, PanelOperands panel) => WidenHalves(a, panel.Own(s_factor), panel.Scales(), s_halfMask);

    private protected override (int Line, Zmm Register)[] WriteLines(Assembler a, PanelOperands panel, int half, int load)
    {
        Zmm line = panel.Own(s_line), upper = panel.Own(s_upper), stored = panel.Own(s_stored);
        if (load == 0) a.Vmovups(stored, panel.Weights(Q6KFormat.HighOffset + half * LineBytes));
        a.Vmovups(line, panel.Weights(load * LineBytes));
        if (half == 1) a.Vpsrld(line, line, 4);
        a.Vpandd(line, line, s_nibbleMask);
        if (load < 2) a.Vpslld(upper, stored, (byte)(4 - 2 * load));
        else a.Vpsrld(upper, stored, (byte)(2 * load - 4));
        a.Vpandd(upper, upper, s_upperMask);
        a.Vpord(line, line, upper);
        return [(4 * half + load, line)];
    }

    private protected override Zmm WriteScales(Assembler a, PanelOperands panel, int half)
    {
        Zmm scales = panel.Own(s_line);
        a.Vpmovsxbd(scales, panel.StepScales(half * Q6KFormat.HalfScaleBytes));
        a.Vcvtdq2ps(scales, scales);
        a.Vmulps(scales, scales, panel.Own(s_factor));
        return scales;
    }
}
