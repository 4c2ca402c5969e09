using System.Runtime.CompilerServices;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Memory;

/// <summary>
/// A state space: turns an address into a host pointer after every check. The windows of the generic space (ptx.md §5): shared, local and constant
/// addresses are offsets from these; all else is global.
/// </summary>
internal unsafe interface ISpace
{
    static abstract byte* Read(Warp w, Instruction* i, int lane, ulong address, int bytes);

    static abstract byte* Write(Warp w, Instruction* i, int lane, ulong address, int bytes, byte* value);

    /// <summary>The pointer of a range that all 32 lanes read side by side, or null when the lanes must be looked at one by one.</summary>
    static abstract byte* ReadRange(Warp w, ulong address, int bytes);

    static abstract byte* WriteRange(Warp w, ulong address, int bytes);

    /// <summary>Counts a warp's access; addresses lie in <see cref="Warp.Address"/>.</summary>
    static abstract void Count(Warp w, uint exec, int bytes, bool store);
}

internal static class Window
{
    public const ulong Shared = 1UL << 44, Local = 2UL << 44, Const = 3UL << 44, Size = 1UL << 32;

    /// <summary>Addresses of functions: for calls alone, no memory lies there.</summary>
    public const ulong Code = 4UL << 44;

    public static bool IsIn(ulong address, ulong window) => address - window < Size;
}

internal unsafe struct GlobalSpace : ISpace
{
    public static byte* Read(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        GlobalMemory global = w.Block.Launch.Global;
        ulong offset = address - GlobalMemory.Base;
        if (offset > (ulong)(global.Capacity - bytes) || (address & (ulong)(bytes - 1)) != 0 || !global.IsReadable(offset, bytes))
            throw Wrong(w, i, lane, address, bytes, "read");
        return global.Data + offset;
    }

    public static byte* Write(Warp w, Instruction* i, int lane, ulong address, int bytes, byte* value)
    {
        GlobalMemory global = w.Block.Launch.Global;
        ulong offset = address - GlobalMemory.Base;
        if (offset > (ulong)(global.Capacity - bytes) || (address & (ulong)(bytes - 1)) != 0 || !global.IsAllocated(offset, bytes))
            throw Wrong(w, i, lane, address, bytes, "write");
        if (w.Block.Launch.Kernel.HasReadOnlyLoads)
        {
            w.Block.Touch(offset, bytes);
            return global.MarkFresh(offset, bytes) ? global.Data + offset
                : throw w.Block.Fault(PtxFaultKind.ReadOnlyData, w, i, 1u << lane, $"a write to data that this launch reads as read-only (.nc); {global.Describe(address)}");
        }

        Unsafe.InitBlockUnaligned(global.Shadow + offset, GlobalMemory.Written, (uint)bytes);
        return global.Data + offset;
    }

    public static byte* ReadRange(Warp w, ulong address, int bytes)
    {
        GlobalMemory global = w.Block.Launch.Global;
        ulong offset = address - GlobalMemory.Base;
        byte bits = global.CheckInitialised ? GlobalMemory.Written : GlobalMemory.Allocated;
        return offset <= (ulong)(global.Capacity - bytes) && global.RangeHas(offset, bytes, bits) ? global.Data + offset : null;
    }

    public static byte* WriteRange(Warp w, ulong address, int bytes)
    {
        GlobalMemory global = w.Block.Launch.Global;
        ulong offset = address - GlobalMemory.Base;
        if (w.Block.Launch.Kernel.HasReadOnlyLoads || offset > (ulong)(global.Capacity - bytes) || !(global.RangeHas(offset, bytes, GlobalMemory.Written) || IsAllocated(global, offset, bytes)))
            return null;
        Unsafe.InitBlockUnaligned(global.Shadow + offset, GlobalMemory.Written, (uint)bytes);
        return global.Data + offset;
    }

    public static void Count(Warp w, uint exec, int bytes, bool store)
    {
        if (w.Block.Launch.Options.Count)
            AccessCounts.Global(w, exec, bytes, store);
    }

    public static PtxFaultException Wrong(Warp w, Instruction* i, int lane, ulong address, int bytes, string what)
    {
        GlobalMemory global = w.Block.Launch.Global;
        ulong offset = address - GlobalMemory.Base;
        uint lanes = 1u << lane;
        if ((address & (ulong)(bytes - 1)) != 0)
            return w.Block.Fault(PtxFaultKind.Misaligned, w, i, lanes, $"a {what} of {bytes} bytes at 0x{address:x}");
        bool inside = offset <= (ulong)(global.Capacity - bytes) && global.IsAllocated(offset, bytes);
        return inside
            ? w.Block.Fault(PtxFaultKind.UninitialisedMemory, w, i, lanes, $"a {what} of {bytes} bytes that nobody wrote; {global.Describe(address)}")
            : w.Block.Fault(PtxFaultKind.OutOfBounds, w, i, lanes, $"a {what} of {bytes} bytes; {global.Describe(address)}");
    }

