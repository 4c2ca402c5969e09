using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Ptx.Memory;

/// <summary>
/// The device's global memory: one arena with a shadow byte per byte (bit 0 allocated, bit 1 written). Allocations lie at least 256 bytes apart, and freed
/// memory is handed out again as late as possible, so that accesses past an end and after a free are caught.
/// </summary>
internal sealed unsafe class GlobalMemory : IDisposable
{
    /// <summary>Device address of the arena's first byte.</summary>
    public const ulong Base = 0x07F0_0000_0000;

    public const byte Allocated = 1, Written = 3;

    /// <summary>During a launch that has read-only loads: read by one, and written.</summary>
    public const byte ReadOnly = 4, Fresh = 8;
    public const int PageShift = 12;
    private const long Gap = 256, Granule = 256;
    private const byte Poison = 0xFF; // NaN in every float type
    private readonly SortedDictionary<long, Allocation> _allocations = []; // by offset
    private readonly SortedDictionary<long, long> _free = []; // offset → bytes
    private readonly Lock _lock = new();
    private long _top;

    public GlobalMemory(long capacity)
    {
        Capacity = (capacity + Granule - 1) / Granule * Granule;
        Data = (byte*)NativeMemory.AllocZeroed((nuint)Capacity + 64); // mapped lazily by the system
        Shadow = (byte*)NativeMemory.AllocZeroed((nuint)Capacity + 64);
    }

    public byte* Data { get; private set; }
    public byte* Shadow { get; private set; }
    public long Capacity { get; }
    public long UsedBytes { get; private set; }
    public int AllocationCount => _allocations.Count;
    public bool CheckInitialised { get; init; } = true;

    public void Dispose()
    {
        NativeMemory.Free(Data);
        NativeMemory.Free(Shadow);
        Data = Shadow = null;
    }

