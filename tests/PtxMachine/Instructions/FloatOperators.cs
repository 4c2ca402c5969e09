using System.Runtime.Intrinsics;

namespace Foretoken.Ptx.Instructions;

// Floats beyond what the vector unit does alone: directed rounding, 16-bit formats, approximations.

internal interface IRounding
{
    static abstract Rounding Mode { get; }
}

internal struct RoundNearest : IRounding
{
    public static Rounding Mode => Rounding.Nearest;
}

internal struct RoundZero : IRounding
{
    public static Rounding Mode => Rounding.Zero;
}

internal struct RoundDown : IRounding
{
    public static Rounding Mode => Rounding.Down;
}

internal struct RoundUp : IRounding
{
    public static Rounding Mode => Rounding.Up;
}

internal struct AddRounded<TMode> : ILane2<float, float, float>
    where TMode : struct, IRounding
{
    public static float Apply(float a, float b)
    {
        (double sum, double error) = Numbers.TwoSum(a, b);
        if (sum == 0 && error == 0)
            return DirectedZero(a, b);
        return Numbers.ToSingle(Numbers.Odd(sum, error), TMode.Mode);
    }

    /// <summary>An exact zero is −0 when rounding down, unless both terms are +0.</summary>
    private static float DirectedZero(float a, float b) =>
        TMode.Mode == Rounding.Down && (float.IsNegative(a) || float.IsNegative(b)) ? -0f : a + b;
}

internal struct MultiplyRounded<TMode> : ILane2<float, float, float>
    where TMode : struct, IRounding
{
    public static float Apply(float a, float b) => Numbers.ToSingle((double)a * b, TMode.Mode);
}

internal struct FmaRounded<TMode> : ILane3<float, float, float, float>
    where TMode : struct, IRounding
{
    public static float Apply(float a, float b, float c)
    {
        double result = Numbers.Fma(a, b, c);
        if (result == 0 && TMode.Mode == Rounding.Down && (double.IsNegative((double)a * b) || float.IsNegative(c)))
            return -0f;
        return Numbers.ToSingle(result, TMode.Mode);
    }
}

internal struct DivideRounded<TMode> : ILane2<float, float, float>
    where TMode : struct, IRounding
{
    public static float Apply(float a, float b) => TMode.Mode == Rounding.Nearest ? a / b : Numbers.ToSingle(Numbers.DivideOdd(a, b), TMode.Mode);
}

internal struct ReciprocalRounded<TMode> : ILane1<float, float>
    where TMode : struct, IRounding
{
    public static float Apply(float a) => DivideRounded<TMode>.Apply(1, a);
}

internal struct SqrtRounded<TMode> : ILane1<float, float>
    where TMode : struct, IRounding
{
    public static float Apply(float a) => TMode.Mode == Rounding.Nearest ? MathF.Sqrt(a) : Numbers.ToSingle(Numbers.SqrtOdd(a), TMode.Mode);
}

internal struct AddRoundedDouble<TMode> : ILane2<double, double, double>
    where TMode : struct, IRounding
{
    public static double Apply(double a, double b) => ExactDouble.Add(a, b, TMode.Mode);
}

internal struct MultiplyRoundedDouble<TMode> : ILane2<double, double, double>
    where TMode : struct, IRounding
{
    public static double Apply(double a, double b) => ExactDouble.Multiply(a, b, TMode.Mode);
}

internal struct FmaRoundedDouble<TMode> : ILane3<double, double, double, double>
    where TMode : struct, IRounding
{
    public static double Apply(double a, double b, double c) => ExactDouble.Fma(a, b, c, TMode.Mode);
}

internal struct DivideRoundedDouble<TMode> : ILane2<double, double, double>
    where TMode : struct, IRounding
{
    public static double Apply(double a, double b) => ExactDouble.Divide(a, b, TMode.Mode);
}

internal struct ReciprocalRoundedDouble<TMode> : ILane1<double, double>
    where TMode : struct, IRounding
{
    public static double Apply(double a) => ExactDouble.Divide(1, a, TMode.Mode);
}

internal struct SqrtRoundedDouble<TMode> : ILane1<double, double>
    where TMode : struct, IRounding
{
    public static double Apply(double a) => ExactDouble.Sqrt(a, TMode.Mode);
}

/// <summary>a − b with the mode of a sum.</summary>
internal struct SubtractBy<TAdd> : ILane2<float, float, float>
    where TAdd : struct, ILane2<float, float, float>
{
    public static float Apply(float a, float b) => TAdd.Apply(a, -b);
}

internal struct SubtractByDouble<TAdd> : ILane2<double, double, double>
    where TAdd : struct, ILane2<double, double, double>
{
    public static double Apply(double a, double b) => TAdd.Apply(a, -b);
}

internal struct LaneFtz1<TOp> : ILane1<float, float>
    where TOp : struct, ILane1<float, float>
{
    public static float Apply(float a) => Flush.Apply(TOp.Apply(Flush.Apply(a)));
}

