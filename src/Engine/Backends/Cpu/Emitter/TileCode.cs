using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Machine code of an integer tile: one panel times R rows, 512 bits at a time. A line, four elements of K for 16 features, is loaded (and unpacked) once and
/// multiplied with four broadcast bytes of each row. Per step of 32 elements:
/// <code>
/// c[r] = broadcast(correction[r])
/// lines:  w = line;  c[r] = vpdpbusd(c[r], w, broadcast(a[r][4 bytes]))  for each r;  prefetches in between
/// s = scales;  f[r] = fma(float(c[r]), s · scale[r], f[r])               (minimums: f[r] = fma(m, correction[r], f[r]))
/// </code>
/// f[r] stay in registers over all steps. The operations on each f[r] are those of <see cref="IIntegerFormat"/>'s contract: the bits are the same.
/// <code>
/// zmm 0..R−1 c   zmm R..2R−1 f   the last eight or fewer: the format's
/// rax weights   rdx scales   rcx steps   r8 prefetch   r9 row stride   rsi, r10, r11, rbx, rbp: activations of rows 0, 3, 6, 9, 12   rdi the tile
/// r12 steps left in a group of scales   r13 scales of the step
/// </code>
/// A format is one subclass: how a line, the scales and the minimums come into registers.
/// </summary>
internal abstract class TileCode
{
    private protected const int LineBytes = 64;
    private const int RowsPerBase = 3;
    private static readonly Gpr[] s_bases = [Gpr.Rsi, Gpr.R10, Gpr.R11, Gpr.Rbx, Gpr.Rbp];

    private protected TileCode(WeightType type, int maxRows)
    {
        Format = PanelFormat.Of(type);
        MaxRows = maxRows;
    }

    /// <summary>Most rows of a tile: two registers per row and the format's own make at most 32.</summary>
    public int MaxRows { get; }

    private protected PanelFormat Format { get; }

    /// <summary>Bytes of a group of scales.</summary>
    private int GroupBytes => Format.ScaleBytes * Format.StepsPerScales;

    /// <summary>Writes the function void(PanelTile*) for <paramref name="rows"/> rows in the calling convention of System V.</summary>
    /// <param name="a">Receives the code.</param>
    /// <param name="rows">1..<see cref="MaxRows"/>.</param>
    /// <param name="prefetchLines">Lines of 64 bytes to prefetch per step.</param>
    public void Write(Assembler a, int rows, int prefetchLines)
    {
        WriteProlog(a, rows);
        a.Align(64);
        int outer = a.Position;
        WriteGroup(a);
        bool grouped = Format.StepsPerScales > 1;
        int inner = a.Position;
        WriteStep(a, rows, prefetchLines);
        a.Add(Gpr.Rax, Format.StepBytes);
        if (prefetchLines > 0) a.Add(Gpr.R8, prefetchLines * LineBytes);
        for (int i = 0; i < Bases(rows); i++) a.Add(s_bases[i], ActivationBlock.BytesOf(Format.HasHalves));
        if (grouped)
        {
            a.Add(Gpr.R13, 2 * PanelMatrix.PanelRows); // two bytes per feature and step
            a.Dec(Gpr.R12);
            a.Jnz(inner);
        }

        a.Add(Gpr.Rdx, GroupBytes);
        a.Add(Gpr.Rcx, -Format.StepsPerScales);
        a.Jnz(outer);
        WriteEpilog(a, rows);
    }

    /// <summary>Loads what stays in registers for the whole call; rax is free.</summary>
    private protected abstract void WriteConstants(Assembler a);

    /// <summary>Loads what a group of steps shares; rdx points to its scales.</summary>
    private protected virtual void WriteGroup(Assembler a)
    {
    }

    /// <summary>Brings the step's lines into registers and calls <paramref name="multiply"/> for each, in the order that suits the format.</summary>
    /// <param name="a">Receives the code.</param>
    /// <param name="half">Formats with halves: the lines of which half, 0..3 or 4..7; else 0 and all lines.</param>
    /// <param name="multiply">Takes the line and its register.</param>
    private protected abstract void WriteLines(Assembler a, int half, Action<int, Zmm> multiply);

    /// <summary>Loads the scales, as floats smaller by 2^112; may overwrite the registers of lines.</summary>
    private protected abstract Zmm WriteScales(Assembler a, int half);

    /// <summary>Loads the minimums, smaller by the same factor.</summary>
    private protected virtual Zmm WriteMinimums(Assembler a) => throw new InvalidOperationException("The format has no minimums.");

    /// <summary>A register for products, free once the lines are done.</summary>
    private protected abstract Zmm Product { get; }

