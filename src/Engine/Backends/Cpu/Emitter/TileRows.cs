using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>Writes the functions of a weight type's tiles.</summary>
internal interface ITileCode
{
    /// <summary>Most rows of a tile.</summary>
    int MaxRows { get; }

    /// <summary>Most rows of a tile of two panels, or 0 where there are no such tiles.</summary>
    int MaxPairRows { get; }

    /// <summary>The same where a pass needs several tiles of two panels: fewer, where these are faster.</summary>
    int PairRows { get; }

    /// <summary>Rows from which tiles of two panels are faster; where there are none, more than there can be.</summary>
    int LeastPairRows { get; }

    /// <summary>Writes the function void(PanelTile*) in the calling convention of System V.</summary>
    /// <param name="a">Receives the code.</param>
    /// <param name="panels">1 or 2.</param>
    /// <param name="rows">1..<see cref="MaxRows"/>; of two panels 1..<see cref="MaxPairRows"/>.</param>
    /// <param name="prefetchLines">Lines of 64 bytes to prefetch per step.</param>
    void Write(Assembler a, int panels, int rows, int prefetchLines);
}

/// <summary>How the code of a tile addresses the activations of its rows: a base register for every three, and the stride in r9 once or twice.</summary>
internal static class TileRows
{
    private const int RowsPerBase = 3;
    private static readonly Gpr[] s_bases = [Gpr.Rsi, Gpr.R10, Gpr.R11, Gpr.Rbx, Gpr.Rbp];

    /// <summary>Points the base registers at their rows; rdi is the tile.</summary>
    public static void WriteBases(Assembler a, int rows)
    {
        a.Mov(Gpr.R9, new Address(Gpr.Rdi, PanelTile.StrideOffset));
        a.Mov(Gpr.Rsi, new Address(Gpr.Rdi, PanelTile.ActivationsOffset));
        for (int i = 1; i < Bases(rows); i++) // three rows further on
        {
            a.Lea(s_bases[i], new Address(s_bases[i - 1], Gpr.R9, 2));
            a.Add(s_bases[i], Gpr.R9);
        }
    }

    /// <summary>Moves all rows on by a step.</summary>
    public static void WriteAdvance(Assembler a, int rows, int bytes)
    {
        for (int i = 0; i < Bases(rows); i++) a.Add(s_bases[i], bytes);
    }

    /// <summary>Byte <paramref name="offset"/> of the current step of a row.</summary>
    public static Address Row(int row, int offset) => (row % RowsPerBase) switch
    {
        0 => new Address(s_bases[row / RowsPerBase], offset),
        1 => new Address(s_bases[row / RowsPerBase], Gpr.R9, 1, offset),
        _ => new Address(s_bases[row / RowsPerBase], Gpr.R9, 2, offset),
    };

    /// <summary>Saves base registers that belong to the caller.</summary>
    public static void WriteSaves(Assembler a, int rows)
    {
        foreach (Gpr register in Saved(rows)) a.Push(register);
    }

    public static void WriteRestores(Assembler a, int rows)
    {
        foreach (Gpr register in Saved(rows).Reverse()) a.Pop(register);
    }

    private static int Bases(int rows) => (rows + RowsPerBase - 1) / RowsPerBase;

    private static IEnumerable<Gpr> Saved(int rows) => s_bases.Take(Bases(rows)).Where(r => r is Gpr.Rbx or Gpr.Rbp);
}
