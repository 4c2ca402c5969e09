using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Instructions;

/// <summary>Integer handlers with a shape of their own.</summary>
internal static unsafe class BitOps
{
    private const int CarryPredicate = 2;

    /// <summary>Shifts by a constant, Mode, up to the width.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ShiftLeft<T>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
    {
        T* a = (T*)w.At(i->A), d = (T*)w.At(i->D);
        int count = i->Mode;
        for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
            Loops.Merge(d + lane, count >= sizeof(T) * 8 ? Vector512<T>.Zero : Shift(Vector512.Load(a + lane), count), exec >> lane);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ShiftRight<T>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
    {
        T* a = (T*)w.At(i->A), d = (T*)w.At(i->D);
        int count = i->Mode;
        for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
            Loops.Merge(d + lane, count >= sizeof(T) * 8 ? Vector512<T>.Zero : ShiftLogical(Vector512.Load(a + lane), count), exec >> lane);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ShiftRightSigned32(Warp w, Instruction* i, uint exec)
    {
        int* a = (int*)w.At(i->A), d = (int*)w.At(i->D);
        for (int lane = 0; lane < Warp.Lanes; lane += 16)
            Loops.Merge(d + lane, Vector512.ShiftRightArithmetic(Vector512.Load(a + lane), Math.Min(i->Mode, 31)), exec >> lane);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ShiftRightSigned64(Warp w, Instruction* i, uint exec)
    {
        long* a = (long*)w.At(i->A), d = (long*)w.At(i->D);
        for (int lane = 0; lane < Warp.Lanes; lane += 8)
            Loops.Merge(d + lane, Vector512.ShiftRightArithmetic(Vector512.Load(a + lane), Math.Min(i->Mode, 63)), exec >> lane);
    }

    /// <summary>mul.wide of 32 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyWide<TFrom, TTo>(Warp w, Instruction* i, uint exec)
        where TFrom : unmanaged, IBinaryInteger<TFrom>
        where TTo : unmanaged, IBinaryInteger<TTo>
    {
        TFrom* a = (TFrom*)w.At(i->A), b = (TFrom*)w.At(i->B);
        TTo* d = (TTo*)w.At(i->D);
        if (exec == w.Live)
        {
            for (int lane = 0; lane < Warp.Lanes; lane++)
                d[lane] = unchecked(TTo.CreateTruncating(a[lane]) * TTo.CreateTruncating(b[lane]));
            return;
        }

        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = unchecked(TTo.CreateTruncating(a[lane]) * TTo.CreateTruncating(b[lane]));
        }
    }

    /// <summary>add.cc and its kin: Mode bit 0 subtract, bit 1 use the carry; Flag: set it.</summary>
    public static void Carry<T>(Warp w, Instruction* i, uint exec)
        where T : unmanaged, IBinaryInteger<T>
    {
        T* a = (T*)w.At(i->A), b = (T*)w.At(i->B), d = (T*)w.At(i->D);
        bool subtract = (i->Mode & 1) != 0;
        uint carry = (i->Mode & 2) != 0 ? w.Predicates[CarryPredicate] : subtract ? uint.MaxValue : 0, result = 0;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            UInt128 sum = UInt128.CreateTruncating(a[lane]) + UInt128.CreateTruncating(subtract ? ~b[lane] : b[lane]) + (carry >> lane & 1);
            d[lane] = T.CreateTruncating(sum);
            result |= (uint)(sum >> (sizeof(T) * 8) & 1) << lane;
        }

        if (i->Flag)
            w.SetPredicate(CarryPredicate, result, exec);
    }

    /// <summary>bfi: A into B at position C, E bits long.</summary>
    public static void Insert<T>(Warp w, Instruction* i, uint exec)
        where T : unmanaged, IBinaryInteger<T>
    {
        T* a = (T*)w.At(i->A), b = (T*)w.At(i->B), d = (T*)w.At(i->D);
        uint* c = (uint*)w.At(i->C), e = (uint*)w.At(i->E);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            int position = (int)(c[lane] & 255), length = (int)(e[lane] & 255);
            UInt128 mask = position >= 128 ? 0 : ((UInt128.One << Math.Min(length, 127)) - 1) << position;
            UInt128 field = position >= 128 ? 0 : UInt128.CreateTruncating(a[lane]) << position;
            d[lane] = T.CreateTruncating((field & mask) | (UInt128.CreateTruncating(b[lane]) & ~mask));
        }
    }

