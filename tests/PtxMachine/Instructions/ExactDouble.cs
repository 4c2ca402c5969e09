using System.Numerics;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// f64 arithmetic in the directed modes, in whole numbers: a value is m·2^e, operations are exact (quotients and roots carry a sticky bit), and one rounding
/// follows. Slow, and right for subnormals, overflow and cancellation alike.
/// </summary>
internal static class ExactDouble
{
    private const int Precision = 53, LeastExponent = -1074; // of a unit in the last place

    public static double Add(double a, double b, Rounding mode)
    {
        if (!double.IsFinite(a) || !double.IsFinite(b) || mode == Rounding.Nearest)
            return a + b;
        (BigInteger x, int p) = Split(a);
        (BigInteger y, int q) = Split(b);
        return Sum(x, p, y, q, mode, a + b == 0 && double.IsNegative(a) && double.IsNegative(b), bothPositive: !double.IsNegative(a) && !double.IsNegative(b));
    }

    public static double Multiply(double a, double b, Rounding mode)
    {
        if (!double.IsFinite(a) || !double.IsFinite(b) || a == 0 || b == 0 || mode == Rounding.Nearest)
            return a * b;
        (BigInteger x, int p) = Split(a);
        (BigInteger y, int q) = Split(b);
        return Round(x * y, p + q, false, mode);
    }

    public static double Fma(double a, double b, double c, Rounding mode)
    {
        if (!double.IsFinite(a) || !double.IsFinite(b) || !double.IsFinite(c) || mode == Rounding.Nearest)
            return Math.FusedMultiplyAdd(a, b, c);
        (BigInteger x, int p) = Split(a);
        (BigInteger y, int q) = Split(b);
        (BigInteger z, int r) = Split(c);
        bool negative = double.IsNegative(a) != double.IsNegative(b);
        return Sum(x * y, p + q, z, r, mode, negative && double.IsNegative(c), !negative && !double.IsNegative(c));
    }

    public static double Divide(double a, double b, Rounding mode)
    {
        if (!double.IsFinite(a) || !double.IsFinite(b) || a == 0 || b == 0 || mode == Rounding.Nearest)
            return a / b;
        (BigInteger x, int p) = Split(a);
        (BigInteger y, int q) = Split(b);
        BigInteger quotient = BigInteger.DivRem(BigInteger.Abs(x) << 120, BigInteger.Abs(y), out BigInteger rest);
        return Round(x.Sign == y.Sign ? quotient : -quotient, p - q - 120, !rest.IsZero, mode);
    }

    public static double Sqrt(double a, Rounding mode)
    {
        if (!double.IsFinite(a) || a <= 0 || mode == Rounding.Nearest)
            return Math.Sqrt(a);
        (BigInteger x, int p) = Split(a);
        int shift = 120 + (p & 1);
        BigInteger square = x << shift, root = (BigInteger)Math.Sqrt((double)square);
        while (true) // Newton: the estimate is off in the last bits only
        {
            BigInteger next = (root + (square / root)) >> 1;
            if (BigInteger.Abs(next - root) <= 1)
                break;
            root = next;
        }

        while (root * root > square)
            root--;
        while ((root + 1) * (root + 1) <= square)
            root++;
        return Round(root, (p - shift) / 2, root * root != square, mode);
    }

    private static (BigInteger Mantissa, int Exponent) Split(double value)
    {
        long bits = BitConverter.DoubleToInt64Bits(value), field = bits >> 52 & 0x7FF, mantissa = bits & ((1L << 52) - 1);
        if (field != 0)
            mantissa |= 1L << 52;
        return (bits < 0 ? -mantissa : mantissa, (int)Math.Max(field, 1) - 1075);
    }

    /// <summary>An exact zero is +0, but −0 of two negative terms, and of terms of both signs when rounding down.</summary>
    private static double Sum(BigInteger x, int p, BigInteger y, int q, Rounding mode, bool bothNegative, bool bothPositive)
    {
        int low = Math.Min(p, q);
        BigInteger sum = (x << (p - low)) + (y << (q - low));
        if (sum.IsZero)
            return bothNegative || (!bothPositive && mode == Rounding.Down) ? -0.0 : 0;
        return Round(sum, low, false, mode);
    }

    /// <summary>m·2^e, and a bit more where sticky, in the nearest doubles of the mode.</summary>
    private static double Round(BigInteger m, int e, bool sticky, Rounding mode)
    {
        bool negative = m.Sign < 0;
        BigInteger magnitude = BigInteger.Abs(m);
        int unit = Math.Max((int)magnitude.GetBitLength() + e - Precision, LeastExponent);
        bool up = mode == (negative ? Rounding.Down : Rounding.Up);
        BigInteger quotient = magnitude;
        if (unit > e)
        {
            quotient = magnitude >> (unit - e);
            sticky |= quotient << (unit - e) != magnitude;
        }
        else
        {
            quotient <<= e - unit;
        }

        if (sticky && up)
            quotient++;
        double result = Math.ScaleB((double)quotient, unit);
        if (double.IsInfinity(result) && !up)
            result = double.MaxValue;
        return negative ? -result : result;
    }
}
