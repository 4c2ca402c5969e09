using System.Numerics;

namespace Foretoken.Tests.Ptx;

/// <summary>Exact binary numbers, m·2^e, and their rounding by the definition: the tests' own, in whole numbers.</summary>
internal readonly record struct Exact(BigInteger Mantissa, int Exponent)
{
    public enum Mode { Nearest, Zero, Down, Up, Away }

    public static Exact Of(double value)
    {
        long bits = BitConverter.DoubleToInt64Bits(value);
        int exponent = (int)(bits >> 52 & 0x7FF);
        BigInteger mantissa = bits & 0xFFFFFFFFFFFFF;
        if (exponent != 0)
            mantissa += BigInteger.One << 52;
        return new Exact(bits < 0 ? -mantissa : mantissa, Math.Max(exponent, 1) - 1075);
    }

    public static Exact operator +(Exact a, Exact b)
    {
        int low = Math.Min(a.Exponent, b.Exponent);
        return new Exact((a.Mantissa << (a.Exponent - low)) + (b.Mantissa << (b.Exponent - low)), low);
    }

    public static Exact operator *(Exact a, Exact b) => new(a.Mantissa * b.Mantissa, a.Exponent + b.Exponent);

    /// <summary>The nearest numbers of a format (precision with the hidden bit, least exponent) by mode, as a double; overflow gives ±∞ or ±max.</summary>
    public double Round(int precision, int minExponent, double max, Mode mode)
    {
        if (Mantissa.IsZero)
            return 0;
        BigInteger magnitude = BigInteger.Abs(Mantissa);
        int top = (int)magnitude.GetBitLength() - 1 + Exponent;
        int unit = Math.Max(top, minExponent) - precision + 1;
        BigInteger quotient, rest, half;
        if (Exponent >= unit)
        {
            (quotient, rest, half) = (magnitude << (Exponent - unit), 0, 1);
        }
        else
        {
            quotient = magnitude >> (unit - Exponent);
            rest = magnitude - (quotient << (unit - Exponent));
            half = BigInteger.One << (unit - Exponent - 1);
        }

        bool negative = Mantissa.Sign < 0, up = mode switch
        {
            Mode.Nearest => rest > half || (rest == half && !quotient.IsEven),
            Mode.Away => rest >= half,
            Mode.Down => negative && !rest.IsZero,
            Mode.Up => !negative && !rest.IsZero,
            _ => false,
        };
        double result = Math.ScaleB((double)(quotient + (up && rest != 0 ? 1 : 0)), unit);
        if (result > max)
            result = mode == Mode.Zero || mode == (negative ? Mode.Up : Mode.Down) ? max : double.PositiveInfinity;
        return negative ? -result : result;
    }

    public float Single(Mode mode) => (float)Round(24, -126, float.MaxValue, mode);
}
