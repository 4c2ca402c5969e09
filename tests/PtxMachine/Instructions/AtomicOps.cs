using System.Numerics;
using System.Runtime.CompilerServices;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// atom and red: A address, B and C operands, D the old value (Flag: none). Lanes go one after the other; kernels with global atomics run their blocks on one
/// host thread, so that sums of floats repeat.
/// </summary>
internal static unsafe class AtomicOps
{
    public static void Atomic<T, TOp, TSpace>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
        where TOp : struct, ILane3<T, T, T, T>
        where TSpace : struct, ISpace
    {
        MemoryOps.Addresses(w, i);
        w.Polled = true;
        int bytes = Unsafe.SizeOf<T>();
        T* b = (T*)w.At(i->B), c = (T*)w.At(i->C), d = (T*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong address = w.Address[lane];
            bool global = typeof(TSpace) == typeof(GlobalSpace) || (typeof(TSpace) == typeof(GenericSpace) && address < Window.Shared);
            T old = *(T*)TSpace.Read(w, i, lane, address, bytes), value;
            if (typeof(T) == typeof(float) && global) // ptx.md §3: f32 sums flush subnormals in global memory, not in shared
                value = (T)(object)Flush.Apply(Flush.Apply((float)(object)old) + Flush.Apply((float)(object)b[lane]));
            else
                value = TOp.Apply(old, b[lane], c[lane]);
            *(T*)TSpace.Write(w, i, lane, address, bytes, (byte*)&value) = value;
            w.Block.Counters.GlobalAtomics += global ? 1 : 0;
            if (!i->Flag)
                d[lane] = old;
        }
    }

    /// <summary>On 16 bits, whose registers have a lane of 32.</summary>
    public static void AtomicNarrow<TOp, TSpace>(Warp w, Instruction* i, uint exec)
        where TOp : struct, ILane3<ushort, ushort, ushort, ushort>
        where TSpace : struct, ISpace
    {
        MemoryOps.Addresses(w, i);
        w.Polled = true;
        uint* b = (uint*)w.At(i->B), c = (uint*)w.At(i->C), d = (uint*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong address = w.Address[lane];
            ushort old = *(ushort*)TSpace.Read(w, i, lane, address, sizeof(ushort)), value = TOp.Apply(old, (ushort)b[lane], (ushort)c[lane]);
            *(ushort*)TSpace.Write(w, i, lane, address, sizeof(ushort), (byte*)&value) = value;
            bool global = typeof(TSpace) == typeof(GlobalSpace) || (typeof(TSpace) == typeof(GenericSpace) && address < Window.Shared);
            w.Block.Counters.GlobalAtomics += global ? 1 : 0;
            if (!i->Flag)
                d[lane] = old;
        }
    }
}

/// <summary>An operation of the old value and b.</summary>
internal struct Combine<T, TOp> : ILane3<T, T, T, T>
    where TOp : struct, ILane2<T, T, T>
{
    public static T Apply(T old, T b, T c) => TOp.Apply(old, b);
}

internal struct Exchange<T> : ILane3<T, T, T, T>
{
    public static T Apply(T old, T b, T c) => b;
}

internal struct CompareAndSwap<T> : ILane3<T, T, T, T>
    where T : IEquatable<T>
{
    public static T Apply(T old, T b, T c) => old.Equals(b) ? c : old;
}

internal struct IncrementWrap : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint old, uint b, uint c) => old >= b ? 0 : old + 1;
}

internal struct DecrementWrap : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint old, uint b, uint c) => old == 0 || old > b ? b : old - 1;
}

/// <summary>Sums of 16-bit floats, two in a word.</summary>
internal struct AtomicHalf2<TFormat> : ILane3<uint, uint, uint, uint>
    where TFormat : struct, IHalfFormat
{
    public static uint Apply(uint old, uint b, uint c) => Half2<TFormat, HalfAdd>.Apply(old, b, 0);
}

internal struct AtomicHalf<TFormat> : ILane3<ushort, ushort, ushort, ushort>
    where TFormat : struct, IHalfFormat
{
    public static ushort Apply(ushort old, ushort b, ushort c) => (ushort)Half1<TFormat, HalfAdd>.Apply(old, b, 0);
}