    /// <summary>Broadcasts a constant; rax is free.</summary>
    private protected static void Broadcast(Assembler a, Zmm destination, uint value)
    {
        a.Mov(Gpr.Rax, value);
        a.Vpbroadcastd(destination, Gpr.Rax);
    }

    /// <summary>Widens sixteen f16 scales as <see cref="HalfScales"/> does.</summary>
    private protected static void WidenHalves(Assembler a, Zmm destination, Address halves, Zmm mask)
    {
        a.Vpmovsxwd(destination, halves);
        a.Vpslld(destination, destination, 13);
        a.Vpandd(destination, destination, mask);
    }

    private static int Bases(int rows) => (rows + RowsPerBase - 1) / RowsPerBase;

    private void WriteProlog(Assembler a, int rows)
    {
        foreach (Gpr register in SavedRegisters(rows)) a.Push(register);
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        for (int r = 0; r < rows; r++) a.Vmovups(new Zmm(rows + r), new Address(Gpr.Rax, r * LineBytes));
        WriteConstants(a);
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.WeightsOffset));
        a.Mov(Gpr.Rdx, new Address(Gpr.Rdi, PanelTile.ScalesOffset));
        a.Movsxd(Gpr.Rcx, new Address(Gpr.Rdi, PanelTile.StepsOffset));
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, PanelTile.PrefetchOffset));
        a.Mov(Gpr.R9, new Address(Gpr.Rdi, PanelTile.StrideOffset));
        a.Mov(Gpr.Rsi, new Address(Gpr.Rdi, PanelTile.ActivationsOffset));
        for (int i = 1; i < Bases(rows); i++) // three rows further on
        {
            a.Lea(s_bases[i], new Address(s_bases[i - 1], Gpr.R9, 2));
            a.Add(s_bases[i], Gpr.R9);
        }
    }

    private void WriteStep(Assembler a, int rows, int prefetchLines)
    {
        int halves = Format.HasHalves ? 2 : 1, multiplied = 0, prefetched = 0;
        for (int half = 0; half < halves; half++)
        {
            for (int r = 0; r < rows; r++)
            {
                if (Format.HasMinimum) a.Vpxord(new Zmm(r), new Zmm(r), new Zmm(r));
                else a.Vpbroadcastd(new Zmm(r), Row(r, ActivationBlock.CorrectionOffset + 4 * half));
            }

            WriteLines(a, half, (line, register) =>
            {
                multiplied++;
                for (; prefetched < prefetchLines * multiplied / 8; prefetched++) a.Prefetcht0(new Address(Gpr.R8, prefetched * LineBytes));
                for (int r = 0; r < rows; r++) a.VpdpbusdBroadcast(new Zmm(r), register, Row(r, 4 * line));
            });
            Zmm scales = WriteScales(a, half);
            for (int r = 0; r < rows; r++)
            {
                a.Vcvtdq2ps(new Zmm(r), new Zmm(r));
                a.VmulpsBroadcast(Product, scales, Row(r, ActivationBlock.ScaleOffset));
                a.Vfmadd231ps(new Zmm(rows + r), new Zmm(r), Product);
            }
        }

        if (!Format.HasMinimum) return;
        Zmm minimums = WriteMinimums(a);
        for (int r = 0; r < rows; r++) a.Vfmadd231psBroadcast(new Zmm(rows + r), minimums, Row(r, ActivationBlock.CorrectionOffset));
    }

    private void WriteEpilog(Assembler a, int rows)
    {
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        for (int r = 0; r < rows; r++) a.Vmovups(new Address(Gpr.Rax, r * LineBytes), new Zmm(rows + r));
        foreach (Gpr register in SavedRegisters(rows).Reverse()) a.Pop(register);
        a.Vzeroupper();
        a.Ret();
    }

    /// <summary>Registers in use that belong to the caller.</summary>
    private IEnumerable<Gpr> SavedRegisters(int rows)
    {
        if (Bases(rows) > 3) yield return Gpr.Rbx;
        if (Bases(rows) > 4) yield return Gpr.Rbp;
        if (Format.StepsPerScales == 1) yield break;
        yield return Gpr.R12;
        yield return Gpr.R13;
    }

    /// <summary>Byte <paramref name="offset"/> of the current block of a row: a base register, plus the stride once or twice.</summary>
    private static Address Row(int row, int offset) => (row % RowsPerBase) switch
    {
        0 => new Address(s_bases[row / RowsPerBase], offset),
        1 => new Address(s_bases[row / RowsPerBase], Gpr.R9, 1, offset),
        _ => new Address(s_bases[row / RowsPerBase], Gpr.R9, 2, offset),
    };
}
