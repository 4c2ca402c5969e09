using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Ptx.Instructions;

internal struct Add<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => a + b;
}

internal struct Subtract<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => a - b;
}

internal struct Multiply<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => a * b;
}

internal struct MultiplyAdd<T> : IVector3<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b, Vector512<T> c) => (a * b) + c;
}

internal struct Divide<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => a / b;
}

internal struct And<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => a & b;
}

internal struct Or<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => a | b;
}

internal struct Xor<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => a ^ b;
}

internal struct Not<T> : IVector1<T>
{
    public static Vector512<T> Apply(Vector512<T> a) => ~a;
}

internal struct Move<T> : IVector1<T>
{
    public static Vector512<T> Apply(Vector512<T> a) => a;
}

internal struct Negate<T> : IVector1<T>
{
    public static Vector512<T> Apply(Vector512<T> a) => Vector512<T>.Zero - a;
}

/// <summary>Integer absolute value; the smallest number stays.</summary>
internal struct AbsInteger<T> : IVector1<T>
{
    public static Vector512<T> Apply(Vector512<T> a) => Vector512.ConditionalSelect(Vector512.LessThan(a, Vector512<T>.Zero), Vector512<T>.Zero - a, a);
}

internal struct MinInteger<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => Vector512.ConditionalSelect(Vector512.LessThan(a, b), a, b);
}

internal struct MaxInteger<T> : IVector2<T>
{
    public static Vector512<T> Apply(Vector512<T> a, Vector512<T> b) => Vector512.ConditionalSelect(Vector512.GreaterThan(a, b), a, b);
}

/// <summary>The sign bit of a float flipped, NaN too.</summary>
internal struct NegateFloat : IVector1<uint>
{
    public static Vector512<uint> Apply(Vector512<uint> a) => a ^ Vector512.Create(0x80000000u);
}

internal struct NegateDouble : IVector1<ulong>
{
    public static Vector512<ulong> Apply(Vector512<ulong> a) => a ^ Vector512.Create(1UL << 63);
}

internal struct AbsFloat : IVector1<uint>
{
    public static Vector512<uint> Apply(Vector512<uint> a) => a & Vector512.Create(0x7FFFFFFFu);
}

internal struct AbsDouble : IVector1<ulong>
{
    public static Vector512<ulong> Apply(Vector512<ulong> a) => a & Vector512.Create(long.MaxValue).AsUInt64();
}

internal struct FmaFloat : IVector3<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b, Vector512<float> c) => Vector512.FusedMultiplyAdd(a, b, c);
}

internal struct FmaDouble : IVector3<double>
{
    public static Vector512<double> Apply(Vector512<double> a, Vector512<double> b, Vector512<double> c) => Vector512.FusedMultiplyAdd(a, b, c);
}

internal struct SqrtFloat : IVector1<float>
{
    public static Vector512<float> Apply(Vector512<float> a) => Vector512.Sqrt(a);
}

internal struct SqrtDouble : IVector1<double>
{
    public static Vector512<double> Apply(Vector512<double> a) => Vector512.Sqrt(a);
}

/// <summary>min and max (ptx.md §4): the number beats NaN, −0 &lt; +0, two NaN give the canonical one.</summary>
internal struct MinFloat : IVector2<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b) =>
        Extremum.Pick(a, b, Vector512.LessThan(a, b) | (Vector512.Equals(a, b) & Vector512.LessThan(a.AsInt32(), Vector512<int>.Zero).AsSingle()));
}

internal struct MaxFloat : IVector2<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b) =>
        Extremum.Pick(a, b, Vector512.GreaterThan(a, b) | (Vector512.Equals(a, b) & Vector512.GreaterThanOrEqual(a.AsInt32(), Vector512<int>.Zero).AsSingle()));
}

/// <summary>The .NaN forms: any NaN gives the canonical one.</summary>
internal struct NanPropagating<TOp> : IVector2<float>
    where TOp : struct, IVector2<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b)
    {
        Vector512<float> ordered = Vector512.Equals(a, a) & Vector512.Equals(b, b);
        return Vector512.ConditionalSelect(ordered, TOp.Apply(a, b), Extremum.CanonicalNaN);
    }
}

/// <summary>.xorsign.abs: of the magnitudes, with the signs' product; NaN stays canonical.</summary>
internal struct OfMagnitudes<TOp> : IVector2<float>
    where TOp : struct, IVector2<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b)
    {
        Vector512<float> result = TOp.Apply(Vector512.Abs(a), Vector512.Abs(b));
        Vector512<uint> sign = (a.AsUInt32() ^ b.AsUInt32()) & Vector512.Create(0x80000000u);
        return Vector512.ConditionalSelect(Vector512.Equals(result, result), (result.AsUInt32() | sign).AsSingle(), result);
    }
}

internal static class Extremum
{
    public static Vector512<float> CanonicalNaN => Vector512.Create(0x7FFFFFFFu).AsSingle();

