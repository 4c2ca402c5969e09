using System.Numerics;
using System.Runtime.CompilerServices;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Memory;

/// <summary>Sectors and bank conflicts of a warp's access, from the addresses of its lanes.</summary>
internal static unsafe class AccessCounts
{
    private const int SectorShift = 5, Banks = 32;

    /// <summary>Distinct 32-byte sectors; an aligned access of up to 16 bytes lies in one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Global(Warp w, uint exec, int bytes, bool store)
    {
        ulong* seen = stackalloc ulong[Warp.Lanes];
        int count = 0;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            ulong sector = w.Address[BitOperations.TrailingZeroCount(rest)] >> SectorShift;
            if (IsIn(seen, count, sector))
                continue;
            seen[count++] = sector;
            w.Block.Launch.MarkSector(sector - (GlobalMemory.Base >> SectorShift), store);
        }

        Add(w.Block.Counters, store, (long)BitOperations.PopCount(exec) * bytes, count);
    }

    /// <summary>A warp's lanes side by side from an address on.</summary>
    public static void GlobalRange(Warp w, ulong address, int bytes, bool store)
    {
        if (!w.Block.Launch.Options.Count)
            return;
        ulong first = address >> SectorShift, last = (address + (ulong)bytes - 1) >> SectorShift;
        Add(w.Block.Counters, store, bytes, (long)(last - first + 1));
        for (ulong sector = first; sector <= last && w.Block.Launch.Options.CountDistinctSectors; sector++)
            w.Block.Launch.MarkSector(sector - (GlobalMemory.Base >> SectorShift), store);
    }

    /// <summary>
    /// Passes over the banks (32 of 4 bytes): lanes of one pass are 32, 16 or 8 for accesses of up to 4, 8 and 16 bytes; equal words are served together.
    /// </summary>
    public static void Shared(Warp w, uint exec, int bytes)
    {
        int lanes = bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8, words = Math.Max(bytes / 4, 1);
        PtxCounters counters = w.Block.Counters;
        counters.SharedAccesses++;
        for (int first = 0; first < Warp.Lanes; first += lanes)
        {
            uint part = exec & (lanes == 32 ? uint.MaxValue : ((1u << lanes) - 1) << first);
            if (part != 0)
                counters.SharedBankConflicts += Passes(w.Address, part, words) - 1;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Passes(ulong* addresses, uint lanes, int words)
    {
        uint* last = stackalloc uint[Banks]; // without conflicts every bank serves one word
        uint served = 0;
        for (uint rest = lanes; rest != 0; rest &= rest - 1)
        {
            uint word = (uint)(addresses[BitOperations.TrailingZeroCount(rest)] >> 2);
            for (uint end = word + (uint)words; word < end; word++)
            {
                uint bank = word % Banks, bit = 1u << (int)bank;
                if ((served & bit) != 0 && last[bank] != word)
                    return ConflictingPasses(addresses, lanes, words);
                served |= bit;
                last[bank] = word;
            }
        }

        return 1;
    }

    private static int ConflictingPasses(ulong* addresses, uint lanes, int words)
    {
        uint* seen = stackalloc uint[Banks * Banks]; // [bank, distinct words]
        byte* counts = stackalloc byte[Banks];
        new Span<byte>(counts, Banks).Clear();
        int most = 1;
        for (uint rest = lanes; rest != 0; rest &= rest - 1)
        {
            uint word = (uint)(addresses[BitOperations.TrailingZeroCount(rest)] >> 2);
            for (uint end = word + (uint)words; word < end; word++)
            {
                uint bank = word % Banks;
                uint* list = seen + (bank * Banks);
                int n = counts[bank];
                int at = 0;
                while (at < n && list[at] != word)
                    at++;
                if (at < n)
                    continue;
                list[n] = word;
                counts[bank] = (byte)++n;
                most = Math.Max(most, n);
            }
        }

        return most;
    }

    private static bool IsIn(ulong* seen, int count, ulong sector)
    {
        for (int i = count - 1; i >= 0; i--)
        {
            if (seen[i] == sector)
                return true;
        }

        return false;
    }

    private static void Add(PtxCounters counters, bool store, long bytes, long sectors)
    {
        if (store)
        {
            counters.GlobalStoreBytes += bytes;
            counters.GlobalStoreSectors += sectors;
        }
        else
        {
            counters.GlobalLoadBytes += bytes;
            counters.GlobalLoadSectors += sectors;
        }
    }
}
