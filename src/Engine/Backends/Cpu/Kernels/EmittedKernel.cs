using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>Panels by machine code that is written at the first use: see <see cref="TileCode"/> and <see cref="BFloat16TileCode"/>.</summary>
internal readonly unsafe struct EmittedKernel<TCode> : IPanelKernel
    where TCode : ITileCode, new()
{
    private static readonly EmittedTiles s_tiles = new(new TCode());

    public static int MaxRows => s_tiles.MaxRows;

    public static int MaxPairRows => s_tiles.MaxPairRows;

    public static int PairRows => s_tiles.PairRows;

    public static int LeastPairRows => s_tiles.LeastPairRows;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Run(in PanelTile tile, int rows) => s_tiles.Run(tile, rows);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RunPair(in PanelTile tile, int rows) => s_tiles.RunPair(tile, rows);
}