internal struct LaneFtz2<TOp> : ILane2<float, float, float>
    where TOp : struct, ILane2<float, float, float>
{
    public static float Apply(float a, float b) => Flush.Apply(TOp.Apply(Flush.Apply(a), Flush.Apply(b)));
}

internal struct LaneFtz3<TOp> : ILane3<float, float, float, float>
    where TOp : struct, ILane3<float, float, float, float>
{
    public static float Apply(float a, float b, float c) => Flush.Apply(TOp.Apply(Flush.Apply(a), Flush.Apply(b), Flush.Apply(c)));
}

internal struct LaneSaturate2<TOp> : ILane2<float, float, float>
    where TOp : struct, ILane2<float, float, float>
{
    public static float Apply(float a, float b) => Flush.Saturate(TOp.Apply(a, b));
}

internal struct LaneSaturate3<TOp> : ILane3<float, float, float, float>
    where TOp : struct, ILane3<float, float, float, float>
{
    public static float Apply(float a, float b, float c) => Flush.Saturate(TOp.Apply(a, b, c));
}

// Approximations. The machine returns the function computed in double precision and rounded once: within every bound of ptx.md §4, seldom with the bits of
// a GPU. Tests compare with the documented tolerance.

internal struct Ex2 : IVector1<float>
{
    public static Vector512<float> Apply(Vector512<float> a)
    {
        (Vector512<double> low, Vector512<double> high) = Vector512.Widen(a);
        Vector512<double> ln2 = Vector512.Create(0.69314718055994530942);
        return Vector512.Narrow(Vector512.Exp(low * ln2), Vector512.Exp(high * ln2));
    }
}

internal struct Lg2 : ILane1<float, float>
{
    public static float Apply(float a) => (float)Math.Log2(a);
}

internal struct Sine : ILane1<float, float>
{
    public static float Apply(float a) => (float)Math.Sin(a);
}

internal struct Cosine : ILane1<float, float>
{
    public static float Apply(float a) => (float)Math.Cos(a);
}

internal struct TanH : ILane1<float, float>
{
    public static float Apply(float a) => (float)Math.Tanh(a);
}

internal struct ReciprocalSqrt : ILane1<float, float>
{
    public static float Apply(float a) => a == 0 ? MathF.CopySign(float.PositiveInfinity, a) : (float)(1 / Math.Sqrt(a));
}

internal struct ReciprocalSqrtDouble : ILane1<double, double>
{
    public static double Apply(double a) => a == 0 ? Math.CopySign(double.PositiveInfinity, a) : 1 / Math.Sqrt(a);
}

/// <summary>rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64: of the upper 32 bits of the operand alone, the lower 32 of the result are zero.</summary>
internal struct UpperHalf<TOp> : ILane1<double, double>
    where TOp : struct, ILane1<double, double>
{
    public static double Apply(double a) => Flushed(TOp.Apply(Flushed(Cut(a))));

    private static double Flushed(double a) => double.IsSubnormal(a) ? Math.CopySign(0, a) : Cut(a);

    private static double Cut(double a) => double.IsNaN(a) ? a : BitConverter.UInt64BitsToDouble(BitConverter.DoubleToUInt64Bits(a) & 0xFFFFFFFF00000000);
}

/// <summary>div.approx: a·(1/b); a divisor beyond 2^126 gives zero, infinity over it NaN.</summary>
internal struct DivideApproximate : ILane2<float, float, float>
{
    public static float Apply(float a, float b)
    {
        if (float.IsFinite(b) && MathF.Abs(b) > 8.507059e37f)
            return float.IsInfinity(a) || float.IsNaN(a) ? float.NaN : float.IsNegative(a) != float.IsNegative(b) ? -0f : 0f;
        return a / b;
    }
}

internal struct DivideFull : ILane2<float, float, float>
{
    public static float Apply(float a, float b) => a / b;
}

/// <summary>16-bit formats: through single precision, which is exact enough for sums and products of two terms to round once.</summary>
internal interface IHalfFormat
{
    static abstract float Read(uint bits);

    static abstract uint Write(double value, Rounding mode);
}

internal struct Binary16 : IHalfFormat
{
    public static float Read(uint bits) => Numbers.FromHalf(bits);

    public static uint Write(double value, Rounding mode) => Numbers.ToHalf(value, mode);
}

internal struct BFloat16 : IHalfFormat
{
    public static float Read(uint bits) => Numbers.FromBFloat16(bits);

    public static uint Write(double value, Rounding mode) => Numbers.ToBFloat16(value, mode);
}

/// <summary>.ftz: subnormal operands and results become zeros of their sign.</summary>
internal struct FlushedHalf<TFormat> : IHalfFormat
    where TFormat : struct, IHalfFormat
{
    public static float Read(uint bits) => TFormat.Read(FlushBits(bits));

    public static uint Write(double value, Rounding mode) => FlushBits(TFormat.Write(value, mode));

    private static uint FlushBits(uint bits) => (bits & (typeof(TFormat) == typeof(Binary16) ? 0x7C00u : 0x7F80u)) == 0 ? bits & 0x8000 : bits;
}

