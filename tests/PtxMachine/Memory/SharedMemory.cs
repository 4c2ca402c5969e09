using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Ptx.Memory;

/// <summary>
/// A block's shared memory with a record per grain (the kernel's smallest access) of who wrote it and which warps read it, and when. Time is a counter that
/// block barriers, warp barriers and fences advance. Two accesses to a grain by different threads, one of them a write, are a race unless a barrier of the block, or,
/// within a warp, a warp barrier, lies between. Barriers for a part of the block count as barriers for all: no false alarm, some races unseen.
/// Writers of the same value and accesses that are both atomic (or volatile, ptx.md §3) are no race.
/// </summary>
internal sealed unsafe class SharedMemory : IDisposable
{
    private const int TimeShift = 12; // below: in flight 1, atomic 1, warp 5, lane 5
    private const uint WarpMask = 31 << 5, InFlight = 1 << 11, Atomic = 1 << 10, SeveralLanes = 1 << 11, LatestTime = (1u << 20) - 64;
    private readonly int _shift;
    private readonly int _grains;
    private readonly uint* _writers; // [grains] time << 12 | in flight | atomic | warp | lane
    private readonly ulong* _readers; // [grains] time << 32 | warps that read since the last barrier
    private readonly uint* _readerLanes; // [grains] time << 12 | several lanes 1 | (unused) | warp 5 | lane 5: who read last
    private readonly uint[] _warpTime;
    private readonly uint[] _fenceTime; // of each warp's last fence
    private uint _time = 1, _barrierTime = 1, _beginTime = 1;
    private bool _fenced; // some warp has, in this block
    private readonly bool _checkRaces, _checkInitialised;

    public SharedMemory(int bytes, int grain, int warps, PtxMachineOptions options)
    {
        Bytes = bytes;
        _shift = int.Log2(grain);
        _grains = ((bytes + grain - 1) >> _shift) + 64;
        Data = (byte*)NativeMemory.AlignedAlloc((nuint)bytes + 64, 64);
        _writers = (uint*)NativeMemory.AllocZeroed((nuint)_grains, sizeof(uint));
        _readers = (ulong*)NativeMemory.AllocZeroed((nuint)_grains, sizeof(ulong));
        _readerLanes = (uint*)NativeMemory.AllocZeroed((nuint)_grains, sizeof(uint));
        _warpTime = new uint[warps];
        _fenceTime = new uint[warps];
        (_checkRaces, _checkInitialised) = (options.CheckRaces, options.CheckInitialised);
    }

    public byte* Data { get; }
    public int Bytes { get; }

    public void Dispose()
    {
        NativeMemory.AlignedFree(Data);
        NativeMemory.Free(_writers);
        NativeMemory.Free(_readers);
        NativeMemory.Free(_readerLanes);
    }

    /// <summary>A new block: nothing is written, and old values are poison.</summary>
    public void Begin()
    {
        if (_time > LatestTime / 2)
        {
            new Span<uint>(_writers, _grains).Clear();
            new Span<ulong>(_readers, _grains).Clear();
            new Span<uint>(_readerLanes, _grains).Clear();
            _time = 1;
        }

        Array.Clear(_fenceTime);
        _fenced = false;
        new Span<byte>(Data, Bytes).Fill(0xFF);
        _time++;
        _beginTime = _barrierTime = _time;
        Array.Fill(_warpTime, _time);
    }

    public void BlockBarrier()
    {
        if (_time >= LatestTime)
            Renumber();
        _barrierTime = ++_time;
        Array.Fill(_warpTime, _time);
    }

    /// <summary>A warp barrier orders the accesses of the warp's lanes among themselves.</summary>
    public void WarpBarrier(int warp)
    {
        MakeRoom();
        _warpTime[warp] = ++_time;
    }

