using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Machine code of an integer tile: one panel times R rows, or two neighbouring panels, 512 bits at a time. A line, four elements of K for 16 features, is
/// loaded (and unpacked) once and multiplied with four broadcast bytes of each row. Per step of 32 elements:
/// <code>
/// c[r] = broadcast(correction[r])
/// lines:  w = line;  c[r] = vpdpbusd(c[r], w, broadcast(a[r][4 bytes]))  for each r;  prefetches in between
/// s = scales;  f[r] = fma(float(c[r]), s · scale[r], f[r])               (minimums: f[r] = fma(m, correction[r], f[r]))
/// </code>
/// f[r] stay in registers over all steps. The operations on each f[r] are those of <see cref="IIntegerFormat"/>'s contract: the bits are the same.
/// <para>
/// Ten of a row's instructions per step need one of the two multipliers, which is the limit; nothing else may hold them up, loads least of all, of which two begin
/// per cycle as well. One panel takes its broadcasts as memory operands, one load per multiplication; two neighbouring panels share a broadcast in a register, so
/// that loads are half as many, but fewer rows fit. Where a format has room for two they are faster from a few rows on. Up to eight sums at a time have a second
/// one each (<see cref="TileRegisters"/>).
/// </para>
/// <code>
/// zmm from 0: c per chain, panel and row, then f per panel and row where they are kept   24..31 the format's (one chain: those that c and f leave)
///             26 broadcast for two panels
/// rax weights   rdx scales   rcx steps   r8 prefetch   r9 row stride   rsi, r10, r11, rbx, rbp: activations of rows 0, 3, 6, 9, 12   rdi the tile
/// r12 steps left in a group of scales   r13 scales of the step   two panels: r14 bytes from panel to panel, r15 float sums
/// </code>
/// A format is one subclass: how lines, the scales and the minimums come into registers.
/// </summary>
internal abstract class TileCode : ITileCode
{
    private protected const int LineBytes = 64;
    private const Gpr SumsBase = Gpr.R15;
    private static readonly Zmm s_broadcast = new(26);

    private protected TileCode(WeightType type, int maxRows, int maxPairRows = 0, int pairRows = 0, int leastPairRows = int.MaxValue)
    {
        MaxPairRows = maxPairRows;
        PairRows = pairRows;
        LeastPairRows = leastPairRows;
        Format = PanelFormat.Of(type);
        MaxRows = maxRows;
    }

    /// <summary>0 where the format's registers leave no room for a second panel.</summary>
    public int MaxPairRows { get; }

    /// <inheritdoc/>
    public int PairRows { get; }

    /// <inheritdoc/>
    public int LeastPairRows { get; }

    /// <summary>Most rows of a tile: two registers per row and the format's own make at most 32.</summary>
    public int MaxRows { get; }

    private protected PanelFormat Format { get; }

    /// <summary>Bytes of a group of scales.</summary>
    private int GroupBytes => Format.ScaleBytes * Format.StepsPerScales;

    /// <inheritdoc/>
    public void Write(Assembler a, int panels, int rows, int prefetchLines)
    {
        var registers = new TileRegisters(panels, rows);
        WriteProlog(a, registers);
        a.Align(64);
        int outer = a.Position;
        for (int p = 0; p < panels; p++) WriteGroup(a, new PanelOperands(p));
        bool grouped = Format.StepsPerScales > 1;
        if (grouped)
        {
            a.Lea(Gpr.R13, new Address(Gpr.Rdx, StepScalesOffset));
            a.Mov(Gpr.R12, (uint)Format.StepsPerScales);
        }

        int inner = a.Position;
        WriteStep(a, registers, prefetchLines);
        a.Add(Gpr.Rax, Format.StepBytes);
        if (prefetchLines > 0) a.Add(Gpr.R8, new Address(Gpr.Rdi, PanelTile.PrefetchBytesOffset));
        TileRows.WriteAdvance(a, rows, ActivationBlock.BytesOf(Format.HasHalves));
        if (grouped)
        {
            a.Add(Gpr.R13, 2 * PanelMatrix.PanelRows); // two bytes per feature and step
            a.Dec(Gpr.R12);
            a.Jnz(inner);
        }

        a.Add(Gpr.Rdx, GroupBytes);
        a.Add(Gpr.Rcx, -Format.StepsPerScales);
        a.Jnz(outer);
        WriteEpilog(a, registers);
    }

    /// <summary>Formats with groups of steps: where the scales of the steps begin in a group.</summary>
    private protected virtual int StepScalesOffset => 0;

