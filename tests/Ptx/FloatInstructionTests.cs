using static Foretoken.Tests.Ptx.LaneHarness;

namespace Foretoken.Tests.Ptx;

public class FloatInstructionTests
{
    private const double HalfMax = 65504, BFloat16Max = 3.3895313892515355e38;
    private static readonly (string Name, Exact.Mode Mode)[] Modes = [("rn", Exact.Mode.Nearest), ("rz", Exact.Mode.Zero), ("rm", Exact.Mode.Down), ("rp", Exact.Mode.Up)];

    private static float F(ulong bits) => BitConverter.UInt32BitsToSingle((uint)bits);

    private static ulong U(float value) => BitConverter.SingleToUInt32Bits(value);

    private static double D(ulong bits) => BitConverter.UInt64BitsToDouble(bits);

    private static bool IsNaN32(ulong bits) => (bits & 0x7FFFFFFF) > 0x7F800000;

    private static bool IsNaN64(ulong bits) => (bits & long.MaxValue) > 0x7FF0000000000000;

    private static bool IsNaN16(ulong bits) => (bits & 0x7FFF) > 0x7C00;

    private static bool IsNaNBrain(ulong bits) => (bits & 0x7FFF) > 0x7F80;

    private static Case Single(string text, Func<ulong, ulong, ulong, ulong> value) => new(text, 32, 32, 32, 32, value, IsNaN32);

    /// <summary>Floats whose exponents lie near each other, so that sums round.</summary>
    private static ulong Near(Random random, int bits) => bits switch
    {
        64 => BitConverter.DoubleToUInt64Bits((random.NextDouble() - 0.5) * Math.ScaleB(1, random.Next(-30, 30))),
        32 => U((float)((random.NextDouble() - 0.5) * Math.ScaleB(1, random.Next(-14, 14)))),
        _ => random.Next(2) == 0 ? BitConverter.HalfToUInt16Bits((Half)((random.NextDouble() - 0.5) * Math.ScaleB(1, random.Next(-8, 8)))) : (ulong)random.Next(65536),
    };

    [Fact]
    public void Single_precision_arithmetic_rounds_as_its_mode_says()
    {
        var cases = new List<Case>();
        foreach ((string name, Exact.Mode mode) in Modes)
        {
            cases.Add(Single($"@G add.{name}.f32 %d, %a, %b", (a, b, c) => U(Sum(F(a), F(b), mode))));
            cases.Add(Single($"@G sub.{name}.f32 %d, %a, %b", (a, b, c) => U(Sum(F(a), -F(b), mode))));
            cases.Add(Single($"@G mul.{name}.f32 %d, %a, %b", (a, b, c) => U(Product(F(a), F(b), mode))));
            cases.Add(Single($"@G fma.{name}.f32 %d, %a, %b, %c", (a, b, c) => U(Fma(F(a), F(b), F(c), mode))));
        }

        cases.Add(Single("@G div.rn.f32 %d, %a, %b", (a, b, c) => U(F(a) / F(b))));
        cases.Add(Single("@G sqrt.rn.f32 %d, %a", (a, b, c) => U(MathF.Sqrt(F(a)))));
        cases.Add(Single("@G rcp.rn.f32 %d, %a", (a, b, c) => U(1 / F(a))));
        cases.Add(Single("@G neg.f32 %d, %a", (a, b, c) => a ^ 0x80000000));
        cases.Add(Single("@G abs.f32 %d, %a", (a, b, c) => a & 0x7FFFFFFF));
        cases.Add(Single("@G copysign.f32 %d, %a, %b", (a, b, c) => (a & 0x80000000) | (b & 0x7FFFFFFF)));
        cases.Add(Single("@G min.f32 %d, %a, %b", (a, b, c) => U(float.IsNaN(F(a)) ? F(b) : float.IsNaN(F(b)) ? F(a) : MathF.Min(F(a), F(b)))));
        cases.Add(Single("@G max.f32 %d, %a, %b", (a, b, c) => U(float.IsNaN(F(a)) ? F(b) : float.IsNaN(F(b)) ? F(a) : MathF.Max(F(a), F(b)))));
        cases.Add(Single("@G max.NaN.f32 %d, %a, %b", (a, b, c) => U(MathF.Max(F(a), F(b)))));
        cases.Add(Single("@G add.sat.f32 %d, %a, %b", (a, b, c) => U(Saturate(F(a) + F(b)))));
        cases.Add(Single("@G fma.rn.sat.f32 %d, %a, %b, %c", (a, b, c) => U(Saturate(MathF.FusedMultiplyAdd(F(a), F(b), F(c))))));
        cases.Add(Single("@G add.ftz.f32 %d, %a, %b", (a, b, c) => U(Flush(Flush(F(a)) + Flush(F(b))))));
        cases.Add(Single("@G mul.ftz.f32 %d, %a, %b", (a, b, c) => U(Flush(Flush(F(a)) * Flush(F(b))))));
        Check(cases, Near);
    }

