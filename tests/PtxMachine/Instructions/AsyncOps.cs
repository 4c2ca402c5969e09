using System.Numerics;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// cp.async: A the shared address (Immediate its offset), B the global one (Target its offset), Count the bytes written, C the bytes read (Flag: present),
/// R a predicate that ignores the source (−1: absent).
/// </summary>
internal static unsafe class AsyncOps
{
    public static void Copy(Warp w, Instruction* i, uint exec)
    {
        Span<byte> data = stackalloc byte[16];
        ulong* from = (ulong*)w.At(i->B);
        int bytes = i->Count;
        uint ignored = i->R != -1 ? w.Predicate(i->R) : 0, reading = 0;
        long loaded = 0;
        MemoryOps.Addresses(w, i);
        ulong* target = stackalloc ulong[Warp.Lanes];
        new Span<ulong>(w.Address, Warp.Lanes).CopyTo(new Span<ulong>(target, Warp.Lanes));
        SharedSpace.Count(w, exec, bytes, store: true);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            uint take = i->Flag ? ((uint*)w.At(i->C))[lane] : (uint)bytes;
            take = (ignored >> lane & 1) != 0 ? 0 : take;
            if (take > (uint)bytes)
                throw w.Block.Fault(PtxFaultKind.IllegalInstruction, w, i, 1u << lane, $"cp.async reads {take} bytes and writes {bytes}");
            ulong source = from[lane] + (ulong)i->Target;
            if ((source & (ulong)(bytes - 1)) != 0 && take > 0)
                throw w.Block.Fault(PtxFaultKind.Misaligned, w, i, 1u << lane, $"cp.async of {bytes} bytes from 0x{source:x}");
            data.Clear(); // bytes beyond the source's are zeros
            for (uint n = 0; n < take; n++)
                data[(int)n] = *GlobalSpace.Read(w, i, lane, source + n, 1);
            w.Address[lane] = source;
            reading |= take > 0 ? 1u << lane : 0;
            loaded += take;
            ulong address = Window.IsIn(target[lane], Window.Shared) ? target[lane] - Window.Shared : target[lane];
            SharedSpace.Check(w, i, lane, address, bytes, "cp.async");
            SharedMemory shared = w.Block.Shared;
            if (!shared.Write((int)address, bytes, w.Index, lane, null, inFlight: true))
                throw w.Block.Fault(shared.Wrong.Kind, w, i, 1u << lane, shared.Wrong.Message);
            w.Block.Copies.Issue((w.Index * Warp.Lanes) + lane, (int)address, data[..bytes]);
        }

        if (reading != 0)
            GlobalSpace.Count(w, reading, bytes, store: false);
        if (w.Block.Launch.Options.Count)
            w.Block.Counters.GlobalLoadBytes += loaded - ((long)BitOperations.PopCount(reading) * bytes); // what is filled with zeros is not read
    }

    public static void Commit(Warp w, Instruction* i, uint exec)
    {
        for (uint rest = exec; rest != 0; rest &= rest - 1)
            w.Block.Copies.Commit((w.Index * Warp.Lanes) + BitOperations.TrailingZeroCount(rest));
    }

    /// <summary>Immediate: the newest groups that may stay pending; −1: everything is waited for.</summary>
    public static void Wait(Warp w, Instruction* i, uint exec)
    {
        for (uint rest = exec; rest != 0; rest &= rest - 1)
            w.Block.Copies.Wait(w, BitOperations.TrailingZeroCount(rest), (int)i->Immediate);
    }
}
