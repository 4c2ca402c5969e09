namespace Foretoken.Ptx.Instructions;

/// <summary>Rounding modes. NearestAway is <c>.rna</c> of tf32.</summary>
internal enum Rounding : byte { Nearest, Zero, Down, Up, NearestAway }

/// <summary>A binary float format: precision with the hidden bit, least exponent of a normal number, largest finite value.</summary>
internal readonly record struct FloatFormat(int Precision, int MinExponent, double Max)
{
    public static readonly FloatFormat Single = new(24, -126, float.MaxValue);
    public static readonly FloatFormat Half = new(11, -14, 65504);
    public static readonly FloatFormat BFloat16 = new(8, -126, 3.3895313892515355e38);
    public static readonly FloatFormat Tf32 = new(11, -126, 3.4011621342146535e38);
    public static readonly FloatFormat E4M3 = new(4, -6, 448);
    public static readonly FloatFormat E5M2 = new(3, -14, 57344);
}

/// <summary>Exact scalar arithmetic behind the roundings that the host has no instruction for.</summary>
internal static class Numbers
{
    public const uint CanonicalNaN = 0x7FFFFFFF;

    /// <summary>
    /// hi + lo, exact, rounded to odd in 53 bits: rounding that once more to a format of up to 51 bits gives the correct result in every mode.
    /// |lo| is at most half a unit of hi's last place.
    /// </summary>
    public static double Odd(double hi, double lo)
    {
        if (lo == 0 || !double.IsFinite(hi))
            return hi;
        long bits = BitConverter.DoubleToInt64Bits(hi);
        if (hi == 0)
            return lo;
        if (lo < 0 != hi < 0)
            bits--; // toward zero
        return BitConverter.Int64BitsToDouble(bits | 1);
    }

    /// <summary>a + b and its rounding error (Knuth).</summary>
    public static (double Sum, double Error) TwoSum(double a, double b)
    {
        double sum = a + b;
        if (!double.IsFinite(sum))
            return (sum, 0);
        double part = sum - a;
        return (sum, (a - (sum - part)) + (b - part));
    }

    /// <summary>The value in the format, as a double; overflow becomes infinity or the largest number as the mode says. NaN stays.</summary>
    public static double Round(double value, FloatFormat format, Rounding mode)
    {
        if (value == 0 || !double.IsFinite(value))
            return value;
        int exponent = Math.Max(Math.ILogB(value), format.MinExponent);
        double unit = Math.ScaleB(1, exponent - format.Precision + 1);
        double scaled = value / unit; // a power of two: exact
        double rounded = Integral(scaled, mode) * unit;
        if (Math.Abs(rounded) <= format.Max)
            return rounded == 0 ? Math.CopySign(0, value) : rounded;
        bool toMax = mode == Rounding.Zero || (mode == Rounding.Down && value > 0) || (mode == Rounding.Up && value < 0);
        return Math.CopySign(toMax ? format.Max : double.PositiveInfinity, value);
    }

    public static double Integral(double value, Rounding mode) => mode switch
    {
        Rounding.Nearest => Math.Round(value, MidpointRounding.ToEven),
        Rounding.Zero => Math.Truncate(value),
        Rounding.Down => Math.Floor(value),
        Rounding.Up => Math.Ceiling(value),
        _ => Math.Round(value, MidpointRounding.AwayFromZero),
    };

    public static float ToSingle(double value, Rounding mode) => mode == Rounding.Nearest ? (float)value : (float)Round(value, FloatFormat.Single, mode);

    /// <summary>Bits of binary16; NaN is 0x7FFF.</summary>
    public static ushort ToHalf(double value, Rounding mode) =>
        double.IsNaN(value) ? (ushort)0x7FFF : BitConverter.HalfToUInt16Bits((Half)(float)Round(value, FloatFormat.Half, mode));

    /// <summary>Bits of bfloat16; NaN is 0x7FFF.</summary>
    public static ushort ToBFloat16(double value, Rounding mode) =>
        double.IsNaN(value) ? (ushort)0x7FFF : (ushort)(BitConverter.SingleToUInt32Bits((float)Round(value, FloatFormat.BFloat16, mode)) >> 16);

    public static float FromHalf(uint bits) => (float)BitConverter.UInt16BitsToHalf((ushort)bits);

    public static float FromBFloat16(uint bits) => BitConverter.UInt32BitsToSingle(bits << 16);

    /// <summary>a·b + c of formats up to binary32, exact up to one rounding to odd.</summary>
    public static double Fma(double a, double b, double c)
    {
        double product = a * b; // exact: at most 48 bits
        (double sum, double error) = TwoSum(product, c);
        return Odd(sum, error);
    }

    public static double AddDouble(double a, double b, Rounding mode)
    {
        (double sum, double error) = TwoSum(a, b);
        return Nudge(sum, error, mode);
    }

    /// <summary>A quotient of floats to odd in double precision, ready for a last rounding.</summary>
    public static double DivideOdd(double a, double b)
    {
        double quotient = a / b;
        if (!double.IsFinite(quotient) || b == 0 || !double.IsFinite(b))
            return quotient;
        double rest = Math.FusedMultiplyAdd(-quotient, b, a);
        return Odd(quotient, b < 0 ? -rest : rest);
    }

    public static double SqrtOdd(double a)
    {
        double root = Math.Sqrt(a);
        return double.IsFinite(root) && root != 0 ? Odd(root, Math.FusedMultiplyAdd(-root, root, a)) : root;
    }

    private static double Nudge(double nearest, double rest, Rounding mode)
    {
        if (rest == 0 || mode == Rounding.Nearest || !double.IsFinite(nearest))
            return nearest;
        return mode switch
        {
            Rounding.Down => rest < 0 ? Math.BitDecrement(nearest) : nearest,
            Rounding.Up => rest > 0 ? Math.BitIncrement(nearest) : nearest,
            _ => nearest > 0 && rest < 0 ? Math.BitDecrement(nearest) : nearest < 0 && rest > 0 ? Math.BitIncrement(nearest) : nearest,
        };
    }
}