    /// <summary>How often per step (or half) lines are loaded.</summary>
    private protected abstract int Loads { get; }

    /// <summary>A register for products, free once the lines are done.</summary>
    private protected abstract Zmm Product { get; }

    /// <summary>Loads what stays in registers for the whole call; rax is free.</summary>
    private protected abstract void WriteConstants(Assembler a);

    /// <summary>Loads what a group of steps shares.</summary>
    private protected virtual void WriteGroup(Assembler a, PanelOperands panel)
    {
    }

    /// <summary>Brings some lines of a step into registers.</summary>
    /// <param name="a">Receives the code.</param>
    /// <param name="panel">Of which panel.</param>
    /// <param name="half">Formats with halves: which half; else 0.</param>
    /// <param name="load">0..<see cref="Loads"/> − 1, in order.</param>
    /// <returns>The lines and their registers.</returns>
    private protected abstract (int Line, Zmm Register)[] WriteLines(Assembler a, PanelOperands panel, int half, int load);

    /// <summary>Loads the scales, as floats smaller by 2^112; may overwrite the registers of lines.</summary>
    private protected abstract Zmm WriteScales(Assembler a, PanelOperands panel, int half);

    /// <summary>Loads the minimums, smaller by the same factor.</summary>
    private protected virtual Zmm WriteMinimums(Assembler a, PanelOperands panel) => throw new InvalidOperationException("The format has no minimums.");

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

