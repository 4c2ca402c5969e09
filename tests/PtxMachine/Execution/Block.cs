using System.Numerics;
using System.Runtime.InteropServices;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Execution;

/// <summary>
/// One block (CTA) at a time, on one host thread: its warps, shared memory and barriers. The object is used again for the next block of the launch.
/// </summary>
internal sealed unsafe class Block : IDisposable
{
    private const int BarrierCount = 16;
    private const long Turn = 1 << 16; // warp instructions before the next warp gets its turn
    private readonly BarrierState[] _barriers = new BarrierState[BarrierCount];
    private readonly byte* _memory;
    private readonly int[] _warpOrder;
    private ulong _random;

    public Block(Launch launch)
    {
        Launch = launch;
        Kernel kernel = launch.Kernel;
        int warps = (int)((launch.BlockThreads + 31) / 32);
        long perWarp = kernel.RegisterBytes + Align(kernel.PredicateCount * 4) + Align(kernel.TrackedCount * 4) + 256 + Align(kernel.LocalBytes * 64L);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)(perWarp * warps), 64);
        NativeMemory.Clear(_memory, (nuint)(perWarp * warps));
        Warps = new Warp[warps];
        _warpOrder = new int[warps];
        for (int w = 0; w < warps; w++)
        {
            byte* at = _memory + (w * perWarp);
            var warp = new Warp(this, w) { Constants = kernel.Constants, Registers = at };
            warp.Predicates = (uint*)(at += kernel.RegisterBytes);
            warp.Initialised = (uint*)(at += Align(kernel.PredicateCount * 4));
            warp.Address = (ulong*)(at += Align(kernel.TrackedCount * 4));
            warp.Local = at + 256;
            warp.LocalWritten = warp.Local + (kernel.LocalBytes * 32L);
            Warps[w] = warp;
        }

        Shared = new SharedMemory(launch.SharedBytes, kernel.SharedGranularity, warps, launch.Options);
        Copies = new AsyncCopies(this);
        for (int b = 0; b < BarrierCount; b++)
            _barriers[b] = new BarrierState();
    }

    public Launch Launch { get; }
    public Warp[] Warps { get; }
    public SharedMemory Shared { get; }
    public AsyncCopies Copies { get; }
    public PtxCounters Counters { get; } = new();
    public uint X { get; private set; }
    public uint Y { get; private set; }
    public uint Z { get; private set; }

    /// <summary>Pages of global memory with marks of this launch.</summary>
    public HashSet<long> Pages { get; } = [];

    private long _lastPage = -1;

    public void Touch(ulong offset, int bytes)
    {
        for (long page = (long)offset >> GlobalMemory.PageShift; page <= ((long)offset + bytes - 1) >> GlobalMemory.PageShift; page++)
        {
            if (page != _lastPage)
                Pages.Add(_lastPage = page);
        }
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_memory);
        Shared.Dispose();
    }

    /// <summary>A number in [0, count), from the seed and the block.</summary>
    public int Random(int count)
    {
        _random += 0x9E3779B97F4A7C15;
        ulong z = _random;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return (int)((z ^ (z >> 31)) % (ulong)count);
    }

    public void Run(long block)
    {
        X = (uint)(block % Launch.Grid.X);
        Y = (uint)(block / Launch.Grid.X % Launch.Grid.Y);
        Z = (uint)(block / Launch.Grid.X / Launch.Grid.Y);
        _random = Launch.Options.Seed ^ (ulong)block;
        Counters.Blocks++;
        Shared.Begin();
        Copies.Begin();
        foreach (BarrierState barrier in _barriers)
            barrier.Reset();
        for (int w = 0; w < Warps.Length; w++)
        {
            long threads = Launch.BlockThreads - (w * 32);
            StartWarp(Warps[w], threads >= 32 ? uint.MaxValue : (1u << (int)threads) - 1);
        }

        while (RunRound())
        {
        }

        Copies.End();
    }

    /// <summary>The thread's index in the block, x fastest.</summary>
    public (long X, long Y, long Z) Thread(Warp warp, int lane)
    {
        long id = (warp.Index * 32) + lane;
        return (id % Launch.BlockSize.X, id / Launch.BlockSize.X % Launch.BlockSize.Y, id / Launch.BlockSize.X / Launch.BlockSize.Y);
    }

    /// <summary>A fault with its place; the lowest of the lanes is named.</summary>
    public PtxFaultException Fault(PtxFaultKind kind, Warp warp, Instruction* i, uint lanes, string message)
    {
        int line = i == null ? 0 : i->Line;
        (long x, long y, long z) = Thread(warp, lanes == 0 ? 0 : BitOperations.TrailingZeroCount(lanes));
        string place = $"kernel {Launch.Kernel.Name}, block ({X},{Y},{Z}), warp {warp.Index}, thread ({x},{y},{z})";
        return new PtxFaultException(kind, $"{kind}: {message}\n  at {Launch.Kernel.File}({line}): {Launch.Kernel.SourceLine(line)}\n  in {place}, lanes 0x{lanes:x8}");
    }

    /// <summary>True when the warp need not wait.</summary>
    public bool Arrive(Warp warp, Instruction* i, uint exec)
    {
        int first = BitOperations.TrailingZeroCount(exec), id = (int)((uint*)warp.At(i->A))[first];
        if (id is < 0 or >= BarrierCount)
            throw Fault(PtxFaultKind.IllegalInstruction, warp, i, exec, $"barrier {id}: there are 16");
        uint count = i->Flag ? ((uint*)warp.At(i->B))[first] : 0;
        if (i->Flag && (count == 0 || count % 32 != 0 || count > (uint)Warps.Length * 32))
            throw Fault(PtxFaultKind.IllegalInstruction, warp, i, exec, $"a barrier for {count} threads: a positive multiple of 32 up to the block's threads is allowed");
        BarrierState barrier = _barriers[id];
        if (barrier.Arrived > 0 && barrier.Count != count)
            throw Fault(PtxFaultKind.IllegalInstruction, warp, i, exec, $"barrier {id} is open for {barrier.Count} threads, this warp names {count} (0 stands for all)");
        barrier.Count = count;
        barrier.Arrived += 32;
        Counters.BarrierWaits++;
        if (i->Mode >= BarrierMode.Popc)
            barrier.Contribute(warp.Predicate(i->P) & exec, exec);
        warp.BarrierInstruction = i;
        bool waits = i->Mode != BarrierMode.Arrive;
        if (waits)
            barrier.Waiting.Add(warp);
        if (!IsComplete(barrier))
            return !waits;
        Release(barrier);
        return true;
    }

    private static long Align(long bytes) => (bytes + 63) & ~63L;

    private static void StartWarp(Warp warp, uint lanes)
    {
        new Span<uint>(warp.Initialised, warp.Block.Launch.Kernel.TrackedCount).Clear();
        new Span<byte>(warp.LocalWritten, warp.Block.Launch.Kernel.LocalBytes * 32).Clear();
        warp.Predicates[0] = uint.MaxValue;
        warp.Predicates[1] = 0;
        warp.Start(lanes);
    }

    private bool IsComplete(BarrierState barrier)
    {
        if (barrier.Count != 0)
            return barrier.Arrived >= barrier.Count;
        int live = 0;
        foreach (Warp warp in Warps)
            live += warp.Status == WarpStatus.Exited ? 0 : 32;
        return barrier.Arrived >= live;
    }

    private void Release(BarrierState barrier)
    {
        Shared.BlockBarrier();
        foreach (Warp warp in barrier.Waiting)
        {
            warp.Status = WarpStatus.Ready;
            Instruction* i = warp.BarrierInstruction;
            if (i->Mode == BarrierMode.Popc)
                new Span<uint>(warp.At(i->D), 32).Fill((uint)barrier.Ones); // all live lanes took part; the others are never looked at
            else if (i->Mode is BarrierMode.And or BarrierMode.Or)
                warp.SetPredicate(i->Q, (i->Mode == BarrierMode.And ? barrier.All : barrier.Any) ? uint.MaxValue : 0, uint.MaxValue);
        }

        barrier.Reset();
    }

    /// <summary>One turn of every warp that can run; false when all have exited.</summary>
    private bool RunRound()
    {
        Order();
        bool ran = false;
        foreach (int w in _warpOrder)
        {
            if (Warps[w].Status != WarpStatus.Ready)
                continue;
            ran = true;
            Warps[w].Run(Turn);
        }

        if (ran)
            return true;
        foreach (BarrierState barrier in _barriers) // warps may have exited meanwhile
        {
            if (barrier.Waiting.Count > 0 && (IsComplete(barrier) || OnlyExitedMissing(barrier)))
            {
                Release(barrier);
                return true;
            }
        }

        foreach (Warp warp in Warps)
        {
            if (warp.Status == WarpStatus.AtBarrier)
                throw Fault(PtxFaultKind.Deadlock, warp, warp.BarrierInstruction, warp.Live, $"the warps wait at barriers that the others never reach: {WhereWarpsWait()}");
        }

        return false;
    }

    private string WhereWarpsWait()
    {
        var places = new List<string>();
        foreach (Warp warp in Warps)
            places.Add(warp.Status == WarpStatus.AtBarrier ? $"warp {warp.Index} in line {warp.BarrierInstruction->Line}" : $"warp {warp.Index} has exited");
        return string.Join(", ", places);
    }

    private bool OnlyExitedMissing(BarrierState barrier)
    {
        foreach (Warp warp in Warps)
        {
            if (warp.Status != WarpStatus.Exited && !barrier.Waiting.Contains(warp))
                return false;
        }

        return true;
    }

    private void Order()
    {
        PtxOrder order = Launch.Options.WarpOrder;
        for (int w = 0; w < _warpOrder.Length; w++)
            _warpOrder[w] = order == PtxOrder.Descending ? _warpOrder.Length - 1 - w : w;
        for (int w = _warpOrder.Length - 1; order == PtxOrder.Shuffled && w > 0; w--)
        {
            int other = Random(w + 1);
            (_warpOrder[w], _warpOrder[other]) = (_warpOrder[other], _warpOrder[w]);
        }
    }
}

/// <summary>What a barrier instruction does.</summary>
internal static class BarrierMode
{
    public const int Sync = 0, Arrive = 1, Popc = 2, And = 3, Or = 4;
}

internal sealed class BarrierState
{
    public List<Warp> Waiting { get; } = [];
    public uint Count { get; set; } // threads, 0: all
    public int Arrived { get; set; }
    public int Ones { get; private set; }
    public bool All { get; private set; } = true;
    public bool Any { get; private set; }

    public void Reset()
    {
        Waiting.Clear();
        (Count, Arrived, Ones, All, Any) = (0, 0, 0, true, false);
    }

    public void Contribute(uint holds, uint exec)
    {
        Ones += BitOperations.PopCount(holds);
        All &= holds == exec;
        Any |= holds != 0;
    }
}