    [Fact]
    public void Double_precision_arithmetic_rounds_as_its_mode_says()
    {
        var cases = new List<Case>();
        foreach ((string name, Exact.Mode mode) in Modes)
        {
            cases.Add(new($"@G add.{name}.f64 %d, %a, %b", 64, 64, 64, 64, (a, b, c) => Double(D(a) + D(b), D(a), D(b), sum: true, mode), IsNaN64));
            cases.Add(new($"@G mul.{name}.f64 %d, %a, %b", 64, 64, 64, 64, (a, b, c) => Double(D(a) * D(b), D(a), D(b), sum: false, mode), IsNaN64));
        }

        cases.Add(new("@G fma.rn.f64 %d, %a, %b, %c", 64, 64, 64, 64, (a, b, c) => BitConverter.DoubleToUInt64Bits(Math.FusedMultiplyAdd(D(a), D(b), D(c))), IsNaN64));
        cases.Add(new("@G div.rn.f64 %d, %a, %b", 64, 64, 64, 64, (a, b, c) => BitConverter.DoubleToUInt64Bits(D(a) / D(b)), IsNaN64));
        cases.Add(new("@G min.f64 %d, %a, %b", 64, 64, 64, 64, (a, b, c) => BitConverter.DoubleToUInt64Bits(double.IsNaN(D(a)) ? D(b) : double.IsNaN(D(b)) ? D(a) : Math.Min(D(a), D(b))), IsNaN64));
        Check(cases, (random, bits) => BitConverter.DoubleToUInt64Bits((random.NextDouble() - 0.5) * Math.ScaleB(1, random.Next(-40, 40))));
    }

    [Fact]
    public void Comparisons_with_NaN_are_false_unless_unordered()
    {
        var cases = new List<Case>();
        foreach ((string name, Func<float, float, bool> holds) in new (string, Func<float, float, bool>)[]
        {
            ("eq", (x, y) => x == y), ("ne", (x, y) => x < y || x > y), ("lt", (x, y) => x < y), ("le", (x, y) => x <= y), ("gt", (x, y) => x > y), ("ge", (x, y) => x >= y),
            ("equ", (x, y) => !(x < y || x > y)), ("neu", (x, y) => x != y), ("ltu", (x, y) => !(x >= y)), ("leu", (x, y) => !(x > y)), ("gtu", (x, y) => !(x <= y)), ("geu", (x, y) => !(x < y)),
            ("num", (x, y) => !float.IsNaN(x) && !float.IsNaN(y)), ("nan", (x, y) => float.IsNaN(x) || float.IsNaN(y)),
        })
        {
            cases.Add(new($"@G setp.{name}.f32 %p, %a, %b", 1, 32, 32, 32, (a, b, c) => holds(F(a), F(b)) ? 1UL : 0));
            cases.Add(new($"@G setp.{name}.f16 %p, %a, %b", 1, 16, 16, 32, (a, b, c) => holds(H(a), H(b)) ? 1UL : 0));
            cases.Add(new($"@G setp.{name}.bf16 %p, %a, %b", 1, 16, 16, 32, (a, b, c) => holds(B(a), B(b)) ? 1UL : 0));
        }

        cases.Add(new("@G testp.normal.f32 %p, %a", 1, 32, 32, 32, (a, b, c) => float.IsNormal(F(a)) || F(a) == 0 ? 1UL : 0));
        cases.Add(new("@G testp.subnormal.f32 %p, %a", 1, 32, 32, 32, (a, b, c) => float.IsSubnormal(F(a)) ? 1UL : 0));
        Check(cases);
    }

