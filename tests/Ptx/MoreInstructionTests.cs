using System.Numerics;
using static Foretoken.Tests.Ptx.LaneHarness;

namespace Foretoken.Tests.Ptx;

/// <summary>Instructions that our own kernels do not use, and words of others, lane by lane against their definition.</summary>
public class MoreInstructionTests
{
    private static Case Op(string text, int d, int a, int b, int c, Func<ulong, ulong, ulong, ulong> value, Func<ulong, bool>? isNaN = null) => new(text, d, a, b, c, value, isNaN);

    private static long S(ulong value, int bits) => (long)(value << (64 - bits)) >> (64 - bits);

    private static float F(ulong bits) => BitConverter.UInt32BitsToSingle((uint)bits);

    private static ulong U(float value) => BitConverter.SingleToUInt32Bits(value);

    private static double D(ulong bits) => BitConverter.UInt64BitsToDouble(bits);

    private static float H(ulong bits) => (float)BitConverter.UInt16BitsToHalf((ushort)bits);

    private static ulong Bits(Half value) => BitConverter.HalfToUInt16Bits(value);

    private static float B(ulong bits) => F((bits & 0xFFFF) << 16);

    private static bool IsNaN32(ulong bits) => (bits & 0x7FFFFFFF) > 0x7F800000;

    private static bool IsNaN16(ulong bits) => (bits & 0x7FFF) > 0x7C00;

    private static bool IsNaN64(ulong bits) => (bits & long.MaxValue) > 0x7FF0000000000000;

    private static float Flush(float x) => MathF.Abs(x) < 1.17549435e-38f ? MathF.CopySign(0, x) : x;

    private static float FlushHalf(float x) => MathF.Abs(x) < 6.1035156e-5f ? MathF.CopySign(0, x) : x;