    /// <summary>
    /// A fence of a warp, or an arrival at or a wait for a barrier object. What one warp wrote or read before its fence and another accesses after its own
    /// counts as ordered (by the flag, lock or barrier object between the two, which is not followed).
    /// </summary>
    public void Fence(int warp)
    {
        MakeRoom();
        _fenceTime[warp] = ++_time;
        _fenced = true;
    }

    /// <summary>What the last access that was refused did wrong.</summary>
    public (PtxFaultKind Kind, string Message) Wrong { get; private set; }

    /// <summary>Notes a read; false: it is wrong, see <see cref="Wrong"/>. A lane of −1 stands for all lanes together (ldmatrix).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Read(int offset, int bytes, int warp, int lane, bool atomic = false)
    {
        int first = offset >> _shift, last = (offset + bytes - 1) >> _shift;
        uint low = _beginTime << TimeShift, high = _barrierTime << TimeShift;
        for (int g = first; g <= last; g++)
        {
            uint writer = _writers[g];
            bool plain = writer >= low && writer < high && (writer & InFlight) == 0;
            if (!plain && !IsReadable(writer, offset, warp, lane, atomic))
                return false;
            if (!atomic)
                MarkRead(g, warp, lane);
        }

        return true;
    }

    /// <summary>Notes a write of the value; false: it is wrong.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Write(int offset, int bytes, int warp, int lane, byte* value, bool atomic = false, bool inFlight = false)
    {
        int first = offset >> _shift, last = (offset + bytes - 1) >> _shift;
        uint high = _barrierTime << TimeShift;
        for (int g = first; g <= last && _checkRaces; g++)
        {
            uint writer = _writers[g];
            ulong readers = _readers[g];
            bool plain = writer < high && (writer & InFlight) == 0 && (readers >> 32 < _barrierTime || ((uint)readers & ~(1u << warp)) == 0) && !IsReadByOthers(g, warp, lane);
            if (!plain && !IsWritable(g, offset, bytes, warp, lane, value, atomic))
                return false;
        }

        uint entry = (_time << TimeShift) | (atomic ? Atomic : 0) | (inFlight ? InFlight : 0) | ((uint)warp << 5) | (uint)lane;
        for (int g = first; g <= last; g++)
            _writers[g] = entry;
        return true;
    }

    /// <summary>
    /// Notes the reads of a warp's lanes at once; false: some lane needs the exact look (<see cref="Read"/>). What was noted before stays, which is harmless.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool ReadLanes(ulong* addresses, uint exec, int bytes, int warp)
    {
        if (bytes > Bytes)
            return false;
        ulong limit = (ulong)(Bytes - bytes), misaligned = (ulong)(bytes - 1);
        uint low = _beginTime << TimeShift, high = _barrierTime << TimeShift, own = (uint)warp << 5, ownHigh = _warpTime[warp] << TimeShift;
        int grains = Math.Max(bytes >> _shift, 1);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            ulong address = addresses[BitOperations.TrailingZeroCount(rest)];
            if (address > limit || (address & misaligned) != 0)
                return false;
            int first = (int)address >> _shift;
            for (int g = first; g < first + grains; g++)
            {
                uint writer = _writers[g];
                if (writer < low || (writer & InFlight) != 0 || (writer >= high && ((writer & WarpMask) != own || writer >= ownHigh)))
                    return false;
                MarkRead(g, warp, BitOperations.TrailingZeroCount(rest));
            }
        }