    /// <summary>lop3: Mode is the table, bit 4a+2b+c.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Lookup(Warp w, Instruction* i, uint exec)
    {
        uint* a = (uint*)w.At(i->A), b = (uint*)w.At(i->B), c = (uint*)w.At(i->C), d = (uint*)w.At(i->D);
        for (int lane = 0; lane < Warp.Lanes; lane += 16)
        {
            Vector512<uint> x = Vector512.Load(a + lane), y = Vector512.Load(b + lane), z = Vector512.Load(c + lane), result = Vector512<uint>.Zero;
            for (int term = 0; term < 8; term++)
            {
                if ((i->Mode >> term & 1) != 0)
                    result |= ((term & 4) != 0 ? x : ~x) & ((term & 2) != 0 ? y : ~y) & ((term & 1) != 0 ? z : ~z);
            }

            Loops.Merge(d + lane, result, exec >> lane);
        }
    }

    public static void PermuteBytes(Warp w, Instruction* i, uint exec)
    {
        uint* a = (uint*)w.At(i->A), b = (uint*)w.At(i->B), c = (uint*)w.At(i->C), d = (uint*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = Permute.Apply(a[lane], b[lane], i->Mode == 0 ? c[lane] : Permute.Selector(i->Mode, c[lane]));
        }
    }

    /// <summary>mov d, {a, b, …}: the first is lowest. List holds the parts of Mode bits; Width is the whole's.</summary>
    public static void Pack(Warp w, Instruction* i, uint exec)
    {
        byte* d = w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong whole = 0;
            for (int n = 0; n < i->Count; n++)
                whole |= (ulong)((uint*)w.At(i->List[n]))[lane] << (n * i->Mode);
            if (i->Width == 64)
                ((ulong*)d)[lane] = whole;
            else
                ((uint*)d)[lane] = (uint)whole;
        }
    }

    /// <summary>mov {a, b, …}, d.</summary>
    public static void Unpack(Warp w, Instruction* i, uint exec)
    {
        byte* a = w.At(i->A);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong whole = i->Width == 64 ? ((ulong*)a)[lane] : ((uint*)a)[lane];
            for (int n = 0; n < i->Count; n++)
                ((uint*)w.At(i->List[n]))[lane] = (uint)((whole >> (n * i->Mode)) & ((1UL << i->Mode) - 1));
        }
    }

    public static void FlushThenAbs(Warp w, Instruction* i, uint exec) => Loops.Vector1<float, AbsOfFlushed>(w, i, exec);

    public static void FlushThenNegate(Warp w, Instruction* i, uint exec) => Loops.Vector1<float, NegativeOfFlushed>(w, i, exec);

    private struct AbsOfFlushed : IVector1<float>
    {
        public static Vector512<float> Apply(Vector512<float> a) => AbsFloat.Apply(Flush.Apply(a).AsUInt32()).AsSingle();
    }

    private struct NegativeOfFlushed : IVector1<float>
    {
        public static Vector512<float> Apply(Vector512<float> a) => NegateFloat.Apply(Flush.Apply(a).AsUInt32()).AsSingle();
    }

    private static Vector512<T> Shift<T>(Vector512<T> value, int count) =>
        Unsafe.SizeOf<T>() == 8 ? Vector512.ShiftLeft(value.AsUInt64(), count).As<ulong, T>() : Vector512.ShiftLeft(value.AsUInt32(), count).As<uint, T>();

    private static Vector512<T> ShiftLogical<T>(Vector512<T> value, int count) =>
        Unsafe.SizeOf<T>() == 8 ? Vector512.ShiftRightLogical(value.AsUInt64(), count).As<ulong, T>() : Vector512.ShiftRightLogical(value.AsUInt32(), count).As<uint, T>();
}
