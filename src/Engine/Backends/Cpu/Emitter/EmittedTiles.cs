using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Kernels;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// The functions of one weight type for every row count and for several amounts of prefetching, in one piece of code memory. They are called without
/// a transition of the garbage collector's mode (1 ns instead of 10): a call lasts about a microsecond, touches unmanaged memory only and calls nothing.
/// </summary>
internal sealed unsafe class EmittedTiles
{
    // A panel of 8-bit weights has 544 bytes per step, nine lines; t tiles of rows share the prefetching of a panel.
    private static readonly int[] s_prefetchLines = [0, 1, 2, 3, 5, 9];
    private readonly nint[] _functions; // [rows, variants of prefetching]

    /// <param name="maxRows">Most rows of a tile.</param>
    /// <param name="write">Writes one function: assembler, rows, lines to prefetch per step.</param>
    public EmittedTiles(int maxRows, Action<Assembler, int, int> write)
    {
        MaxRows = maxRows;
        var offsets = new int[maxRows * s_prefetchLines.Length];
        var a = new Assembler();
        for (int i = 0; i < offsets.Length; i++)
        {
            a.Align(64);
            offsets[i] = a.Position;
            write(a, i / s_prefetchLines.Length + 1, s_prefetchLines[i % s_prefetchLines.Length]);
        }

        byte* code = CodeMemory.TryInstall(a.ToArray());
        if (code is null) throw new PlatformNotSupportedException($"The system refuses executable memory: set {EmitterSupport.Variable}=0.");
        _functions = [.. offsets.Select(o => (nint)code + o)];
    }

    public int MaxRows { get; }

    /// <summary>Runs one tile and returns how many rows it did: <paramref name="rows"/>, or an even share where they need several tiles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Run(in PanelTile tile, int rows)
    {
        if (rows > MaxRows) rows = TileSplit.First(rows, MaxRows);
        int lines = tile.PrefetchBytes >> 6;
        int variant = lines <= 3 ? lines : lines <= 5 ? 4 : 5;
        nint function = _functions[(rows - 1) * s_prefetchLines.Length + variant];
        fixed (PanelTile* t = &tile) ((delegate* unmanaged[SuppressGCTransition]<PanelTile*, void>)function)(t);
        return rows;
    }
}