    private void WriteProlog(Assembler a, TileRegisters registers)
    {
        WriteSaves(a, registers);
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        ForKeptFloats(registers, (register, offset) => a.Vmovups(register, new Address(Gpr.Rax, offset)));
        WriteConstants(a);
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.WeightsOffset));
        a.Mov(Gpr.Rdx, new Address(Gpr.Rdi, PanelTile.ScalesOffset));
        a.Movsxd(Gpr.Rcx, new Address(Gpr.Rdi, PanelTile.StepsOffset));
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, PanelTile.PrefetchOffset));
        TileRows.WriteBases(a, registers.Rows);
        if (registers.Panels == 1) return;
        a.Mov(PanelOperands.Stride, new Address(Gpr.Rdi, PanelTile.PanelStrideOffset));
        a.Mov(SumsBase, new Address(Gpr.Rdi, PanelTile.SumsOffset));
    }

    private void WriteStep(Assembler a, TileRegisters registers, int prefetchLines)
    {
        int multiplied = 0, prefetched = 0;
        for (int half = 0; half < (Format.HasHalves ? 2 : 1); half++)
        {
            WriteStarts(a, registers, half);
            for (int load = 0; load < Loads; load++)
            {
                var lines = new (int Line, Zmm Register)[registers.Panels][];
                for (int p = 0; p < registers.Panels; p++) lines[p] = WriteLines(a, new PanelOperands(p), half, load);
                for (int i = 0; i < lines[0].Length; i++)
                {
                    int chain = multiplied++ % registers.Chains;
                    for (; prefetched < prefetchLines * multiplied / 8; prefetched++) a.Prefetcht0(new Address(Gpr.R8, prefetched * LineBytes));
                    if (registers.Panels == 1) WriteProducts(a, registers, chain, lines[0][i].Line, lines[0][i].Register);
                    else WriteProducts(a, registers, chain, lines[0][i].Line, lines[0][i].Register, lines[1][i].Register);
                }
            }

            WriteSums(a, registers, half);
        }
    }

    /// <summary>Integer sums start at the corrections, a second chain at zero.</summary>
    private void WriteStarts(Assembler a, TileRegisters registers, int half)
    {
        int sums = registers.Panels * registers.Rows;
        for (int i = 0; i < registers.Chains * sums; i++)
        {
            var c = new Zmm(i);
            if (Format.HasMinimum || i >= sums) a.Vpxord(c, c, c);
            else if (i >= registers.Rows) a.Vmovaps(c, registers.Integer(0, 0, i - registers.Rows));
            else a.Vpbroadcastd(c, TileRows.Row(i, ActivationBlock.CorrectionOffset + 4 * half));
        }
    }

    private static void WriteProducts(Assembler a, TileRegisters registers, int chain, int line, Zmm weights)
    {
        for (int r = 0; r < registers.Rows; r++) a.VpdpbusdBroadcast(registers.Integer(chain, 0, r), weights, TileRows.Row(r, 4 * line));
    }

    private void WriteProducts(Assembler a, TileRegisters registers, int chain, int line, Zmm first, Zmm second)
    {
        for (int r = 0; r < registers.Rows; r++)
        {
            a.Vpbroadcastd(s_broadcast, TileRows.Row(r, 4 * line));
            a.Vpdpbusd(registers.Integer(chain, 0, r), first, s_broadcast);
            a.Vpdpbusd(registers.Integer(chain, 1, r), second, s_broadcast);
        }
    }

    /// <summary>Converts the integer sums and adds them to the float sums.</summary>
    private void WriteSums(Assembler a, TileRegisters registers, int half)
    {
        var scales = new Zmm[registers.Panels];
        for (int p = 0; p < registers.Panels; p++) scales[p] = WriteScales(a, new PanelOperands(p), half);
        for (int r = 0; r < registers.Rows; r++)
        {
            if (registers.Panels == 2) a.Vpbroadcastd(s_broadcast, TileRows.Row(r, ActivationBlock.ScaleOffset));
            for (int p = 0; p < registers.Panels; p++)
            {
                Zmm c = registers.Integer(0, p, r), product = new PanelOperands(p).Own(Product);
                if (registers.Chains == 2) a.Vpaddd(c, c, registers.Integer(1, p, r));
                a.Vcvtdq2ps(c, c);
                if (registers.Panels == 2) a.Vmulps(product, scales[p], s_broadcast);
                else a.VmulpsBroadcast(product, scales[p], TileRows.Row(r, ActivationBlock.ScaleOffset));
                if (registers.KeepsFloats) a.Vfmadd231ps(registers.Float(p, r), c, product);
                else a.Vfmadd213ps(c, product, FloatSum(p, r));
                if (!registers.KeepsFloats && !Format.HasMinimum) a.Vmovups(FloatSum(p, r), c);
            }
        }

        if (Format.HasMinimum) WriteMinimumSums(a, registers);
    }

    private void WriteMinimumSums(Assembler a, TileRegisters registers)
    {
        var minimums = new Zmm[registers.Panels];
        for (int p = 0; p < registers.Panels; p++) minimums[p] = WriteMinimums(a, new PanelOperands(p));
        for (int r = 0; r < registers.Rows; r++)
        {
            Address correction = TileRows.Row(r, ActivationBlock.CorrectionOffset);
            if (registers.Panels == 2) a.Vpbroadcastd(s_broadcast, correction);
            for (int p = 0; p < registers.Panels; p++)
            {
                Zmm sum = registers.KeepsFloats ? registers.Float(p, r) : registers.Integer(0, p, r);
                if (registers.Panels == 2) a.Vfmadd231ps(sum, minimums[p], s_broadcast);
                else a.Vfmadd231psBroadcast(sum, minimums[p], correction);
                if (!registers.KeepsFloats) a.Vmovups(FloatSum(p, r), sum);
            }
        }
    }

    private void WriteEpilog(Assembler a, TileRegisters registers)
    {
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        ForKeptFloats(registers, (register, offset) => a.Vmovups(new Address(Gpr.Rax, offset), register));
        WriteRestores(a, registers);
        a.Vzeroupper();
        a.Ret();
    }

    /// <summary>A float sum that no register keeps.</summary>
    private static Address FloatSum(int panel, int row) => new(SumsBase, OffsetOfSum(panel, row));

    private static int OffsetOfSum(int panel, int row) => panel * PanelTile.SecondSumsOffset + row * LineBytes;

    /// <summary>The registers of float sums and where they stand in memory.</summary>
    private static void ForKeptFloats(TileRegisters registers, Action<Zmm, int> move)
    {
        for (int p = 0; registers.KeepsFloats && p < registers.Panels; p++)
        {
            for (int r = 0; r < registers.Rows; r++) move(registers.Float(p, r), OffsetOfSum(p, r));
        }
    }

    /// <summary>Saves the registers in use that belong to the caller.</summary>
    private void WriteSaves(Assembler a, TileRegisters registers)
    {
        TileRows.WriteSaves(a, registers.Rows);
        foreach (Gpr register in Saved(registers)) a.Push(register);
    }

    private void WriteRestores(Assembler a, TileRegisters registers)
    {
        foreach (Gpr register in Saved(registers).Reverse()) a.Pop(register);
        TileRows.WriteRestores(a, registers.Rows);
    }

    private IEnumerable<Gpr> Saved(TileRegisters registers)
    {
        Gpr[] grouped = Format.StepsPerScales > 1 ? [Gpr.R12, Gpr.R13] : [], pairs = registers.Panels == 2 ? [PanelOperands.Stride, SumsBase] : [];
        return grouped.Concat(pairs);
    }
}
