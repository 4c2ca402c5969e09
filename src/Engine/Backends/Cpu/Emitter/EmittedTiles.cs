using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// The functions of one weight type for every row count and for several amounts of prefetching, in one piece of code memory. They are called without
/// a transition of the garbage collector's mode (1 ns instead of 10): a call lasts about a microsecond, touches unmanaged memory only and calls nothing.
/// </summary>
internal sealed unsafe class EmittedTiles
{
    // A panel has 544 bytes per step of 8-bit weights (nine lines), 420 of 6-bit and 296 or less of 4-bit ones, two panels the double; bfloat16 has sixteen lines.
    // The tiles of rows share its prefetching.
    private static readonly int[] s_prefetchLines = [0, 1, 2, 3, 5, 7, 9, 14, 17];
    private static readonly byte[] s_variants = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7, 7, 7, 8]; // by lines
    private readonly nint[] _functions; // [rows of one panel, then of two; variants of prefetching]

    /// <param name="code">Writes the functions of a type.</param>
    /// <exception cref="PlatformNotSupportedException">The system has no memory for code.</exception>
    public EmittedTiles(ITileCode code)
    {
        MaxRows = code.MaxRows;
        MaxPairRows = code.MaxPairRows;
        PairRows = code.PairRows;
        LeastPairRows = code.LeastPairRows;
        var offsets = new int[(MaxRows + code.MaxPairRows) * s_prefetchLines.Length];
        var a = new Assembler();
        for (int number = 0; number < MaxRows + MaxPairRows; number++)
        {
            int panels = number < MaxRows ? 1 : 2, rows = panels == 1 ? number + 1 : number + 1 - MaxRows;
            for (int variant = s_prefetchLines.Length - 1; variant >= 0; variant--) // most lines first: they serve for fewer as well
            {
                int i = number * s_prefetchLines.Length + variant, lines = s_prefetchLines[variant];
                if (variant + 1 < s_prefetchLines.Length && !NeedsOwn(panels, rows, lines))
                {
                    offsets[i] = offsets[i + 1];
                    continue;
                }

                a.Align(64);
                offsets[i] = a.Position;
                code.Write(a, panels, rows, lines);
            }
        }

        byte* installed = CodeMemory.TryInstall(a.ToArray());
        if (installed is null) throw EmitterSupport.NoCodePages();
        _functions = [.. offsets.Select(o => (nint)installed + o)];
    }

    public int MaxRows { get; }

    /// <summary>The same for two panels; 0 where there are no such tiles.</summary>
    public int MaxPairRows { get; }

    /// <inheritdoc cref="ITileCode.PairRows"/>
    public int PairRows { get; }

    /// <inheritdoc cref="ITileCode.LeastPairRows"/>
    public int LeastPairRows { get; }

    /// <summary>Runs one tile and returns how many rows it did: <paramref name="rows"/>, or an even share where they need several tiles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Run(in PanelTile tile, int rows)
    {
        if (rows > MaxRows) rows = TileSplit.First(rows, MaxRows);
        Call(tile, rows);
        return rows;
    }

    /// <summary>The same for two panels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int RunPair(in PanelTile tile, int rows)
    {
        if (rows > MaxPairRows) rows = TileSplit.First(rows, PairRows);
        Call(tile, MaxRows + rows);
        return rows;
    }

    /// <summary>
    /// Whether an amount of prefetching has code of its own: writing it takes time at the start. Where there are pairs of panels, single ones with several rows
    /// are only the last of matrices with an odd number, and pairs have many lines.
    /// </summary>
    private bool NeedsOwn(int panels, int rows, int lines) =>
        MaxPairRows == 0 || lines == 0 || (panels == 2 ? lines is 3 or 5 or 9 : rows < LeastPairRows || lines == 9);

    private void Call(in PanelTile tile, int number)
    {
        int variant = s_variants[Math.Min((tile.PrefetchBytes + 63) >> 6, s_variants.Length - 1)];
        nint function = _functions[(number - 1) * s_prefetchLines.Length + variant];
        fixed (PanelTile* t = &tile) ((delegate* unmanaged[SuppressGCTransition]<PanelTile*, void>)function)(t);
    }
}