    /// <summary>Bytes that a .nc load read.</summary>
    public static void ReadOnly(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        GlobalMemory global = w.Block.Launch.Global;
        ulong offset = address - GlobalMemory.Base;
        w.Block.Touch(offset, bytes);
        if (!global.MarkReadOnly(offset, bytes))
            throw w.Block.Fault(PtxFaultKind.ReadOnlyData, w, i, 1u << lane, $"a read-only (.nc) load of data that this launch wrote; {global.Describe(address)}");
    }

    private static bool IsAllocated(GlobalMemory global, ulong offset, int bytes)
    {
        for (int at = 0; at < bytes; at += 8)
        {
            if (!global.IsAllocated(offset + (ulong)at, 8))
                return false;
        }

        return true;
    }
}

internal unsafe struct SharedSpace : ISpace
{
    public static byte* Read(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        SharedMemory shared = w.Block.Shared;
        Check(w, i, lane, address, bytes, "read");
        if (!shared.Read((int)address, bytes, w.Index, lane, i->Mode == 1))
            throw w.Block.Fault(shared.Wrong.Kind, w, i, 1u << lane, shared.Wrong.Message);
        return shared.Data + address;
    }

    public static byte* Write(Warp w, Instruction* i, int lane, ulong address, int bytes, byte* value)
    {
        SharedMemory shared = w.Block.Shared;
        Check(w, i, lane, address, bytes, "write");
        if (!shared.Write((int)address, bytes, w.Index, lane, value, i->Mode == 1))
            throw w.Block.Fault(shared.Wrong.Kind, w, i, 1u << lane, shared.Wrong.Message);
        return shared.Data + address;
    }

    public static byte* ReadRange(Warp w, ulong address, int bytes)
    {
        SharedMemory shared = w.Block.Shared;
        return address <= (ulong)Math.Max(shared.Bytes - bytes, 0) && bytes <= shared.Bytes && shared.ReadRange((int)address, bytes, w.Index) ? shared.Data + address : null;
    }

    public static byte* WriteRange(Warp w, ulong address, int bytes) => null; // each lane leaves its own mark

    public static void Count(Warp w, uint exec, int bytes, bool store)
    {
        if (w.Block.Launch.Options.Count)
            AccessCounts.Shared(w, exec, bytes);
    }

    public static void Check(Warp w, Instruction* i, int lane, ulong address, int bytes, string what)
    {
        if (address > (ulong)w.Block.Shared.Bytes || (ulong)bytes > (ulong)w.Block.Shared.Bytes - address)
            throw w.Block.Fault(PtxFaultKind.OutOfBounds, w, i, 1u << lane, $"a shared {what} of {bytes} bytes at 0x{address:x}: the block has {w.Block.Shared.Bytes} shared bytes");
        if ((address & (ulong)(bytes - 1)) != 0)
            throw w.Block.Fault(PtxFaultKind.Misaligned, w, i, 1u << lane, $"a shared {what} of {bytes} bytes at 0x{address:x}");
    }
}

internal unsafe struct LocalSpace : ISpace
{
    /// <summary>Structures are copied with their padding: only a read of nothing but unwritten bytes is a fault.</summary>
    public static byte* Read(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        byte* at = At(w, i, lane, address, bytes);
        if (w.Block.Launch.Options.CheckInitialised && !new ReadOnlySpan<byte>(w.LocalWritten + (at - w.Local), bytes).Contains((byte)1))
            throw w.Block.Fault(PtxFaultKind.UninitialisedMemory, w, i, 1u << lane, $"a local read of {bytes} bytes at 0x{address:x} that this thread never wrote");
        return at;
    }

    public static byte* Write(Warp w, Instruction* i, int lane, ulong address, int bytes, byte* value)
    {
        byte* at = At(w, i, lane, address, bytes);
        Unsafe.InitBlockUnaligned(w.LocalWritten + (at - w.Local), 1, (uint)bytes);
        return at;
    }

    public static byte* ReadRange(Warp w, ulong address, int bytes) => null;

    public static byte* WriteRange(Warp w, ulong address, int bytes) => null;

    public static void Count(Warp w, uint exec, int bytes, bool store)
    {
    }

    private static byte* At(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        int size = w.Block.Launch.Kernel.LocalBytes;
        if (address > (ulong)size || (ulong)bytes > (ulong)size - address)
            throw w.Block.Fault(PtxFaultKind.OutOfBounds, w, i, 1u << lane, $"a local access of {bytes} bytes at 0x{address:x}: the thread has {size} local bytes");
        if ((address & (ulong)(bytes - 1)) != 0)
            throw w.Block.Fault(PtxFaultKind.Misaligned, w, i, 1u << lane, $"a local access of {bytes} bytes at 0x{address:x}");
        return w.Local + ((long)lane * size) + (long)address;
    }
}

