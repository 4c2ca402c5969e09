using System.Runtime.CompilerServices;
using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>8-bit panels by machine code written at the first use: see <see cref="Int8TileCode"/>. Same contract, so the same bits, as every 8-bit kernel.</summary>
internal readonly unsafe struct Int8EmittedKernel : IPanelKernel
{
    private static readonly EmittedTiles s_tiles = new(Int8TileCode.MaxRows, Int8TileCode.Write);

    public static int MaxRows => Int8TileCode.MaxRows;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Run(in PanelTile tile, int rows) => s_tiles.Run(tile, rows);
}
