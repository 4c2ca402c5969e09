using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Instructions;

/// <summary>Operators over 16 (4-byte) or 8 (8-byte) lanes at a time.</summary>
internal interface IVector1<T>
{
    static abstract Vector512<T> Apply(Vector512<T> a);
}

internal interface IVector2<T>
{
    static abstract Vector512<T> Apply(Vector512<T> a, Vector512<T> b);
}

internal interface IVector3<T>
{
    static abstract Vector512<T> Apply(Vector512<T> a, Vector512<T> b, Vector512<T> c);
}

/// <summary>Operators of a lane; narrower values come and go zero-extended.</summary>
internal interface ILane1<TA, TR>
{
    static abstract TR Apply(TA a);
}

internal interface ILane2<TA, TB, TR>
{
    static abstract TR Apply(TA a, TB b);
}

internal interface ILane3<TA, TB, TC, TR>
{
    static abstract TR Apply(TA a, TB b, TC c);
}

/// <summary>The loops over a warp's lanes that all arithmetic shares; D is the destination, A, B and C are the sources.</summary>
internal static unsafe class Loops
{
    private const MethodImplOptions Fast = MethodImplOptions.AggressiveOptimization;

    [MethodImpl(Fast)]
    public static void Vector1<T, TOp>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
        where TOp : struct, IVector1<T>
    {
        T* a = (T*)w.At(i->A), d = (T*)w.At(i->D);
        if (exec == w.Live)
        {
            for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
                TOp.Apply(Vector512.Load(a + lane)).Store(d + lane);
            return;
        }

        for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
            Merge(d + lane, TOp.Apply(Vector512.Load(a + lane)), exec >> lane);
    }

    [MethodImpl(Fast)]
    public static void Vector2<T, TOp>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
        where TOp : struct, IVector2<T>
    {
        T* a = (T*)w.At(i->A), b = (T*)w.At(i->B), d = (T*)w.At(i->D);
        if (exec == w.Live)
        {
            for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
                TOp.Apply(Vector512.Load(a + lane), Vector512.Load(b + lane)).Store(d + lane);
            return;
        }

        for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
            Merge(d + lane, TOp.Apply(Vector512.Load(a + lane), Vector512.Load(b + lane)), exec >> lane);
    }

    [MethodImpl(Fast)]
    public static void Vector3<T, TOp>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
        where TOp : struct, IVector3<T>
    {
        T* a = (T*)w.At(i->A), b = (T*)w.At(i->B), c = (T*)w.At(i->C), d = (T*)w.At(i->D);
        if (exec == w.Live)
        {
            for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
                TOp.Apply(Vector512.Load(a + lane), Vector512.Load(b + lane), Vector512.Load(c + lane)).Store(d + lane);
            return;
        }

        for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
            Merge(d + lane, TOp.Apply(Vector512.Load(a + lane), Vector512.Load(b + lane), Vector512.Load(c + lane)), exec >> lane);
    }

    [MethodImpl(Fast)]
    public static void Lane1<TA, TR, TOp>(Warp w, Instruction* i, uint exec)
        where TA : unmanaged
        where TR : unmanaged
        where TOp : struct, ILane1<TA, TR>
    {
        TA* a = (TA*)w.At(i->A);
        TR* d = (TR*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = TOp.Apply(a[lane]);
        }
    }

    [MethodImpl(Fast)]
    public static void Lane2<TA, TB, TR, TOp>(Warp w, Instruction* i, uint exec)
        where TA : unmanaged
        where TB : unmanaged
        where TR : unmanaged
        where TOp : struct, ILane2<TA, TB, TR>
    {
        TA* a = (TA*)w.At(i->A);
        TB* b = (TB*)w.At(i->B);
        TR* d = (TR*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = TOp.Apply(a[lane], b[lane]);
        }
    }

    [MethodImpl(Fast)]
    public static void Lane3<TA, TB, TC, TR, TOp>(Warp w, Instruction* i, uint exec)
        where TA : unmanaged
        where TB : unmanaged
        where TC : unmanaged
        where TR : unmanaged
        where TOp : struct, ILane3<TA, TB, TC, TR>
    {
        TA* a = (TA*)w.At(i->A);
        TB* b = (TB*)w.At(i->B);
        TC* c = (TC*)w.At(i->C);
        TR* d = (TR*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = TOp.Apply(a[lane], b[lane], c[lane]);
        }
    }

    /// <summary>Writes the lanes whose bit is set; bit 0 is the first lane of the vector.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Merge<T>(T* target, Vector512<T> value, uint lanes)
        where T : unmanaged => Vector512.ConditionalSelect(Mask<T>(lanes), value, Vector512.Load(target)).Store(target);

    /// <summary>All bits of the lanes whose bit is set.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Mask<T>(uint lanes)
    {
        if (Unsafe.SizeOf<T>() == 4)
        {
            Vector512<uint> bits = Vector512.Create(1u, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768);
            return Vector512.Equals(Vector512.Create(lanes) & bits, bits).As<uint, T>();
        }

        Vector512<ulong> wide = Vector512.Create(1ul, 2, 4, 8, 16, 32, 64, 128);
        return Vector512.Equals(Vector512.Create((ulong)lanes) & wide, wide).As<ulong, T>();
    }
}