    [Fact]
    public void Sixteen_bit_arithmetic_rounds_once()
    {
        var cases = new List<Case>
        {
            new("@G add.f16 %d, %a, %b", 16, 16, 16, 16, (a, b, c) => ToHalf(Exact.Of(H(a)) + Exact.Of(H(b)), H(a) + H(b)), IsNaN16),
            new("@G mul.f16 %d, %a, %b", 16, 16, 16, 16, (a, b, c) => ToHalf(Exact.Of(H(a)) * Exact.Of(H(b)), H(a) * H(b)), IsNaN16),
            new("@G fma.rn.f16 %d, %a, %b, %c", 16, 16, 16, 16, (a, b, c) => ToHalf((Exact.Of(H(a)) * Exact.Of(H(b))) + Exact.Of(H(c)), (H(a) * H(b)) + H(c)), IsNaN16),
            new("@G fma.rn.bf16 %d, %a, %b, %c", 16, 16, 16, 16, (a, b, c) => ToBrain((Exact.Of(B(a)) * Exact.Of(B(b))) + Exact.Of(B(c)), ((double)B(a) * B(b)) + B(c)), IsNaNBrain),
            new("@G neg.f16 %d, %a", 16, 16, 16, 16, (a, b, c) => a ^ 0x8000, IsNaN16),
            new("@G neg.bf16x2 %d, %a", 32, 32, 32, 32, (a, b, c) => a ^ 0x80008000),
        };
        Check(cases, Near);
    }