    [Fact]
    public void Products_of_24_bits_masks_extensions_and_counted_bits()
    {
        Check(
        [
            Op("@G mul24.lo.u32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => (a & 0xFFFFFF) * (b & 0xFFFFFF)),
            Op("@G mul24.hi.u32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => ((a & 0xFFFFFF) * (b & 0xFFFFFF)) >> 16),
            Op("@G mul24.hi.s32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => (ulong)((S(a, 24) * S(b, 24)) >> 16)),
            Op("@G mad24.lo.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (ulong)(S(a, 24) * S(b, 24)) + c),
            Op("@G mad24.hi.u32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (((a & 0xFFFFFF) * (b & 0xFFFFFF)) >> 16) + c),
            Op("@G mad24.hi.sat.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (ulong)Math.Clamp((int)((S(a, 24) * S(b, 24)) >> 16) + S(c, 32), int.MinValue, int.MaxValue)),
            Op("@G mad.hi.sat.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (ulong)Math.Clamp(((S(a, 32) * S(b, 32)) >> 32) + S(c, 32), int.MinValue, int.MaxValue)),
            Op("@G bmsk.clamp.b32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => Ones(Math.Min(a, 32), Math.Min(b, 32))),
            Op("@G bmsk.wrap.b32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => Ones(a & 31, b & 31)),
            Op("@G szext.clamp.u32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => a & Ones(0, Math.Min(b, 32))),
            Op("@G szext.wrap.u32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => a & Ones(0, b & 31)),
            Op("@G szext.clamp.s32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => b == 0 ? 0 : (ulong)S(a, (int)Math.Min(b, 32))),
            Op("@G szext.wrap.s32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => (b & 31) == 0 ? 0 : (ulong)S(a, (int)(b & 31))),
            Op("and.b32 %u, %b, 31; @G fns.b32 %d, %a, %u, %c", 32, 32, 32, 32, (a, b, c) => NthSet(a, (int)(b & 31), (int)c)),
            Op("@G prmt.b32.f4e %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => ((b << 32) | a) >> (int)(8 * (c & 3))),
            Op("@G prmt.b32.b4e %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Pick(a, b, n => (int)((c & 3) - (ulong)n) & 7)),
            Op("@G prmt.b32.rc8 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Pick(a, b, n => (int)(c & 3))),
            Op("@G prmt.b32.ecl %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Pick(a, b, n => Math.Max(n, (int)(c & 3)))),
            Op("@G prmt.b32.ecr %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Pick(a, b, n => Math.Min(n, (int)(c & 3)))),
            Op("@G prmt.b32.rc16 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Pick(a, b, n => (2 * (int)(c & 1)) + (n & 1))),
            Op("add.cc.u64 %r, %a, %b; @G addc.cc.u64 %d, %c, %a", 64, 64, 64, 64, (a, b, c) => c + a + (ulong)(((BigInteger)a + b) >> 64)),
            Op("sub.cc.s64 %r, %a, %b; subc.cc.s64 %r, %c, %a; @G subc.s64 %d, 0, 0", 64, 64, 64, 64, (a, b, c) => c < (BigInteger)a + (a < b ? 1 : 0) ? ulong.MaxValue : 0),
            Op("mad.hi.cc.u32 %u, %a, %b, %c; @G addc.u32 %d, 0, 0", 32, 32, 32, 32, (a, b, c) => (((a * b) >> 32) + c) >> 32),
            Op("@G bfind.shiftamt.s64 %d, %a", 32, 64, 32, 32, (a, b, c) => a is 0 or ulong.MaxValue ? ulong.MaxValue : (ulong)BitOperations.LeadingZeroCount((long)a < 0 ? ~a : a)),
        ], (random, bits) => random.Next(2) == 0 ? (ulong)random.Next(40) : random.Next(4) == 0 ? (ulong)-random.Next(40) : (ulong)random.NextInt64());
    }

    [Fact]
    public void Sets_and_pairs_compare_with_and_without_flushing()
    {
        ulong Pair(ulong a, ulong b, Func<float, float, bool> holds, ulong yes) => (holds(H(a), H(b)) ? yes : 0) | (holds(H(a >> 16), H(b >> 16)) ? yes << 16 : 0);
        Check(
        [
            Op("@G set.lt.f32.f32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => F(a) < F(b) ? 0x3F800000UL : 0),
            Op("@G set.gtu.ftz.u32.f32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => !(Flush(F(a)) <= Flush(F(b))) ? 0xFFFFFFFFUL : 0),
            Op("@G setp.eq.ftz.f32 %p, %a, %b", 1, 32, 32, 32, (a, b, c) => Flush(F(a)) == Flush(F(b)) ? 1UL : 0),
            Op("@G set.ge.s32.s16 %d, %a, %b", 32, 16, 16, 32, (a, b, c) => (short)a >= (short)b ? 0xFFFFFFFFUL : 0),
            Op("setp.lt.s32 %q, %b, %c; @G set.ne.xor.u32.u64 %d, %a, 5, %q", 32, 64, 32, 32, (a, b, c) => (a != 5) ^ ((int)b < (int)c) ? 0xFFFFFFFFUL : 0),
            Op("@G set.lt.f16.f16 %d, %a, %b", 16, 16, 16, 32, (a, b, c) => H(a) < H(b) ? 0x3C00UL : 0),
            Op("@G set.eq.ftz.u16.f16 %d, %a, %b", 16, 16, 16, 32, (a, b, c) => FlushHalf(H(a)) == FlushHalf(H(b)) ? 0xFFFFUL : 0),
            Op("@G set.neu.f16x2.f16x2 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => Pair(a, b, (x, y) => x != y, 0x3C00)),
            Op("@G set.le.u32.f16x2 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => Pair(a, b, (x, y) => x <= y, 0xFFFF)),
            Op("@G setp.lt.f16x2 %p|%q, %a, %b", 1, 32, 32, 32, (a, b, c) => H(a) < H(b) ? 1UL : 0),
            Op("setp.gt.u32 %q, %b, %c; @G setp.num.or.f16x2 %q|%p, %a, %b, %q", 1, 32, 32, 32, (a, b, c) => (uint)b > (uint)c || (!float.IsNaN(H(a >> 16)) && !float.IsNaN(H(b >> 16))) ? 1UL : 0),
            Op("@G set.gt.bf16.bf16 %d, %a, %b", 16, 16, 16, 32, (a, b, c) => B(a) > B(b) ? 0x3F80UL : 0),
            Op("@G slct.b64.f32 %d, %a, %b, %c", 64, 64, 64, 32, (a, b, c) => F(c) >= 0 ? a : b),
            Op("@G slct.ftz.u16.f32 %d, %a, %b, %c", 16, 16, 16, 32, (a, b, c) => Flush(F(c)) >= 0 ? a : b),
        ]);
    }

    [Fact]
    public void Halves_flush_saturate_and_rectify()
    {
        float Magnitude(float a, float b) => float.IsNaN(a) ? MathF.Abs(b) : float.IsNaN(b) ? MathF.Abs(a) : MathF.Min(MathF.Abs(a), MathF.Abs(b));
        Check(
        [
            Op("@G add.ftz.f16 %d, %a, %b", 16, 16, 16, 16, (a, b, c) => Bits((Half)FlushHalf((float)(Half)(FlushHalf(H(a)) + FlushHalf(H(b))))), IsNaN16),
            Op("@G mul.ftz.f16 %d, %a, %b", 16, 16, 16, 16, (a, b, c) => Bits((Half)FlushHalf((float)(Half)(FlushHalf(H(a)) * FlushHalf(H(b))))), IsNaN16),
            Op("@G add.sat.f16 %d, %a, %b", 16, 16, 16, 16, (a, b, c) => H(a) + H(b) is var s && s > 0 ? Bits((Half)MathF.Min(s, 1)) : 0),
            Op("@G fma.rn.relu.f16 %d, %a, %b, %c", 16, 16, 16, 16, (a, b, c) => ((double)H(a) * H(b)) + H(c) is var s && (s > 0 || double.IsNaN(s)) ? Bits((Half)(float)s) : 0, IsNaN16),
            Op("@G abs.ftz.f16 %d, %a", 16, 16, 16, 16, (a, b, c) => Bits((Half)MathF.Abs(FlushHalf(H(a)))), IsNaN16),
            Op("@G min.xorsign.abs.f32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => float.IsNaN(F(a)) && float.IsNaN(F(b)) ? 0x7FFFFFFF : U(Magnitude(F(a), F(b))) | ((a ^ b) & 0x80000000), IsNaN32),
            Op("@G max.NaN.xorsign.abs.f32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => float.IsNaN(F(a)) || float.IsNaN(F(b)) ? 0x7FFFFFFF : U(MathF.Max(MathF.Abs(F(a)), MathF.Abs(F(b)))) | ((a ^ b) & 0x80000000), IsNaN32),
            Op("@G min.xorsign.abs.f16 %d, %a, %b", 16, 16, 16, 16, (a, b, c) => float.IsNaN(H(a)) && float.IsNaN(H(b)) ? 0x7FFF : Bits((Half)Magnitude(H(a), H(b))) | ((a ^ b) & 0x8000), IsNaN16),
            Op("@G min.ftz.f32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => U(float.IsNaN(F(a)) ? Flush(F(b)) : float.IsNaN(F(b)) ? Flush(F(a)) : MathF.Min(Flush(F(a)), Flush(F(b)))), IsNaN32),
            Op("@G cvt.rn.relu.f16.f32 %d, %a", 16, 32, 32, 32, (a, b, c) => float.IsNaN(F(a)) ? 0x7FFF : F(a) <= 0 ? 0 : Bits((Half)F(a)), IsNaN16),
            Op("@G cvt.sat.f32.f32 %d, %a", 32, 32, 32, 32, (a, b, c) => F(a) > 0 ? U(MathF.Min(F(a), 1)) : 0),
            Op("@G cvt.ftz.f64.f32 %d, %a", 64, 32, 32, 32, (a, b, c) => BitConverter.DoubleToUInt64Bits(Flush(F(a))), IsNaN64),
        ], (random, bits) => bits == 16 ? (ulong)random.Next(65536) : random.Next(2) == 0 ? (ulong)random.NextInt64() & 0x80FFFFFF : U((float)((random.NextDouble() - 0.5) * 4)));
    }

    [Fact]
    public void Doubles_round_in_every_direction_down_to_the_least_and_up_to_the_largest()
    {
        var cases = new List<Case>();
        foreach ((string name, Exact.Mode mode) in new[] { ("rz", Exact.Mode.Zero), ("rm", Exact.Mode.Down), ("rp", Exact.Mode.Up) })
        {
            ulong Of(Exact exact, double nearest, bool negativeZero) => !double.IsFinite(nearest) && exact.Mantissa.IsZero ? BitConverter.DoubleToUInt64Bits(nearest)
                : exact.Mantissa.IsZero ? negativeZero ? 1UL << 63 : 0
                : BitConverter.DoubleToUInt64Bits(Math.CopySign(exact.Round(53, -1022, double.MaxValue, mode), exact.Mantissa.Sign));
            bool Finite(params double[] values) => Array.TrueForAll(values, double.IsFinite);
            ulong Plain(double value) => BitConverter.DoubleToUInt64Bits(value);
            cases.Add(Op($"@G mul.{name}.f64 %d, %a, %b", 64, 64, 64, 64, (a, b, c) => Finite(D(a), D(b)) ? Of(Exact.Of(D(a)) * Exact.Of(D(b)), 0, (a ^ b) >> 63 != 0) : Plain(D(a) * D(b)), IsNaN64));
            cases.Add(Op($"@G add.{name}.f64 %d, %a, %b", 64, 64, 64, 64, (a, b, c) => Finite(D(a), D(b)) ? Of(Exact.Of(D(a)) + Exact.Of(D(b)), 0, (a & b) >> 63 != 0 || (mode == Exact.Mode.Down && (a | b) >> 63 != 0)) : Plain(D(a) + D(b)), IsNaN64));
            cases.Add(Op($"@G fma.{name}.f64 %d, %a, %b, %c", 64, 64, 64, 64, (a, b, c) => Finite(D(a), D(b), D(c)) ? Of((Exact.Of(D(a)) * Exact.Of(D(b))) + Exact.Of(D(c)), 0,
                ((a ^ b) & c) >> 63 != 0 || (mode == Exact.Mode.Down && ((a ^ b) | c) >> 63 != 0)) : Plain(Math.FusedMultiplyAdd(D(a), D(b), D(c))), IsNaN64));
            cases.Add(new Case($"@G div.{name}.f64 %d, %a, %b", 64, 64, 64, 64, (a, b, c) => Plain(D(a) / D(b)), IsNaN64) { Near = (d, a) => true });
            cases.Add(new Case($"@G sqrt.{name}.f64 %d, %a", 64, 64, 64, 64, (a, b, c) => Plain(Math.Sqrt(D(a))), IsNaN64) { Near = (d, a) => Encloses(Exact.Of(D(d)) * Exact.Of(D(d)), D(d), Exact.Of(D(a)), mode) });
        }

        Check(cases, (random, bits) => random.Next(3) switch
        {
            0 => (ulong)random.NextInt64() & 0x803FFFFFFFFFFFFF, // tiny
            1 => (ulong)random.NextInt64() | 0x7F00000000000000, // huge
            _ => BitConverter.DoubleToUInt64Bits((random.NextDouble() - 0.5) * 8),
        });
    }

    /// <summary>A root rounded toward zero or down squares to no more than the operand, one rounded up to no less.</summary>
    private static bool Encloses(Exact square, double root, Exact operand, Exact.Mode mode)
    {
        if (!double.IsFinite(root) || operand.Mantissa.Sign < 0)
            return false;
        BigInteger difference = (square + new Exact(-operand.Mantissa, operand.Exponent)).Mantissa;
        double next = mode == Exact.Mode.Up ? Math.BitDecrement(root) : Math.BitIncrement(root);
        BigInteger other = ((Exact.Of(next) * Exact.Of(next)) + new Exact(-operand.Mantissa, operand.Exponent)).Mantissa;
        return difference.IsZero || (mode == Exact.Mode.Up ? difference.Sign > 0 && other.Sign < 0 : difference.Sign < 0 && other.Sign > 0);
    }

    [Fact]
    public void Eight_bit_floats_convert_both_ways()
    {
        using var machine = new Foretoken.Ptx.PtxMachine(new Foretoken.Ptx.PtxMachineOptions { GlobalBytes = 1 << 20, ComputeCapability = 90 });
        string text = ".version 8.1\n.target sm_89\n.address_size 64\n";
        foreach (string type in new[] { "e4m3x2", "e5m2x2" })
        {
            text += $$"""
                .visible .entry {{type}}(.param .u64 po)
                {
                .reg .b64 %o, %x;
                .reg .b32 %t, %f, %b;
                .reg .b16 %h;
                ld.param.u64 %o, [po];
                mov.u32 %t, %tid.x;
                mul.wide.u32 %x, %t, 8;
                add.s64 %o, %o, %x;
                mad.lo.u32 %t, %t, 256, %t;
                cvt.u16.u32 %h, %t;
                cvt.rn.f16x2.{{type}} %f, %h;
                st.global.u32 [%o], %f;
                cvt.rn.satfinite.{{type}}.f16x2 %h, %f;
                cvt.u32.u16 %b, %h;
                st.global.u32 [%o+4], %b;
                ret;
                }

                """;
        }

        Foretoken.Ptx.PtxModule module = machine.LoadModule(text);
        Foretoken.Ptx.PtxBuffer output = machine.Allocate(256 * 8);
        foreach ((string type, int mantissa, int bias) in new[] { ("e4m3x2", 3, 7), ("e5m2x2", 2, 15) })
        {
            machine.Launch(module, type, 1, 256, 0, output);
            uint[] pairs = machine.Read<uint>(output);
            for (int v = 0; v < 256; v++)
            {
                int exponent = (v & 127) >> mantissa, fraction = v & ((1 << mantissa) - 1);
                bool nan = mantissa == 3 ? (v & 127) == 127 : exponent == 31 && fraction != 0, infinite = mantissa == 2 && exponent == 31 && fraction == 0;
                double value = exponent == 0 ? Math.ScaleB(fraction, 1 - bias - mantissa) : Math.ScaleB((1 << mantissa) + fraction, exponent - bias - mantissa);
                uint half = (uint)BitConverter.HalfToUInt16Bits((Half)((v & 128) != 0 ? -(infinite ? double.PositiveInfinity : value) : infinite ? double.PositiveInfinity : value));
                Assert.Equal(nan ? 0x7FFF7FFFu : half | (half << 16), pairs[2 * v]);
                uint back = nan ? 0x7Fu : infinite ? (uint)(v & 128) | 0x7B : (uint)v; // no infinity survives .satfinite
                Assert.Equal(back | (back << 8), pairs[(2 * v) + 1]);
            }
        }
    }

    [Theory]
    [InlineData("rcp.approx.ftz.f64", 3.0)]
    [InlineData("rsqrt.approx.ftz.f64", 7.0)]
    [InlineData("rcp.approx.ftz.f64", 1e-310)]
    public void Gross_approximations_of_doubles_use_the_upper_words(string instruction, double operand)
    {
        var cases = new List<Case>
        {
            new($"mov.b64 %r, {BitConverter.DoubleToUInt64Bits(operand)}; @G {instruction} %d, %r", 64, 64, 64, 64, (a, b, c) =>
                operand < 1e-307 ? 0x7FF0000000000000 : BitConverter.DoubleToUInt64Bits(instruction[1] == 'c' ? 1 / operand : 1 / Math.Sqrt(operand)))
            {
                IsNaN = null, Near = (d, a) => (d & 0xFFFFFFFF) == 0 && Math.Abs(D(d) - (instruction[1] == 'c' ? 1 / operand : 1 / Math.Sqrt(operand))) < 1e-6,
            },
        };
        Check(cases);
    }

    private static ulong Ones(ulong first, ulong count)
    {
        ulong mask = 0;
        for (ulong n = first; n < Math.Min(first + count, 32); n++)
            mask |= 1UL << (int)n;
        return mask;
    }

    private static ulong NthSet(ulong mask, int from, int n)
    {
        int[] set = [.. Enumerable.Range(0, 32).Where(bit => (mask >> bit & 1) != 0)];
        if (n == 0)
            return set.Contains(from) ? (ulong)from : uint.MaxValue;
        int[] order = n > 0 ? [.. set.Where(bit => bit >= from)] : [.. set.Where(bit => bit <= from).Reverse()];
        long index = Math.Abs((long)n) - 1;
        return index < order.Length ? (ulong)order[index] : uint.MaxValue;
    }

    private static ulong Pick(ulong a, ulong b, Func<int, int> selector)
    {
        byte[] all = [.. BitConverter.GetBytes((uint)a), .. BitConverter.GetBytes((uint)b)];
        return Enumerable.Range(0, 4).Aggregate(0UL, (sum, n) => sum | (ulong)all[selector(n)] << (8 * n));
    }
}