        return true;
    }

    /// <summary>
    /// Notes the writes of a warp's lanes at once; false: some lane needs the exact look (<see cref="Write"/>), also when two lanes write one grain.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool WriteLanes(ulong* addresses, uint exec, int bytes, int warp)
    {
        if (bytes > Bytes)
            return false;
        ulong limit = (ulong)(Bytes - bytes), misaligned = (ulong)(bytes - 1);
        uint high = _barrierTime << TimeShift, own = (uint)warp << 5, ownHigh = _warpTime[warp] << TimeShift, entry = (_time << TimeShift) | own;
        int grains = Math.Max(bytes >> _shift, 1);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong address = addresses[lane];
            if (address > limit || (address & misaligned) != 0)
                return false;
            int first = (int)address >> _shift;
            for (int g = first; g < first + grains; g++)
            {
                uint writer = _writers[g];
                ulong readers = _readers[g];
                if ((writer & InFlight) != 0 || (writer >= high && ((writer & WarpMask) != own || writer >= ownHigh))
                    || (readers >> 32 >= _barrierTime && ((uint)readers & ~(1u << warp)) != 0) || IsReadByOthers(g, warp, lane))
                    return false; // an own mark of this very instruction included: the exact look compares the values
                _writers[g] = entry | (uint)lane;
            }
        }

        return true;
    }

    /// <summary>A read of a range by all lanes of a warp, in one sweep; false when it needs the exact look (or is wrong).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool ReadRange(int offset, int bytes, int warp)
    {
        int first = offset >> _shift, count = ((offset + bytes - 1) >> _shift) - first + 1;
        if (count % 16 != 0)
            return false;
        Vector512<uint> low = Vector512.Create(_beginTime << TimeShift), high = Vector512.Create(_barrierTime << TimeShift);
        Vector512<uint> own = Vector512.Create((uint)warp << 5), ownHigh = Vector512.Create(_warpTime[warp] << TimeShift), bad = Vector512<uint>.Zero;
        for (int g = first; g < first + count; g += 16)
        {
            Vector512<uint> writer = Vector512.Load(_writers + g);
            Vector512<uint> others = ~Vector512.Equals(writer & Vector512.Create(WarpMask), own) | Vector512.GreaterThanOrEqual(writer, ownHigh);
            bad |= Vector512.LessThan(writer, low) | (Vector512.GreaterThanOrEqual(writer, high) & others) | (writer & Vector512.Create(InFlight));
        }

        if (bad != Vector512<uint>.Zero)
            return false;
        if (_checkRaces)
        {
            int perLane = Math.Max(count / 32, 1);
            for (int g = first; g < first + count; g++)
                MarkRead(g, warp, (g - first) / perLane);
        }

        return true;
    }

    /// <summary>An asynchronous copy arrived: its bytes count as written now by the thread that waited.</summary>
    public void Deliver(int offset, int bytes, int warp, int lane)
    {
        for (int g = offset >> _shift; g <= (offset + bytes - 1) >> _shift; g++)
            _writers[g] = (_time << TimeShift) | ((uint)warp << 5) | (uint)lane;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool IsReadable(uint writer, int offset, int warp, int lane, bool atomic)
    {
        uint time = writer >> TimeShift;
        if (time < _beginTime)
        {
            if (!_checkInitialised)
                return true;
            Wrong = (PtxFaultKind.UninitialisedMemory, $"shared byte {offset} was never written in this block");
            return false;
        }

        if (!_checkRaces || !IsRace(writer, warp, lane, atomic))
            return true;
        Wrong = (PtxFaultKind.SharedRace, (writer & InFlight) != 0
            ? $"shared byte {offset} is read while a cp.async of {Who(writer)} to it is not waited for"
            : $"shared byte {offset} was written by {Who(writer)} and no barrier lies between");
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool IsWritable(int g, int offset, int bytes, int warp, int lane, byte* value, bool atomic)
    {
        uint writer = _writers[g];
        ulong readers = _readers[g];
        if ((writer >> TimeShift >= _barrierTime || (writer & InFlight) != 0) && IsRace(writer, warp, lane, atomic) && !SameValue(g, offset, bytes, value))
        {
            Wrong = (PtxFaultKind.SharedRace, $"shared byte {offset} was written by {Who(writer)} with another value and no barrier lies between");
            return false;
        }

        bool crossed = readers >> 32 >= _barrierTime && ((uint)readers & ~(1u << warp)) != 0 && !IsFenced((uint)readers, (uint)(readers >> 32), warp);
        bool within = !atomic && IsReadByOthers(g, warp, lane);
        if ((!crossed && !within) || SameValue(g, offset, bytes, value))
            return true;
        Wrong = (PtxFaultKind.SharedRace, crossed ? $"shared byte {offset} was read by warps 0x{(uint)readers:x} and no barrier lies before this write"
            : $"shared byte {offset} was read by another lane of this warp and no warp barrier lies before this write");
        return false;
    }

    /// <summary>True when these warps and the given one have all fenced since.</summary>
    private bool IsFenced(uint warps, uint since, int warp)
    {
        for (uint rest = warps | (1u << warp); rest != 0; rest &= rest - 1)
        {
            if (_fenceTime[BitOperations.TrailingZeroCount(rest)] <= since)
                return false;
        }

        return true;
    }

    /// <summary>When the warp's accesses of before became ordered: its last barrier or fence.</summary>
    private uint Since(int warp) => Math.Max(_warpTime[warp], _fenceTime[warp]);

    /// <summary>True when another lane of the warp read the grain since then.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsReadByOthers(int g, int warp, int lane)
    {
        uint reader = _readerLanes[g];
        return reader >> TimeShift >= Since(warp) && (int)(reader >> 5 & 31) == warp && ((reader & SeveralLanes) != 0 || (int)(reader & 31) != lane);
    }

    private static string Who(uint writer) => $"warp {writer >> 5 & 31} lane {writer & 31}";

    private void MarkRead(int g, int warp, int lane)
    {
        if (lane >= 0)
        {
            uint mark = (_time << TimeShift) | ((uint)warp << 5) | (uint)lane, old = _readerLanes[g];
            _readerLanes[g] = mark | (old >> TimeShift >= Since(warp) && (old & WarpMask) == (mark & WarpMask) ? ((old & 31) != (uint)lane ? SeveralLanes : old & SeveralLanes) : 0);
        }

        ulong readers = _readers[g];
        uint warps = readers >> 32 >= _barrierTime ? (uint)readers : 0;
        if (_fenced && (warps & ~(1u << warp)) != 0 && IsFenced(warps, (uint)(readers >> 32), warp))
            warps = 0; // ordered before this read
        _readers[g] = ((ulong)_time << 32) | warps | (1u << warp);
    }

    private bool IsRace(uint writer, int warp, int lane, bool atomic)
    {
        if ((writer & InFlight) != 0)
            return true;
        if (atomic && (writer & Atomic) != 0)
            return false;
        uint time = writer >> TimeShift;
        int other = (int)(writer >> 5 & 31);
        if (_fenceTime[other] > time && _fenceTime[warp] > time)
            return false;
        return other != warp || ((int)(writer & 31) != lane && time >= _warpTime[warp]);
    }

    /// <summary>True when the bytes that an access writes into a grain are those that lie there.</summary>
    private bool SameValue(int g, int offset, int bytes, byte* value)
    {
        if (value == null || (_writers[g] & InFlight) != 0)
            return false;
        int from = Math.Max(g << _shift, offset), to = Math.Min((g + 1) << _shift, offset + bytes);
        return new ReadOnlySpan<byte>(Data + from, to - from).SequenceEqual(new ReadOnlySpan<byte>(value + from - offset, to - from));
    }

    /// <summary>A full clock begins anew as if at a barrier of the block: races across this moment go unseen.</summary>
    private void MakeRoom()
    {
        if (_time >= LatestTime)
            BlockBarrier();
    }

    /// <summary>The clock is full: everything written becomes old. Called at a barrier.</summary>
    private void Renumber()
    {
        for (int g = 0; g < _grains; g++)
        {
            bool written = _writers[g] >> TimeShift >= _beginTime;
            _writers[g] = written ? (2u << TimeShift) | (_writers[g] & (InFlight | Atomic | 1023)) : 0;
            _readers[g] = 0;
            _readerLanes[g] = 0;
        }

        Array.Clear(_fenceTime);
        _beginTime = 2;
        _time = 3;
    }
}