    [Fact]
    public void Float_conversions_round_clamp_and_keep_specials()
    {
        var cases = new List<Case>();
        foreach ((string name, Exact.Mode mode) in Modes)
        {
            cases.Add(new($"@G cvt.{name}.f32.f64 %d, %a", 32, 64, 32, 32, (a, b, c) => double.IsFinite(D(a)) ? Signed(U(Exact.Of(D(a)).Single(mode)), D(a)) : U((float)D(a)), IsNaN32));
            cases.Add(new($"@G cvt.{name}.f32.s64 %d, %a", 32, 64, 32, 32, (a, b, c) => U(new Exact((long)a, 0).Single(mode))));
            cases.Add(new($"@G cvt.{name}.f32.u32 %d, %a", 32, 32, 32, 32, (a, b, c) => U(new Exact((uint)a, 0).Single(mode))));
            cases.Add(new($"@G cvt.{name}.f64.u64 %d, %a", 64, 64, 32, 32, (a, b, c) => BitConverter.DoubleToUInt64Bits(new Exact(a, 0).Round(53, -1022, double.MaxValue, mode))));
        }

        foreach ((string name, Exact.Mode mode) in Modes.Take(2))
        {
            cases.Add(new($"@G cvt.{name}.f16.f32 %d, %a", 16, 32, 32, 32, (a, b, c) => ToHalf(Exact.Of(F(a)), F(a), mode), IsNaN16));
            cases.Add(new($"@G cvt.{name}.bf16.f32 %d, %a", 16, 32, 32, 32, (a, b, c) => ToBrain(Exact.Of(F(a)), F(a), mode), IsNaNBrain));
            cases.Add(new($"@G cvt.{name}.bf16x2.f32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => float.IsNaN(F(a)) || float.IsNaN(F(b)) ? 0x7FFF7FFF : (ToBrain(Exact.Of(F(a)), F(a), mode) << 16) | ToBrain(Exact.Of(F(b)), F(b), mode),
                v => IsNaNBrain(v) || IsNaNBrain(v >> 16)));
            cases.Add(new($"@G cvt.{name}.f16x2.f32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => float.IsNaN(F(a)) || float.IsNaN(F(b)) ? 0x7FFF7FFF : (ToHalf(Exact.Of(F(a)), F(a), mode) << 16) | ToHalf(Exact.Of(F(b)), F(b), mode),
                v => IsNaN16(v) || IsNaN16(v >> 16)));
        }

        cases.Add(Single("@G cvt.rn.relu.bf16x2.f32 %d, %a, %b", (a, b, c) => float.IsNaN(F(a)) || float.IsNaN(F(b)) ? 0x7FFF7FFF
            : ((F(a) > 0 ? ToBrain(Exact.Of(F(a)), F(a)) : 0) << 16) | (F(b) > 0 ? ToBrain(Exact.Of(F(b)), F(b)) : 0)) with { IsNaN = v => IsNaNBrain(v) || IsNaNBrain(v >> 16) });
        cases.Add(new("@G cvt.f32.f16 %d, %a", 32, 16, 32, 32, (a, b, c) => U(H(a)), IsNaN32));
        cases.Add(new("@G cvt.f32.bf16 %d, %a", 32, 16, 32, 32, (a, b, c) => a << 16, IsNaN32));
        cases.Add(new("@G cvt.rna.tf32.f32 %d, %a", 32, 32, 32, 32, (a, b, c) => float.IsFinite(F(a)) ? Signed(U((float)Exact.Of(F(a)).Round(11, -126, 3.4011621342146535e38, Exact.Mode.Away)), F(a)) : a, IsNaN32));
        foreach ((string name, Func<double, double> whole) in new (string, Func<double, double>)[] { ("rni", x => Math.Round(x, MidpointRounding.ToEven)), ("rzi", Math.Truncate), ("rmi", Math.Floor), ("rpi", Math.Ceiling) })
        {
            cases.Add(new($"@G cvt.{name}.s32.f32 %d, %a", 32, 32, 32, 32, (a, b, c) => Clamp(whole(F(a)), int.MinValue, int.MaxValue, 0)));
            cases.Add(new($"@G cvt.{name}.u32.f32 %d, %a", 32, 32, 32, 32, (a, b, c) => Clamp(whole(F(a)), 0, uint.MaxValue, 0)));
            cases.Add(new($"@G cvt.{name}.s64.f32 %d, %a", 64, 32, 32, 32, (a, b, c) => Clamp(whole(F(a)), long.MinValue, long.MaxValue, 1UL << 63)));
            cases.Add(new($"@G cvt.{name}.s32.f64 %d, %a", 32, 64, 32, 32, (a, b, c) => Clamp(whole(D(a)), int.MinValue, int.MaxValue, 1UL << 31)));
            cases.Add(new($"@G cvt.{name}.u16.f32 %d, %a", 16, 32, 32, 32, (a, b, c) => Clamp(whole(F(a)), 0, 65535, 0)));
            cases.Add(new($"@G cvt.{name}.f32.f32 %d, %a", 32, 32, 32, 32, (a, b, c) => U((float)whole(F(a))), IsNaN32));
        }

        Check(cases, Near);
    }

    [Fact]
    public void Approximations_stay_within_their_documented_bounds()
    {
        var cases = new List<Case>();
        foreach ((string name, Func<double, double> exact, double relative, double absolute) in new (string, Func<double, double>, double, double)[]
        {
            ("ex2.approx.f32", x => Math.Pow(2, x), Math.ScaleB(1, -22), 1e-45),
            ("lg2.approx.f32", Math.Log2, Math.ScaleB(1, -22), Math.ScaleB(1, -22)),
            ("rcp.approx.f32", x => 1 / x, Math.ScaleB(1, -23), 1e-45),
            ("rsqrt.approx.f32", x => 1 / Math.Sqrt(x), Math.ScaleB(1, -22), 0),
            ("sqrt.approx.f32", Math.Sqrt, Math.ScaleB(1, -23), 1e-45),
            ("tanh.approx.f32", Math.Tanh, Math.ScaleB(1, -11), 1e-45),
            ("sin.approx.f32", x => Math.Abs(x) <= 2 * Math.PI ? Math.Sin(x) : double.NaN, 0, Math.ScaleB(1, -20)),
            ("cos.approx.f32", x => Math.Abs(x) <= 2 * Math.PI ? Math.Cos(x) : double.NaN, 0, Math.ScaleB(1, -20)),
        })
        {
            cases.Add(new($"@G {name} %d, %a", 32, 32, 32, 32, (a, b, c) => U((float)exact(F(a))))
            {
                IsNaN = v => IsNaN32(v), Near = (found, a) => double.IsNaN(exact(F(a))) || Math.Abs(F(found) - exact(F(a))) <= absolute + (relative * Math.Abs(exact(F(a)))),
            });
        }

        Check(cases, Near);
    }

