using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Instructions;

/// <summary>Comparison operators. For floats the plain ones are false on NaN, also ne; the unordered ones true (ptx.md §4).</summary>
internal enum Comparison : byte { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan }

internal struct Equal<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => Vector512.Equals(a, b);
}

internal struct Less<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => Vector512.LessThan(a, b);
}

internal struct LessOrEqual<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => Vector512.LessThanOrEqual(a, b);
}

/// <summary>b op a: greater from less.</summary>
internal struct Swapped<T, TOp> : IVector2<T>
    where TOp : struct, IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => TOp.Apply(b, a);
}

/// <summary>The complement: ne from eq, geu from lt.</summary>
internal struct Complement<T, TOp> : IVector2<T>
    where TOp : struct, IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => ~TOp.Apply(a, b);
}

internal struct Ordered<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => Vector512.Equals(a, a) & Vector512.Equals(b, b);
}

internal struct OrderedAnd<T, TOp> : IVector2<T>
    where TOp : struct, IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => Ordered<T>.Apply(a, b) & TOp.Apply(a, b);
}

internal struct UnorderedOr<T, TOp> : IVector2<T>
    where TOp : struct, IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => ~Ordered<T>.Apply(a, b) | TOp.Apply(a, b);
}

/// <summary>Signed 16-bit sources.</summary>
internal struct Signed16Comparison<TOp> : IVector2<uint>
    where TOp : struct, IVector2<int>
{
    public static Vector512<uint> Apply(Vector512<uint> a, Vector512<uint> b) => TOp.Apply(Half16.Extend(a), Half16.Extend(b)).AsUInt32();
}

internal struct FtzComparison<TOp> : IVector2<float>
    where TOp : struct, IVector2<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b) => TOp.Apply(Flush.Apply(a), Flush.Apply(b));
}

/// <summary>f16 or bf16 sources in the low half.</summary>
internal struct HalfComparison<TFormat, TOp> : IVector2<uint>
    where TFormat : struct, IHalfFormat
    where TOp : struct, IVector2<float>
{
    public static Vector512<uint> Apply(Vector512<uint> a, Vector512<uint> b) => TOp.Apply(Read(a), Read(b)).AsUInt32();

    private static Vector512<float> Read(Vector512<uint> a)
    {
        Vector512<float> result = default;
        for (int lane = 0; lane < Vector512<uint>.Count; lane++)
            result = result.WithElement(lane, TFormat.Read(a.GetElement(lane) & 0xFFFF));
        return result;
    }
}

internal static unsafe class CompareOps
{
    public const int None = 0, AndWith = 1, OrWith = 2, XorWith = 3;

    /// <summary>setp p|q, a, b {, c}: P is p, Q is q (−1: absent), R is c, Mode the combination.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Setp<T, TOp>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
        where TOp : struct, IVector2<T>
    {
        uint holds = Compare<T, TOp>(w, i);
        uint other = ~holds;
        if (i->Mode != None)
        {
            uint c = w.Predicate(i->R);
            (holds, other) = i->Mode switch
            {
                AndWith => (holds & c, other & c),
                OrWith => (holds | c, other | c),
                _ => (holds ^ c, other ^ c),
            };
        }

        w.SetPredicate(i->P, holds, exec);
        if (i->Q >= 0)
            w.SetPredicate(i->Q, other, exec);
    }

    /// <summary>setp of two halves: P is the low one's result, Q the high one's.</summary>
    public static void SetpPair<TOp>(Warp w, Instruction* i, uint exec)
        where TOp : struct, IVector2<uint>
    {
        uint low = Combine(w, i, Compare<uint, TOp>(w, i)), high = Combine(w, i, Compare<uint, HighHalves<TOp>>(w, i));
        w.SetPredicate(i->P, low, exec);
        w.SetPredicate(i->Q, high, exec);
    }

    /// <summary>set of two halves: Target holds the bits of a half that holds.</summary>
    public static void SetPair<TOp>(Warp w, Instruction* i, uint exec)
        where TOp : struct, IVector2<uint>
    {
        uint low = Combine(w, i, Compare<uint, TOp>(w, i)), high = Combine(w, i, Compare<uint, HighHalves<TOp>>(w, i)), yes = (uint)i->Target;
        uint* d = (uint*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = ((low >> lane & 1) != 0 ? yes : 0) | ((high >> lane & 1) != 0 ? yes << 16 : 0);
        }
    }

