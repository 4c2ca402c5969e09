using System.Numerics;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// mbarrier objects in shared memory: eight bytes with the arrivals that are missing (20 bits), those of a phase (20 bits), the phase and a mark by which a
/// valid object is known. A state, as arrive gives it, is the object as it was. Transaction counts are not supported.
/// A is the address, D the state (List: none), B the count or the state, P the predicate, Mode the operation, Flag: a count is given.
/// </summary>
internal static unsafe class BarrierObjectOps
{
    public const int Init = 0, Invalidate = 1, Arrive = 2, ArriveDrop = 3, ArriveNoComplete = 4, ArriveDropNoComplete = 5, TestState = 6, TestParity = 7, CopiesArrive = 8, CopiesArriveMore = 9;
    private const ulong Mark = 2UL << 62, CountMask = (1 << 20) - 1, PhaseBit = 1UL << 40;

    /// <summary>All operations on an object.</summary>
    public static void Operate(Warp w, Instruction* i, uint exec)
    {
        MemoryOps.Addresses(w, i);
        bool tests = i->Mode is TestState or TestParity;
        uint done = 0;
        for (uint rest = i->Mode is CopiesArrive or CopiesArriveMore ? exec : 0; rest != 0; rest &= rest - 1)
            w.Block.Copies.Wait(w, BitOperations.TrailingZeroCount(rest), -1);
        if (!tests && i->Mode > Invalidate)
            w.Block.Shared.Fence(w.Index); // arriving releases what the warp did
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong* at = At(w, i, lane);
            if (i->Mode is Init)
            {
                uint count = ((uint*)w.At(i->B))[lane];
                if (count is 0 or > (uint)CountMask)
                    throw Wrong(w, i, lane, $"a barrier object for {count} arrivals: 1 to {CountMask} are possible");
                *at = Mark | ((ulong)count << 20) | count;
                continue;
            }

            if (*at >> 62 != Mark >> 62)
                throw Wrong(w, i, lane, "no barrier object was initialised here");
            if (tests)
                done |= IsDone(w, i, lane, *at) ? 1u << lane : 0;
            else if (i->Mode == Invalidate)
                *at = 0;
            else
                ArriveOn(w, i, lane, at);
        }

        if (!tests)
            return;
        w.SetPredicate(i->P, done, exec);
        if (done != 0)
            w.Block.Shared.Fence(w.Index);
        if (done != exec)
            w.EndTurn();
    }

    /// <summary>mbarrier.pending_count d, state.</summary>
    public static void PendingCount(Warp w, Instruction* i, uint exec)
    {
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ((uint*)w.At(i->D))[lane] = (uint)(((ulong*)w.At(i->A))[lane] & CountMask);
        }
    }

    private static ulong* At(Warp w, Instruction* i, int lane)
    {
        ulong address = Window.IsIn(w.Address[lane], Window.Shared) ? w.Address[lane] - Window.Shared : w.Address[lane];
        SharedSpace.Check(w, i, lane, address, 8, "barrier object");
        SharedMemory shared = w.Block.Shared;
        bool plain = i->Mode is Init or Invalidate; // others need a barrier before they use it
        if (!plain && !shared.Read((int)address, 8, w.Index, lane, atomic: true))
            throw w.Block.Fault(shared.Wrong.Kind, w, i, 1u << lane, shared.Wrong.Message);
        if (i->Mode is not (TestState or TestParity) && !shared.Write((int)address, 8, w.Index, lane, null, atomic: !plain))
            throw w.Block.Fault(shared.Wrong.Kind, w, i, 1u << lane, shared.Wrong.Message);
        return (ulong*)(shared.Data + address);
    }

    private static void ArriveOn(Warp w, Instruction* i, int lane, ulong* at)
    {
        ulong old = *at, pending = old & CountMask, expected = old >> 20 & CountMask, count = i->Flag ? ((uint*)w.At(i->B))[lane] : 1;
        bool copies = i->Mode is CopiesArrive or CopiesArriveMore, drops = i->Mode is ArriveDrop or ArriveDropNoComplete;
        if (i->Mode == CopiesArriveMore)
            pending++; // arrives for itself
        if (count == 0 || count > pending)
            throw Wrong(w, i, lane, $"{count} arrivals at a barrier object that waits for {pending}");
        pending -= count;
        expected -= drops ? count : 0;
        ulong phase = old & PhaseBit;
        if (pending == 0)
        {
            if (i->Mode is ArriveNoComplete or ArriveDropNoComplete)
                throw Wrong(w, i, lane, "an arrival with .noComplete completes the phase");
            (phase, pending) = (phase ^ PhaseBit, expected);
        }

        *at = Mark | phase | (expected << 20) | pending;
        if (!copies && i->D >= 0)
            ((ulong*)w.At(i->D))[lane] = old;
    }

    private static bool IsDone(Warp w, Instruction* i, int lane, ulong now)
    {
        ulong waited = i->Mode == TestParity ? (ulong)(((uint*)w.At(i->B))[lane] & 1) * PhaseBit : ((ulong*)w.At(i->B))[lane] & PhaseBit;
        return (now & PhaseBit) != waited;
    }

    private static PtxFaultException Wrong(Warp w, Instruction* i, int lane, string message) => w.Block.Fault(PtxFaultKind.IllegalInstruction, w, i, 1u << lane, message);
}