internal interface IHalfOperation
{
    static abstract double Apply(float a, float b, float c);
}

internal struct HalfAdd : IHalfOperation
{
    public static double Apply(float a, float b, float c) => Sum(a, b);

    public static double Sum(double a, double b)
    {
        (double sum, double error) = Numbers.TwoSum(a, b);
        return Numbers.Odd(sum, error);
    }
}

internal struct HalfSubtract : IHalfOperation
{
    public static double Apply(float a, float b, float c) => HalfAdd.Sum(a, -b);
}

internal struct HalfMultiply : IHalfOperation
{
    public static double Apply(float a, float b, float c) => (double)a * b;
}

internal struct HalfFma : IHalfOperation
{
    public static double Apply(float a, float b, float c) => Numbers.Fma(a, b, c);
}

internal struct HalfFmaRelu : IHalfOperation
{
    public static double Apply(float a, float b, float c) => Numbers.Fma(a, b, c) is var r && (r > 0 || double.IsNaN(r)) ? r : 0;
}

internal struct HalfMin : IHalfOperation
{
    public static double Apply(float a, float b, float c) => MinFloat.Apply(Vector512.Create(a), Vector512.Create(b)).ToScalar();
}

internal struct HalfMax : IHalfOperation
{
    public static double Apply(float a, float b, float c) => MaxFloat.Apply(Vector512.Create(a), Vector512.Create(b)).ToScalar();
}

internal struct HalfMinNan : IHalfOperation
{
    public static double Apply(float a, float b, float c) => float.IsNaN(a) || float.IsNaN(b) ? double.NaN : HalfMin.Apply(a, b, c);
}

internal struct HalfMaxNan : IHalfOperation
{
    public static double Apply(float a, float b, float c) => float.IsNaN(a) || float.IsNaN(b) ? double.NaN : HalfMax.Apply(a, b, c);
}

/// <summary>.xorsign.abs: of the magnitudes, with the signs' product.</summary>
internal struct HalfOfMagnitudes<TOp> : IHalfOperation
    where TOp : struct, IHalfOperation
{
    public static double Apply(float a, float b, float c)
    {
        double result = TOp.Apply(MathF.Abs(a), MathF.Abs(b), c);
        return double.IsNaN(result) ? result : float.IsNegative(a) != float.IsNegative(b) ? -result : result;
    }
}

internal struct HalfAbs : IHalfOperation
{
    public static double Apply(float a, float b, float c) => MathF.Abs(a);
}

internal struct HalfNegate : IHalfOperation
{
    public static double Apply(float a, float b, float c) => -a;
}

internal struct HalfEx2 : IHalfOperation
{
    public static double Apply(float a, float b, float c) => Math.Pow(2, a);
}

internal struct HalfTanH : IHalfOperation
{
    public static double Apply(float a, float b, float c) => Math.Tanh(a);
}

/// <summary>Saturated results lie in [0, 1], NaN gives +0.</summary>
internal struct HalfSaturate<TOp> : IHalfOperation
    where TOp : struct, IHalfOperation
{
    public static double Apply(float a, float b, float c) => TOp.Apply(a, b, c) is var r && r > 0 ? Math.Min(r, 1) : 0;
}

/// <summary>One value in the low 16 bits.</summary>
internal struct Half1<TFormat, TOp> : ILane3<uint, uint, uint, uint>
    where TFormat : struct, IHalfFormat
    where TOp : struct, IHalfOperation
{
    public static uint Apply(uint a, uint b, uint c) =>
        TFormat.Write(TOp.Apply(TFormat.Read(a & 0xFFFF), TFormat.Read(b & 0xFFFF), TFormat.Read(c & 0xFFFF)), Rounding.Nearest);
}

/// <summary>Two values side by side.</summary>
internal struct Half2<TFormat, TOp> : ILane3<uint, uint, uint, uint>
    where TFormat : struct, IHalfFormat
    where TOp : struct, IHalfOperation
{
    public static uint Apply(uint a, uint b, uint c) => Half1<TFormat, TOp>.Apply(a, b, c) | (Half1<TFormat, TOp>.Apply(a >> 16, b >> 16, c >> 16) << 16);
}

internal struct MinDouble : ILane2<double, double, double>
{
    public static double Apply(double a, double b) => double.IsNaN(a) ? b : double.IsNaN(b) ? a : Math.Min(a, b); // Math.Min orders −0 below +0
}

internal struct MaxDouble : ILane2<double, double, double>
{
    public static double Apply(double a, double b) => double.IsNaN(a) ? b : double.IsNaN(b) ? a : Math.Max(a, b);
}

/// <summary>copysign d, a, b: the sign of a, the magnitude of b.</summary>
internal struct CopySign32 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (a & 0x80000000) | (b & 0x7FFFFFFF);
}

internal struct CopySign64 : ILane2<ulong, ulong, ulong>
{
    public static ulong Apply(ulong a, ulong b) => (a & (1UL << 63)) | (b & long.MaxValue);
}