    public static Vector512<float> Pick(Vector512<float> a, Vector512<float> b, Vector512<float> takesA)
    {
        Vector512<float> aIsNumber = Vector512.Equals(a, a), bIsNumber = Vector512.Equals(b, b);
        Vector512<float> number = Vector512.ConditionalSelect(aIsNumber & (takesA | ~bIsNumber), a, b);
        return Vector512.ConditionalSelect(aIsNumber | bIsNumber, number, CanonicalNaN);
    }
}

/// <summary>.ftz: subnormal inputs and results become zeros of their sign.</summary>
internal struct Ftz1<TOp> : IVector1<float>
    where TOp : struct, IVector1<float>
{
    public static Vector512<float> Apply(Vector512<float> a) => Flush.Apply(TOp.Apply(Flush.Apply(a)));
}

internal struct Ftz2<TOp> : IVector2<float>
    where TOp : struct, IVector2<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b) => Flush.Apply(TOp.Apply(Flush.Apply(a), Flush.Apply(b)));
}

internal struct Ftz3<TOp> : IVector3<float>
    where TOp : struct, IVector3<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b, Vector512<float> c) => Flush.Apply(TOp.Apply(Flush.Apply(a), Flush.Apply(b), Flush.Apply(c)));
}

/// <summary>.sat: clamped to [0, 1], NaN gives +0.</summary>
internal struct Saturate2<TOp> : IVector2<float>
    where TOp : struct, IVector2<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b) => Flush.Saturate(TOp.Apply(a, b));
}

internal struct Saturate3<TOp> : IVector3<float>
    where TOp : struct, IVector3<float>
{
    public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b, Vector512<float> c) => Flush.Saturate(TOp.Apply(a, b, c));
}

internal static class Flush
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Apply(Vector512<float> a)
    {
        Vector512<uint> bits = a.AsUInt32();
        Vector512<uint> magnitude = bits & Vector512.Create(0x7FFFFFFFu);
        Vector512<uint> small = Vector512.LessThan(magnitude, Vector512.Create(0x00800000u));
        return Vector512.ConditionalSelect(small, bits & Vector512.Create(0x80000000u), bits).AsSingle();
    }

    public static float Apply(float a) => MathF.Abs(a) < 1.17549435e-38f ? MathF.CopySign(0, a) : a;

    public static Vector512<float> Saturate(Vector512<float> a)
    {
        Vector512<float> positive = Vector512.ConditionalSelect(Vector512.GreaterThan(a, Vector512<float>.Zero), a, Vector512<float>.Zero);
        return Vector512.ConditionalSelect(Vector512.LessThan(positive, Vector512<float>.One), positive, Vector512<float>.One);
    }

    public static float Saturate(float a) => a > 0 ? (a < 1 ? a : 1) : 0;
}

/// <summary>A 16-bit operation on zero-extended lanes: the result is cut.</summary>
internal struct Narrow1<TOp> : IVector1<uint>
    where TOp : struct, IVector1<uint>
{
    public static Vector512<uint> Apply(Vector512<uint> a) => TOp.Apply(a) & Vector512.Create(0xFFFFu);
}

internal struct Narrow2<TOp> : IVector2<uint>
    where TOp : struct, IVector2<uint>
{
    public static Vector512<uint> Apply(Vector512<uint> a, Vector512<uint> b) => TOp.Apply(a, b) & Vector512.Create(0xFFFFu);
}

internal struct Narrow3<TOp> : IVector3<uint>
    where TOp : struct, IVector3<uint>
{
    public static Vector512<uint> Apply(Vector512<uint> a, Vector512<uint> b, Vector512<uint> c) => TOp.Apply(a, b, c) & Vector512.Create(0xFFFFu);
}

/// <summary>A signed 16-bit operation: sources are sign-extended first.</summary>
internal struct Signed1<TOp> : IVector1<uint>
    where TOp : struct, IVector1<int>
{
    public static Vector512<uint> Apply(Vector512<uint> a) => TOp.Apply(Half16.Extend(a)).AsUInt32() & Vector512.Create(0xFFFFu);
}

internal struct Signed2<TOp> : IVector2<uint>
    where TOp : struct, IVector2<int>
{
    public static Vector512<uint> Apply(Vector512<uint> a, Vector512<uint> b) => TOp.Apply(Half16.Extend(a), Half16.Extend(b)).AsUInt32() & Vector512.Create(0xFFFFu);
}

/// <summary>Values of 16 bits in lanes of 32.</summary>
internal static class Half16
{
    public static Vector512<int> Extend(Vector512<uint> a) => Vector512.ShiftRightArithmetic(Vector512.ShiftLeft(a.AsInt32(), 16), 16);

    public static Vector512<float> FromBFloat16(Vector512<uint> a) => Vector512.ShiftLeft(a, 16).AsSingle();
}