    private static float H(ulong bits) => (float)BitConverter.UInt16BitsToHalf((ushort)bits);

    private static float B(ulong bits) => F(bits << 16);

    private static float Saturate(float x) => x > 0 ? MathF.Min(x, 1) : 0;

    private static float Flush(float x) => MathF.Abs(x) < 1.17549435e-38f ? MathF.CopySign(0, x) : x;

    private static ulong Clamp(double value, double low, double high, ulong nan)
    {
        if (double.IsNaN(value))
            return nan;
        if (value >= high)
            return high == long.MaxValue ? long.MaxValue : (ulong)(long)high;
        return value <= low ? (ulong)(long)low : (ulong)(long)value;
    }

    private static ulong Signed(ulong bits, double sign) => double.IsNegative(sign) ? bits | 0x80000000 : bits;

    private static float Sum(float a, float b, Exact.Mode mode)
    {
        if (!float.IsFinite(a) || !float.IsFinite(b) || mode == Exact.Mode.Nearest)
            return a + b;
        Exact sum = Exact.Of(a) + Exact.Of(b);
        if (!sum.Mantissa.IsZero)
            return sum.Single(mode);
        return mode == Exact.Mode.Down && (float.IsNegative(a) || float.IsNegative(b)) ? -0f : a + b;
    }

    private static float Product(float a, float b, Exact.Mode mode)
    {
        if (!float.IsFinite(a) || !float.IsFinite(b) || a == 0 || b == 0 || mode == Exact.Mode.Nearest)
            return a * b;
        float result = (Exact.Of(a) * Exact.Of(b)).Single(mode);
        return MathF.CopySign(result, MathF.CopySign(1, a) * MathF.CopySign(1, b));
    }

    private static float Fma(float a, float b, float c, Exact.Mode mode)
    {
        if (!float.IsFinite(a) || !float.IsFinite(b) || !float.IsFinite(c) || mode == Exact.Mode.Nearest)
            return MathF.FusedMultiplyAdd(a, b, c);
        Exact sum = (Exact.Of(a) * Exact.Of(b)) + Exact.Of(c);
        if (sum.Mantissa.IsZero)
            return mode == Exact.Mode.Down && (float.IsNegative(a) != float.IsNegative(b) || float.IsNegative(c)) ? -0f : MathF.FusedMultiplyAdd(a, b, c);
        return MathF.CopySign(sum.Single(mode), sum.Mantissa.Sign);
    }

    private static ulong Double(double nearest, double x, double y, bool sum, Exact.Mode mode)
    {
        if (!double.IsFinite(x) || !double.IsFinite(y) || mode == Exact.Mode.Nearest || (nearest == 0 && (sum || x == 0 || y == 0)))
            return BitConverter.DoubleToUInt64Bits(nearest == 0 && mode == Exact.Mode.Down && sum && (double.IsNegative(x) || double.IsNegative(y)) ? -0.0 : nearest);
        (Exact a, Exact b) = (Exact.Of(x), Exact.Of(y));
        return BitConverter.DoubleToUInt64Bits((sum ? a + b : a * b).Round(53, -1022, double.MaxValue, mode));
    }

    private static ulong ToHalf(Exact exact, double plain, Exact.Mode mode = Exact.Mode.Nearest)
    {
        if (double.IsNaN(plain))
            return 0x7FFF;
        double rounded = double.IsInfinity(plain) ? plain : exact.Mantissa.IsZero ? plain : Math.CopySign(exact.Round(11, -14, HalfMax, mode), exact.Mantissa.Sign);
        return BitConverter.HalfToUInt16Bits((Half)rounded);
    }

    private static ulong ToBrain(Exact exact, double plain, Exact.Mode mode = Exact.Mode.Nearest)
    {
        if (double.IsNaN(plain))
            return 0x7FFF;
        double rounded = double.IsInfinity(plain) ? plain : exact.Mantissa.IsZero ? plain : Math.CopySign(exact.Round(8, -126, BFloat16Max, mode), exact.Mantissa.Sign);
        return U((float)rounded) >> 16;
    }
}
