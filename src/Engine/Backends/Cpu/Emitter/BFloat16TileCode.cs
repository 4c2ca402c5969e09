using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Machine code of a tile of bfloat16 weights and activations: the contract of <see cref="RoundedPanelKernel{TLanes}"/> with <c>vdpbf16ps</c>, which multiplies
/// 16 pairs at once, twice as many as the f32 multiply-add. A line is a pair of elements of K for 16 features.
/// <code>
/// zmm 0..R−1 sums of every other line   R..2R−1 of the rest   28, 29 lines
/// rax weights   rcx steps   r8 prefetch   r9 row stride   rsi, r10, r11, rbx, rbp: activations of rows 0, 3, 6, 9, 12   rdi the tile
/// </code>
/// </summary>
internal sealed class BFloat16TileCode : ITileCode
{
    private const int LineBytes = 64, Lines = PanelMatrix.StepLength / 2;

    public int MaxRows => 14;

    public int MaxPairRows => 0;

    public int PairRows => 0;

    public int LeastPairRows => int.MaxValue;

    public void Write(Assembler a, int panels, int rows, int prefetchLines)
    {
        TileRows.WriteSaves(a, rows);
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        for (int r = 0; r < rows; r++)
        {
            a.Vmovups(new Zmm(r), new Address(Gpr.Rax, r * LineBytes));
            a.Vpxord(new Zmm(rows + r), new Zmm(rows + r), new Zmm(rows + r));
        }

        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.WeightsOffset));
        a.Movsxd(Gpr.Rcx, new Address(Gpr.Rdi, PanelTile.StepsOffset));
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, PanelTile.PrefetchOffset));
        TileRows.WriteBases(a, rows);
        a.Align(64);
        int loop = a.Position, prefetched = 0;
        for (int line = 0; line < Lines; line++)
        {
            var weights = new Zmm(28 + line % 2);
            a.Vmovups(weights, new Address(Gpr.Rax, line * LineBytes));
            for (; prefetched < prefetchLines * (line + 1) / Lines; prefetched++) a.Prefetcht0(new Address(Gpr.R8, prefetched * LineBytes));
            for (int r = 0; r < rows; r++) a.Vdpbf16psBroadcast(new Zmm(line % 2 * rows + r), weights, TileRows.Row(r, 4 * line));
        }

        a.Add(Gpr.Rax, Lines * LineBytes);
        if (prefetchLines > 0) a.Add(Gpr.R8, new Address(Gpr.Rdi, PanelTile.PrefetchBytesOffset));
        TileRows.WriteAdvance(a, rows, ActivationBlock.RoundedBytes);
        a.Dec(Gpr.Rcx);
        a.Jnz(loop);
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        for (int r = 0; r < rows; r++)
        {
            a.Vaddps(new Zmm(r), new Zmm(r), new Zmm(rows + r));
            a.Vmovups(new Address(Gpr.Rax, r * LineBytes), new Zmm(r));
        }

        TileRows.WriteRestores(a, rows);
        a.Vzeroupper();
        a.Ret();
    }
}