internal unsafe struct ConstSpace : ISpace
{
    public static byte* Read(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        Kernel kernel = w.Block.Launch.Kernel;
        if (address > (ulong)kernel.ConstBytes || (ulong)bytes > (ulong)kernel.ConstBytes - address)
            throw w.Block.Fault(PtxFaultKind.OutOfBounds, w, i, 1u << lane, $"a constant read of {bytes} bytes at 0x{address:x}: the module has {kernel.ConstBytes} constant bytes");
        if ((address & (ulong)(bytes - 1)) != 0)
            throw w.Block.Fault(PtxFaultKind.Misaligned, w, i, 1u << lane, $"a constant read of {bytes} bytes at 0x{address:x}");
        return kernel.ConstMemory + address;
    }

    public static byte* Write(Warp w, Instruction* i, int lane, ulong address, int bytes, byte* value) =>
        throw w.Block.Fault(PtxFaultKind.OutOfBounds, w, i, 1u << lane, "a write to constant memory");

    public static byte* ReadRange(Warp w, ulong address, int bytes) => null;

    public static byte* WriteRange(Warp w, ulong address, int bytes) => null;

    public static void Count(Warp w, uint exec, int bytes, bool store)
    {
    }
}

/// <summary>The kernel's arguments.</summary>
internal unsafe struct ParamSpace : ISpace
{
    public static byte* Read(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        byte[] parameters = w.Block.Launch.Parameters;
        if (address > (ulong)parameters.Length || (ulong)bytes > (ulong)parameters.Length - address)
            throw w.Block.Fault(PtxFaultKind.OutOfBounds, w, i, 1u << lane, $"a parameter read of {bytes} bytes at {address}: the kernel has {parameters.Length} bytes of parameters");
        if ((address & (ulong)(bytes - 1)) != 0)
            throw w.Block.Fault(PtxFaultKind.Misaligned, w, i, 1u << lane, $"a parameter read of {bytes} bytes at {address}");
        return w.Block.Launch.ParameterPointer + address;
    }

    public static byte* Write(Warp w, Instruction* i, int lane, ulong address, int bytes, byte* value) =>
        throw w.Block.Fault(PtxFaultKind.OutOfBounds, w, i, 1u << lane, "a write to the kernel's parameters");

    public static byte* ReadRange(Warp w, ulong address, int bytes) => null;

    public static byte* WriteRange(Warp w, ulong address, int bytes) => null;

    public static void Count(Warp w, uint exec, int bytes, bool store)
    {
    }
}

internal unsafe struct GenericSpace : ISpace
{
    public static byte* Read(Warp w, Instruction* i, int lane, ulong address, int bytes)
    {
        if (address < Window.Shared)
            return GlobalSpace.Read(w, i, lane, address, bytes);
        if (Window.IsIn(address, Window.Shared))
            return SharedSpace.Read(w, i, lane, address - Window.Shared, bytes);
        if (Window.IsIn(address, Window.Local))
            return LocalSpace.Read(w, i, lane, address - Window.Local, bytes);
        return Window.IsIn(address, Window.Const) ? ConstSpace.Read(w, i, lane, address - Window.Const, bytes) : throw GlobalSpace.Wrong(w, i, lane, address, bytes, "read");
    }

    public static byte* Write(Warp w, Instruction* i, int lane, ulong address, int bytes, byte* value)
    {
        if (address < Window.Shared)
            return GlobalSpace.Write(w, i, lane, address, bytes, value);
        if (Window.IsIn(address, Window.Shared))
            return SharedSpace.Write(w, i, lane, address - Window.Shared, bytes, value);
        return Window.IsIn(address, Window.Local)
            ? LocalSpace.Write(w, i, lane, address - Window.Local, bytes, value)
            : throw GlobalSpace.Wrong(w, i, lane, address, bytes, "write");
    }

    public static byte* ReadRange(Warp w, ulong address, int bytes) => address < Window.Shared ? GlobalSpace.ReadRange(w, address, bytes) : null;

    public static byte* WriteRange(Warp w, ulong address, int bytes) => address < Window.Shared ? GlobalSpace.WriteRange(w, address, bytes) : null;

    public static void Count(Warp w, uint exec, int bytes, bool store)
    {
        ulong address = w.Address[int.TrailingZeroCount((int)exec)];
        if (address < Window.Shared)
            GlobalSpace.Count(w, exec, bytes, store);
        else if (Window.IsIn(address, Window.Shared))
            SharedSpace.Count(w, exec, bytes, store);
    }
}
