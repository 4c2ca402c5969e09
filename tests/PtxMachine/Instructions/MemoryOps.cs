using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// Loads and stores. A is the address (Width 64 or 32 bits), Immediate its offset, List the registers of the vector, Count their number; Mode 1: the access
/// is volatile or relaxed; Flag: sign-extend; Aligned: .nc. Loaded values are extended to the register, stored ones are the register's low bits.
/// </summary>
internal static unsafe class MemoryOps
{
    /// <summary>Fills <see cref="Warp.Address"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Addresses(Warp w, Instruction* i)
    {
        if (i->Width == 64)
        {
            ulong* a = (ulong*)w.At(i->A);
            Vector512<ulong> offset = Vector512.Create((ulong)i->Immediate);
            for (int lane = 0; lane < Warp.Lanes; lane += 8)
                (Vector512.Load(a + lane) + offset).Store(w.Address + lane);
            return;
        }

        uint* narrow = (uint*)w.At(i->A);
        for (int lane = 0; lane < Warp.Lanes; lane++)
            w.Address[lane] = (uint)(narrow[lane] + i->Immediate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Load<TElement, TRegister, TSpace>(Warp w, Instruction* i, uint exec)
        where TElement : unmanaged, IBinaryInteger<TElement>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
        where TSpace : struct, ISpace
    {
        Addresses(w, i);
        int count = i->Count, bytes = count * sizeof(TElement);
        if (exec == uint.MaxValue && i->Mode == 0 && IsRange(w, bytes) && TSpace.ReadRange(w, w.Address[0], bytes * Warp.Lanes) is var range && range != null)
        {
            CountRange<TSpace>(w, bytes, store: false);
            if (i->Aligned)
                GlobalSpace.ReadOnly(w, i, 0, w.Address[0], bytes * Warp.Lanes);
            for (int n = 0; n < count; n++)
                Gather<TElement, TRegister>((TElement*)range + n, count, (TRegister*)w.At(i->List[n]), i);
            return;
        }

        TSpace.Count(w, exec, bytes, store: false);
        w.Polled |= i->Mode == 1;
        if (typeof(TSpace) == typeof(SharedSpace) && i->Mode == 0 && w.Block.Shared.ReadLanes(w.Address, exec, bytes, w.Index))
        {
            for (int n = 0; n < count; n++)
            {
                var target = (TRegister*)w.At(i->List[n]);
                for (uint rest = exec; rest != 0; rest &= rest - 1)
                {
                    int lane = BitOperations.TrailingZeroCount(rest);
                    target[lane] = Extend<TElement, TRegister>(((TElement*)(w.Block.Shared.Data + w.Address[lane]))[n], i);
                }
            }

            return;
        }

        if (exec == uint.MaxValue && IsSame(w))
        {
            Broadcast<TElement, TRegister, TSpace>(w, i, bytes);
            return;
        }

        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            var source = (TElement*)TSpace.Read(w, i, lane, w.Address[lane], bytes);
            if (i->Aligned)
                GlobalSpace.ReadOnly(w, i, lane, w.Address[lane], bytes);
            for (int n = 0; n < count; n++)
                ((TRegister*)w.At(i->List[n]))[lane] = Extend<TElement, TRegister>(source[n], i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store<TElement, TRegister, TSpace>(Warp w, Instruction* i, uint exec)
        where TElement : unmanaged, IBinaryInteger<TElement>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
        where TSpace : struct, ISpace
    {
        Addresses(w, i);
        int count = i->Count, bytes = count * sizeof(TElement);
        if (exec == uint.MaxValue && i->Mode == 0 && IsRange(w, bytes) && TSpace.WriteRange(w, w.Address[0], bytes * Warp.Lanes) is var range && range != null)
        {
            CountRange<TSpace>(w, bytes, store: true);
            for (int n = 0; n < count; n++)
            {
                var source = (TRegister*)w.At(i->List[n]);
                TElement* target = (TElement*)range + n;
                if (count == 1 && sizeof(TElement) == sizeof(TRegister))
                {
                    Unsafe.CopyBlockUnaligned(target, source, (uint)(Warp.Lanes * sizeof(TElement)));
                    continue;
                }

                for (int lane = 0; lane < Warp.Lanes; lane++)
                    target[lane * count] = TElement.CreateTruncating(source[lane]);
            }

            return;
        }

        TSpace.Count(w, exec, bytes, store: true);
        if (typeof(TSpace) == typeof(SharedSpace) && i->Mode == 0 && w.Block.Shared.WriteLanes(w.Address, exec, bytes, w.Index))
        {
            for (int n = 0; n < count; n++)
            {
                var source = (TRegister*)w.At(i->List[n]);
                for (uint rest = exec; rest != 0; rest &= rest - 1)
                {
                    int lane = BitOperations.TrailingZeroCount(rest);
                    ((TElement*)(w.Block.Shared.Data + w.Address[lane]))[n] = TElement.CreateTruncating(source[lane]);
                }
            }

            return;
        }

        TElement* value = stackalloc TElement[16];
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            for (int n = 0; n < count; n++)
                value[n] = TElement.CreateTruncating(((TRegister*)w.At(i->List[n]))[lane]);
            byte* target = TSpace.Write(w, i, lane, w.Address[lane], bytes, (byte*)value);
            Unsafe.CopyBlockUnaligned(target, value, (uint)bytes);
        }
    }

    /// <summary>prefetch, discard and the like: nothing to see, not even a bad address (a prefetch never faults).</summary>
    public static void Nothing(Warp w, Instruction* i, uint exec)
    {
    }

    /// <summary>membar and fence: memory is sequentially consistent here; the race checks take note.</summary>
    public static void Fence(Warp w, Instruction* i, uint exec) => w.Block.Shared.Fence(w.Index);

    /// <summary>nanosleep: others run first.</summary>
    public static void Sleep(Warp w, Instruction* i, uint exec) => w.EndTurn();

    /// <summary>isspacep: Mode is the <see cref="Parsing.Space"/>.</summary>
    public static void IsSpace(Warp w, Instruction* i, uint exec)
    {
        uint holds = 0;
        var a = (ulong*)w.At(i->A);
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            bool yes = (Parsing.Space)i->Mode switch
            {
                Parsing.Space.Shared => Window.IsIn(a[lane], Window.Shared),
                Parsing.Space.Local => Window.IsIn(a[lane], Window.Local),
                Parsing.Space.Const => Window.IsIn(a[lane], Window.Const),
                _ => a[lane] < Window.Shared,
            };
            holds |= yes ? 1u << lane : 0;
        }

        w.SetPredicate(i->P, holds, exec);
    }

    /// <summary>All lanes read one address: two of them look, so that at least one is not the writer.</summary>
    private static void Broadcast<TElement, TRegister, TSpace>(Warp w, Instruction* i, int bytes)
        where TElement : unmanaged, IBinaryInteger<TElement>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
        where TSpace : struct, ISpace
    {
        var source = (TElement*)TSpace.Read(w, i, 0, w.Address[0], bytes);
        if (i->Aligned)
            GlobalSpace.ReadOnly(w, i, 0, w.Address[0], bytes);
        bool perLane = (byte*)source != TSpace.Read(w, i, 1, w.Address[0], bytes); // local memory: an address means another place in every lane
        for (int n = 0; n < i->Count; n++)
        {
            var target = (TRegister*)w.At(i->List[n]);
            if (!perLane)
            {
                new Span<TRegister>(target, Warp.Lanes).Fill(Extend<TElement, TRegister>(source[n], i));
                continue;
            }

            for (int lane = 0; lane < Warp.Lanes; lane++)
                target[lane] = Extend<TElement, TRegister>(((TElement*)TSpace.Read(w, i, lane, w.Address[lane], bytes))[n], i);
        }
    }

    private static void CountRange<TSpace>(Warp w, int bytes, bool store)
        where TSpace : struct, ISpace
    {
        if (typeof(TSpace) == typeof(SharedSpace))
            w.Block.Counters.SharedAccesses += w.Block.Launch.Options.Count ? 1 : 0; // neighbours never conflict
        else
            AccessCounts.GlobalRange(w, w.Address[0], bytes * Warp.Lanes, store);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsSame(Warp w)
    {
        if (w.Address[0] != w.Address[Warp.Lanes - 1])
            return false;
        Vector512<ulong> first = Vector512.Create(w.Address[0]), other = Vector512<ulong>.Zero;
        for (int lane = 0; lane < Warp.Lanes; lane += 8)
            other |= Vector512.Load(w.Address + lane) ^ first;
        return other == Vector512<ulong>.Zero;
    }

    /// <summary>True when the 32 lanes access neighbours in order, aligned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsRange(Warp w, int bytes)
    {
        ulong first = w.Address[0];
        if ((first & (ulong)(bytes - 1)) != 0 || w.Address[Warp.Lanes - 1] - first != (ulong)(bytes * (Warp.Lanes - 1)))
            return false;
        Vector512<ulong> expected = Vector512.Create(first) + (Vector512<ulong>.Indices * Vector512.Create((ulong)bytes));
        Vector512<ulong> step = Vector512.Create((ulong)bytes * 8), wrong = Vector512<ulong>.Zero;
        for (int lane = 0; lane < Warp.Lanes; lane += 8, expected += step)
            wrong |= Vector512.Load(w.Address + lane) ^ expected;
        return wrong == Vector512<ulong>.Zero;
    }

    /// <summary>One register of a range: 32 elements at a distance.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Gather<TElement, TRegister>(TElement* source, int stride, TRegister* target, Instruction* i)
        where TElement : unmanaged, IBinaryInteger<TElement>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
    {
        if (sizeof(TElement) == sizeof(TRegister) && stride == 1)
        {
            Unsafe.CopyBlockUnaligned(target, source, (uint)(Warp.Lanes * sizeof(TRegister)));
            return;
        }

        if (!i->Flag)
        {
            for (int lane = 0; lane < Warp.Lanes; lane++)
                target[lane] = TRegister.CreateTruncating(source[lane * stride]);
            return;
        }

        for (int lane = 0; lane < Warp.Lanes; lane++)
            target[lane] = Extend<TElement, TRegister>(source[lane * stride], i);
    }

    /// <summary>Target holds the register's width: 16-bit registers stay zero-extended in their lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TRegister Extend<TElement, TRegister>(TElement value, Instruction* i)
        where TElement : unmanaged, IBinaryInteger<TElement>
        where TRegister : unmanaged, IBinaryInteger<TRegister>
    {
        TRegister bits = TRegister.CreateTruncating(value);
        if (!i->Flag)
            return bits;
        int shift = 64 - (sizeof(TElement) * 8);
        long signed = (long)(ulong.CreateTruncating(value) << shift) >> shift;
        return i->Target == 16 ? TRegister.CreateTruncating((ushort)signed) : TRegister.CreateTruncating(signed);
    }
}
