using System.Diagnostics;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Instructions;

/// <summary>Special registers (PTX ISA chapter 10): their names, widths and values.</summary>
internal static unsafe class SpecialRegisters
{
    private static readonly Dictionary<string, (int Id, int Bits)> Names = new(StringComparer.Ordinal)
    {
        ["%tid.x"] = (0, 32), ["%tid.y"] = (1, 32), ["%tid.z"] = (2, 32),
        ["%ntid.x"] = (3, 32), ["%ntid.y"] = (4, 32), ["%ntid.z"] = (5, 32),
        ["%ctaid.x"] = (6, 32), ["%ctaid.y"] = (7, 32), ["%ctaid.z"] = (8, 32),
        ["%nctaid.x"] = (9, 32), ["%nctaid.y"] = (10, 32), ["%nctaid.z"] = (11, 32),
        ["%laneid"] = (12, 32), ["%warpid"] = (13, 32), ["%nwarpid"] = (14, 32), ["%smid"] = (15, 32), ["%nsmid"] = (16, 32), ["%gridid"] = (17, 64),
        ["%lanemask_eq"] = (18, 32), ["%lanemask_le"] = (19, 32), ["%lanemask_lt"] = (20, 32), ["%lanemask_ge"] = (21, 32), ["%lanemask_gt"] = (22, 32),
        ["%clock"] = (23, 32), ["%clock_hi"] = (24, 32), ["%clock64"] = (25, 64), ["%globaltimer"] = (26, 64), ["%globaltimer_lo"] = (27, 32),
        ["%globaltimer_hi"] = (28, 32), ["%dynamic_smem_size"] = (29, 32), ["%total_smem_size"] = (30, 32),
    };

    public static bool TryFind(string name, out int id, out int bits)
    {
        bool found = Names.TryGetValue(name, out (int Id, int Bits) entry);
        (id, bits) = entry;
        return found;
    }

    /// <summary>D gets the register that Mode names; Width is that of the destination.</summary>
    public static void Read(Warp w, Instruction* i, uint exec)
    {
        byte* d = w.At(i->D);
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            if ((exec >> lane & 1) == 0)
                continue;
            ulong value = Value(w, i->Mode, lane);
            if (i->Width == 64)
                ((ulong*)d)[lane] = value;
            else
                ((uint*)d)[lane] = i->Width == 16 ? (ushort)value : (uint)value;
        }
    }

    private static ulong Value(Warp w, int id, int lane)
    {
        Block block = w.Block;
        Launch launch = block.Launch;
        switch (id)
        {
            case 0 or 1 or 2:
                (long x, long y, long z) = block.Thread(w, lane);
                return (ulong)(id == 0 ? x : id == 1 ? y : z);
            case 18 or 19 or 20 or 21 or 22:
                uint bit = 1u << lane, below = bit - 1;
                return id switch { 18 => bit, 19 => bit | below, 20 => below, 21 => ~below, _ => ~below & ~bit };
            case >= 23 and <= 28:
                ulong now = id <= 25 ? (ulong)Stopwatch.GetTimestamp() : (ulong)(DateTime.UtcNow.Ticks * 100);
                return id is 24 or 28 ? now >> 32 : now;
            default:
                return (ulong)(id switch
                {
                    3 => launch.BlockSize.X, 4 => launch.BlockSize.Y, 5 => launch.BlockSize.Z,
                    6 => block.X, 7 => block.Y, 8 => block.Z,
                    9 => launch.Grid.X, 10 => launch.Grid.Y, 11 => launch.Grid.Z,
                    12 => lane, 13 => w.Index, 14 => block.Warps.Length,
                    15 => block.X % launch.Options.Multiprocessors, 16 => launch.Options.Multiprocessors,
                    29 => launch.DynamicSharedBytes, 30 => (launch.SharedBytes + 127) & ~127, // ptx.md §5: rounded to 128 on sm_8x
                    _ => 1L,
                });
        }
    }
}
