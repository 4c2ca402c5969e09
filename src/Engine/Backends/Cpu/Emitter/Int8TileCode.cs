using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Machine code of the 8-bit tile: one panel times R rows, 512 bits at a time. A 64-byte line of weights, four elements of K for 16 features, is loaded
/// once and multiplied with four broadcast bytes of each row. Per step of 32 elements:
/// <code>
/// c[r] = broadcast(correction[r])
/// 8 lines:  w = load(line);  c[r] = vpdpbusd(c[r], w, broadcast(a[r][4 bytes]))  for each r;  prefetches in between
/// s = halves widened as in HalfScales;  f[r] = fma(float(c[r]), s · scale[r], f[r])
/// </code>
/// f[r] stay in registers over all steps. The order of operations on each f[r] is that of <see cref="Int8VnniKernel"/>: the bits are the same.
/// <code>
/// zmm 0..R−1 c   zmm R..2R−1 f   zmm 28 w   zmm 29 s   zmm 30, 31 products
/// rax weights   rdx scales   rcx steps   r8 prefetch   r9 row stride   rsi, r10, r11, rbx, rbp: activations of rows 0, 3, 6, 9, 12   rdi the tile
/// </code>
/// </summary>
internal static class Int8TileCode
{
    /// <summary>Two registers per row and four others: 32.</summary>
    public const int MaxRows = 14;

    private const int Lines = 8, LineBytes = 64, RowsPerBase = 3;
    private static readonly Gpr[] s_bases = [Gpr.Rsi, Gpr.R10, Gpr.R11, Gpr.Rbx, Gpr.Rbp];
    private static readonly Zmm s_weights = new(28), s_scales = new(29);

    /// <summary>Writes the function void(PanelTile*) for <paramref name="rows"/> rows in the calling convention of System V.</summary>
    /// <param name="a">Receives the code.</param>
    /// <param name="rows">1..<see cref="MaxRows"/>.</param>
    /// <param name="prefetchLines">Lines of 64 bytes to prefetch per step.</param>
    public static void Write(Assembler a, int rows, int prefetchLines)
    {
        int bases = (rows + RowsPerBase - 1) / RowsPerBase;
        WriteProlog(a, rows, bases);
        a.Align(64);
        int top = a.Position;
        WriteStep(a, rows, prefetchLines);
        a.Add(Gpr.Rax, Lines * LineBytes);
        a.Add(Gpr.Rdx, PanelMatrix.PanelRows * sizeof(ushort));
        if (prefetchLines > 0) a.Add(Gpr.R8, prefetchLines * LineBytes);
        for (int i = 0; i < bases; i++) a.Add(s_bases[i], Int8Quantizer.ActivationBlockBytes);
        a.Dec(Gpr.Rcx);
        a.Jnz(top);
        WriteEpilog(a, rows, bases);
    }

    private static void WriteProlog(Assembler a, int rows, int bases)
    {
        if (bases > 3) a.Push(Gpr.Rbx); // the caller's
        if (bases > 4) a.Push(Gpr.Rbp);
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        for (int r = 0; r < rows; r++) a.Vmovups(Sum(r, rows), new Address(Gpr.Rax, r * LineBytes));
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.WeightsOffset));
        a.Mov(Gpr.Rdx, new Address(Gpr.Rdi, PanelTile.ScalesOffset));
        a.Movsxd(Gpr.Rcx, new Address(Gpr.Rdi, PanelTile.StepsOffset));
        a.Mov(Gpr.R8, new Address(Gpr.Rdi, PanelTile.PrefetchOffset));
        a.Mov(Gpr.R9, new Address(Gpr.Rdi, PanelTile.StrideOffset));
        a.Mov(Gpr.Rsi, new Address(Gpr.Rdi, PanelTile.ActivationsOffset));
        for (int i = 1; i < bases; i++) // three rows further on
        {
            a.Lea(s_bases[i], new Address(s_bases[i - 1], Gpr.R9, 2));
            a.Add(s_bases[i], Gpr.R9);
        }
    }

    private static void WriteStep(Assembler a, int rows, int prefetchLines)
    {
        for (int r = 0; r < rows; r++) a.Vpbroadcastd(new Zmm(r), Row(r, Int8Quantizer.CorrectionOffset));
        int prefetched = 0;
        for (int line = 0; line < Lines; line++)
        {
            a.Vmovups(s_weights, new Address(Gpr.Rax, line * LineBytes));
            for (; prefetched < prefetchLines * (line + 1) / Lines; prefetched++) a.Prefetcht0(new Address(Gpr.R8, prefetched * LineBytes));
            for (int r = 0; r < rows; r++) a.VpdpbusdBroadcast(new Zmm(r), s_weights, Row(r, 4 * line));
        }

        a.Vpmovzxwd(s_scales, new Address(Gpr.Rdx));
        a.Vpslld(s_scales, s_scales, 13);
        for (int r = 0; r < rows; r++)
        {
            var product = new Zmm(30 + (r & 1));
            a.Vcvtdq2ps(new Zmm(r), new Zmm(r));
            a.VmulpsBroadcast(product, s_scales, Row(r, Int8Quantizer.ScaleOffset));
            a.Vfmadd231ps(Sum(r, rows), new Zmm(r), product);
        }
    }

    private static void WriteEpilog(Assembler a, int rows, int bases)
    {
        a.Mov(Gpr.Rax, new Address(Gpr.Rdi, PanelTile.SumsOffset));
        for (int r = 0; r < rows; r++) a.Vmovups(new Address(Gpr.Rax, r * LineBytes), Sum(r, rows));
        if (bases > 4) a.Pop(Gpr.Rbp);
        if (bases > 3) a.Pop(Gpr.Rbx);
        a.Vzeroupper();
        a.Ret();
    }

    private static Zmm Sum(int row, int rows) => new(rows + row);

    /// <summary>Byte <paramref name="offset"/> of the current block of a row: a base register, plus the stride once or twice.</summary>
    private static Address Row(int row, int offset) => (row % RowsPerBase) switch
    {
        0 => new Address(s_bases[row / RowsPerBase], offset),
        1 => new Address(s_bases[row / RowsPerBase], Gpr.R9, 1, offset),
        _ => new Address(s_bases[row / RowsPerBase], Gpr.R9, 2, offset),
    };
}