    private static uint Combine(Warp w, Instruction* i, uint holds) => i->Mode switch
    {
        None => holds, AndWith => holds & w.Predicate(i->R), OrWith => holds | w.Predicate(i->R), _ => holds ^ w.Predicate(i->R),
    };

    private struct HighHalves<TOp> : IVector2<uint>
        where TOp : struct, IVector2<uint>
    {
        public static Vector512<uint> Apply(Vector512<uint> a, Vector512<uint> b) => TOp.Apply(Vector512.ShiftRightLogical(a, 16), Vector512.ShiftRightLogical(b, 16));
    }

    /// <summary>set.cmp.dtype: D gets the bits in Target (all ones, or 1.0) where it holds.</summary>
    public static void Set<T, TOp>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
        where TOp : struct, IVector2<T>
    {
        uint holds = Combine(w, i, Compare<T, TOp>(w, i)), yes = (uint)i->Target;
        uint* d = (uint*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = (holds >> lane & 1) != 0 ? yes : 0;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Compare<T, TOp>(Warp w, Instruction* i)
        where T : unmanaged
        where TOp : struct, IVector2<T>
    {
        T* a = (T*)w.At(i->A), b = (T*)w.At(i->B);
        uint holds = 0;
        for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
            holds |= (uint)TOp.Apply(Vector512.Load(a + lane), Vector512.Load(b + lane)).ExtractMostSignificantBits() << lane;
        return holds;
    }

    /// <summary>selp: R ? A : B.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Select<T>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
    {
        T* a = (T*)w.At(i->A), b = (T*)w.At(i->B), d = (T*)w.At(i->D);
        uint c = w.Predicate(i->R);
        for (int lane = 0; lane < Warp.Lanes; lane += Vector512<T>.Count)
        {
            Vector512<T> value = Vector512.ConditionalSelect(Loops.Mask<T>(c >> lane), Vector512.Load(a + lane), Vector512.Load(b + lane));
            if (exec == w.Live)
                value.Store(d + lane);
            else
                Loops.Merge(d + lane, value, exec >> lane);
        }
    }

    /// <summary>slct with an integer selector: C ≥ 0 ? A : B.</summary>
    public static void SelectBySign<T>(Warp w, Instruction* i, uint exec)
        where T : unmanaged
    {
        T* a = (T*)w.At(i->A), b = (T*)w.At(i->B), d = (T*)w.At(i->D);
        int* c = (int*)w.At(i->C);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            bool first = i->Flag ? BitConverter.Int32BitsToSingle(c[lane]) is var f && (i->Mode == 1 ? Flush.Apply(f) : f) >= 0 : c[lane] >= 0;
            d[lane] = first ? a[lane] : b[lane];
        }
    }

    /// <summary>Logic and moves of predicates: Mode 0 mov, 1 and, 2 or, 3 xor, 4 not.</summary>
    public static void PredicateLogic(Warp w, Instruction* i, uint exec)
    {
        uint a = w.Predicate(i->Q), b = w.Predicate(i->R);
        w.SetPredicate(i->P, i->Mode switch { 1 => a & b, 2 => a | b, 3 => a ^ b, 4 => ~a, _ => a }, exec);
    }

    /// <summary>testp on f32 (Width 32) or f64: Mode 0 finite, 1 infinite, 2 number, 3 notanumber, 4 normal (true for zero), 5 subnormal.</summary>
    public static void Test(Warp w, Instruction* i, uint exec)
    {
        uint holds = 0;
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            bool wide = i->Width == 64;
            double value = wide ? ((double*)w.At(i->A))[lane] : ((float*)w.At(i->A))[lane];
            bool subnormal = wide ? double.IsSubnormal(value) : float.IsSubnormal((float)value);
            bool yes = i->Mode switch
            {
                0 => double.IsFinite(value), 1 => double.IsInfinity(value), 2 => !double.IsNaN(value), 3 => double.IsNaN(value),
                4 => double.IsFinite(value) && !subnormal, _ => subnormal,
            };
            holds |= yes ? 1u << lane : 0;
        }

        w.SetPredicate(i->P, holds, exec);
    }
}