    /// <summary>The device address of a new, unwritten buffer; 0 when there is no room.</summary>
    public ulong Allocate(long bytes, string purpose)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        lock (_lock)
        {
            long room = (bytes + Granule - 1) / Granule * Granule + Gap;
            long offset = -1;
            if (_top + room <= Capacity)
            {
                offset = _top;
                _top += room;
            }
            else
            {
                offset = TakeFree(room);
            }

            if (offset < 0)
                return 0;
            _allocations.Add(offset, new Allocation(bytes, room, purpose));
            UsedBytes += bytes;
            NativeMemory.Fill(Data + offset, (nuint)bytes, Poison);
            NativeMemory.Fill(Shadow + offset, (nuint)bytes, Allocated);
            return Base + (ulong)offset;
        }
    }

    /// <summary>False: the address is not the start of a live allocation.</summary>
    public bool Free(ulong address)
    {
        lock (_lock)
        {
            long offset = (long)(address - Base);
            if (!_allocations.Remove(offset, out Allocation? allocation))
                return false;
            UsedBytes -= allocation.Bytes;
            NativeMemory.Clear(Shadow + offset, (nuint)allocation.Bytes);
            _free[offset] = allocation.Room;
            return true;
        }
    }

    /// <summary>The live allocations, for reports of leaks.</summary>
    public List<(ulong Address, long Bytes, string Purpose)> Live()
    {
        lock (_lock)
            return [.. _allocations.Select(a => (Base + (ulong)a.Key, a.Value.Bytes, a.Value.Purpose))];
    }

    /// <summary>The start and size of the allocation around an address, null when there is none.</summary>
    public (ulong Address, long Bytes)? Find(ulong address)
    {
        lock (_lock)
        {
            foreach ((long offset, Allocation allocation) in _allocations)
            {
                if (address - Base >= (ulong)offset && address - Base < (ulong)(offset + allocation.Bytes))
                    return (Base + (ulong)offset, allocation.Bytes);
            }

            return null;
        }
    }

    /// <summary>The host pointer of a range that lies within allocations, or null.</summary>
    public byte* Host(ulong address, long bytes)
    {
        ulong offset = address - Base;
        if (bytes < 0 || offset > (ulong)Capacity || (ulong)bytes > (ulong)Capacity - offset)
            return null;
        return new ReadOnlySpan<byte>(Shadow + offset, checked((int)bytes)).Contains((byte)0) ? null : Data + offset;
    }

    public void MarkWritten(ulong address, long bytes) => NativeMemory.Fill(Shadow + (address - Base), (nuint)bytes, Written);

    public void MarkUnwritten(ulong address, long bytes) => NativeMemory.Fill(Shadow + (address - Base), (nuint)bytes, Allocated);

    public bool IsWritten(ulong address, long bytes) => !new ReadOnlySpan<byte>(Shadow + (address - Base), checked((int)bytes)).ContainsAnyExcept(Written);

    /// <summary>Copies the shadow with the data: copied unwritten bytes stay unwritten.</summary>
    public void CopyShadow(ulong target, ulong source, long bytes) => Buffer.MemoryCopy(Shadow + (source - Base), Shadow + (target - Base), bytes, bytes);

    /// <summary>True when all bytes of an access of 1 to 16 bytes were written (any access when initialisation is not checked: allocated).</summary>
    public bool IsReadable(ulong offset, int bytes)
    {
        byte* s = Shadow + offset;
        ulong mask = CheckInitialised ? 0x0303030303030303UL : 0x0101010101010101UL;
        return bytes switch
        {
            1 => (*s & (byte)mask) == (byte)mask,
            2 => (*(ushort*)s & (ushort)mask) == (ushort)mask,
            4 => (*(uint*)s & (uint)mask) == (uint)mask,
            8 => (*(ulong*)s & mask) == mask,
            _ => (((ulong*)s)[0] & ((ulong*)s)[1] & mask) == mask,
        };
    }

    public bool IsAllocated(ulong offset, int bytes)
    {
        byte* s = Shadow + offset;
        ulong mask = 0x0101010101010101UL;
        return bytes switch
        {
            1 => *s != 0,
            2 => (*(ushort*)s & (ushort)mask) == (ushort)mask,
            4 => (*(uint*)s & (uint)mask) == (uint)mask,
            8 => (*(ulong*)s & mask) == mask,
            _ => (((ulong*)s)[0] & ((ulong*)s)[1] & mask) == mask,
        };
    }

    /// <summary>True when a range of a multiple of 32 bytes has the shadow bits everywhere.</summary>
    public bool RangeHas(ulong offset, int bytes, byte bits)
    {
        byte* s = Shadow + offset;
        Vector256<byte> all = Vector256.Create(bits);
        for (int i = 0; i < bytes; i += 32)
            all &= Vector256.Load(s + i);
        return all == Vector256.Create(bits);
    }

    /// <summary>Marks bytes as read-only; false: the launch wrote some of them.</summary>
    public bool MarkReadOnly(ulong offset, int bytes)
    {
        var shadow = new Span<byte>(Shadow + offset, bytes);
        if (bytes % 32 != 0)
        {
            foreach (ref byte b in shadow)
            {
                if ((b & Fresh) != 0)
                    return false;
                b |= ReadOnly;
            }

            return true;
        }

        Vector256<byte> mark = Vector256.Create(ReadOnly), all = Vector256<byte>.Zero;
        for (int i = 0; i < bytes; i += 32)
        {
            Vector256<byte> old = Vector256.Load(Shadow + offset + i);
            all |= old;
            (old | mark).Store(Shadow + offset + i);
        }

        return (all & Vector256.Create(Fresh)) == Vector256<byte>.Zero;
    }

    /// <summary>Marks bytes as written by the launch; false: it read some of them as read-only.</summary>
    public bool MarkFresh(ulong offset, int bytes)
    {
        foreach (ref byte b in new Span<byte>(Shadow + offset, bytes))
        {
            if ((b & ReadOnly) != 0)
                return false;
            b = Written | Fresh;
        }

        return true;
    }

    /// <summary>After a launch: forgets its marks on these pages.</summary>
    public void ForgetMarks(IEnumerable<long> pages)
    {
        foreach (long page in pages)
        {
            long first = page << PageShift, end = Math.Min(first + (1 << PageShift), Capacity);
            for (long at = first; at < end; at += 32)
                (Vector256.Load(Shadow + at) & Vector256.Create(Written)).Store(Shadow + at);
        }
    }

    /// <summary>Where an address lies, in words.</summary>
    public string Describe(ulong address)
    {
        lock (_lock)
        {
            long offset = (long)(address - Base);
            (long At, Allocation What)? below = null;
            foreach ((long at, Allocation what) in _allocations)
            {
                if (at > offset)
                    break;
                below = (at, what);
            }

            if (offset < 0 || offset >= Capacity)
                return $"0x{address:x} is no address of global memory";
            if (below is not { } b)
                return $"0x{address:x} lies before every allocation";
            long past = offset - b.At - b.What.Bytes;
            return past < 0
                ? $"0x{address:x} is byte {offset - b.At} of the {b.What.Bytes} bytes of '{b.What.Purpose}'"
                : $"0x{address:x} is {past} bytes past the end of the {b.What.Bytes} bytes of '{b.What.Purpose}'";
        }
    }

    private long TakeFree(long room)
    {
        long found = -1;
        foreach ((long offset, long bytes) in _free)
        {
            if (bytes >= room)
            {
                found = offset;
                break;
            }
        }

        if (found < 0)
            return MergeFree() ? TakeFree(room) : -1;
        _free.Remove(found, out long all);
        if (all > room)
            _free[found + room] = all - room;
        return found;
    }

    private bool MergeFree()
    {
        bool merged = false;
        long last = -1;
        foreach ((long offset, long bytes) in _free.ToArray())
        {
            if (last >= 0 && last + _free[last] == offset)
            {
                _free[last] += bytes;
                _free.Remove(offset);
                merged = true;
            }
            else
            {
                last = offset;
            }
        }

        return merged;
    }

    private sealed record Allocation(long Bytes, long Room, string Purpose);
}
