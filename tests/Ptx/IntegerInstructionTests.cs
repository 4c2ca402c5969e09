using System.Numerics;
using static Foretoken.Tests.Ptx.LaneHarness;

namespace Foretoken.Tests.Ptx;

public class IntegerInstructionTests
{
    private static Case Op(string text, int d, int a, int b, int c, Func<ulong, ulong, ulong, ulong> value) => new(text, d, a, b, c, value);

    private static long S(ulong value, int bits) => (long)(value << (64 - bits)) >> (64 - bits);

    [Fact]
    public void Sums_products_and_logic_of_every_width_match_their_definition()
    {
        var cases = new List<Case>();
        foreach (int n in new[] { 16, 32, 64 })
        {
            cases.Add(Op($"@G add.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => a + b));
            cases.Add(Op($"@G sub.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => a - b));
            cases.Add(Op($"@G mul.lo.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => a * b));
            cases.Add(Op($"@G mad.lo.s{n} %d, %a, %b, %c", n, n, n, n, (a, b, c) => (a * b) + c));
            cases.Add(Op($"@G mul.hi.u{n} %d, %a, %b", n, n, n, n, (a, b, c) => (ulong)(((BigInteger)a * b) >> n)));
            cases.Add(Op($"@G mul.hi.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => (ulong)(long)(((BigInteger)S(a, n) * S(b, n)) >> n)));
            cases.Add(Op($"@G mad.hi.u{n} %d, %a, %b, %c", n, n, n, n, (a, b, c) => (ulong)(((BigInteger)a * b) >> n) + c));
            cases.Add(Op($"@G and.b{n} %d, %a, %b", n, n, n, n, (a, b, c) => a & b));
            cases.Add(Op($"@G or.b{n} %d, %a, %b", n, n, n, n, (a, b, c) => a | b));
            cases.Add(Op($"@G xor.b{n} %d, %a, %b", n, n, n, n, (a, b, c) => a ^ b));
            cases.Add(Op($"@G not.b{n} %d, %a", n, n, n, n, (a, b, c) => ~a));
            cases.Add(Op($"@G neg.s{n} %d, %a", n, n, n, n, (a, b, c) => 0 - a));
            cases.Add(Op($"@G abs.s{n} %d, %a", n, n, n, n, (a, b, c) => S(a, n) < 0 ? 0 - a : a));
            cases.Add(Op($"@G min.u{n} %d, %a, %b", n, n, n, n, (a, b, c) => Math.Min(a, b)));
            cases.Add(Op($"@G max.u{n} %d, %a, %b", n, n, n, n, (a, b, c) => Math.Max(a, b)));
            cases.Add(Op($"@G min.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => (ulong)Math.Min(S(a, n), S(b, n))));
            cases.Add(Op($"@G max.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => (ulong)Math.Max(S(a, n), S(b, n))));
            cases.Add(Op($"@G div.u{n} %d, %a, %b", n, n, n, n, (a, b, c) => b == 0 ? ulong.MaxValue : a / b));
            cases.Add(Op($"@G rem.u{n} %d, %a, %b", n, n, n, n, (a, b, c) => b == 0 ? a : a % b));
            cases.Add(Op($"@G div.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => b == 0 ? ulong.MaxValue : (ulong)(BigInteger.Divide(S(a, n), S(b, n)) & ulong.MaxValue)));
            cases.Add(Op($"@G rem.s{n} %d, %a, %b", n, n, n, n, (a, b, c) => b == 0 ? a : (ulong)(BigInteger.Remainder(S(a, n), S(b, n)) & ulong.MaxValue)));
        }

        foreach (int n in new[] { 16, 32 })
        {
            cases.Add(Op($"@G mul.wide.u{n} %d, %a, %b", 2 * n, n, n, n, (a, b, c) => a * b));
            cases.Add(Op($"@G mul.wide.s{n} %d, %a, %b", 2 * n, n, n, n, (a, b, c) => (ulong)(S(a, n) * S(b, n))));
            cases.Add(Op($"@G mad.wide.s{n} %d, %a, %b, %c", 2 * n, n, n, 2 * n, (a, b, c) => (ulong)(S(a, n) * S(b, n)) + c));
            cases.Add(Op($"@G mad.wide.u{n} %d, %a, %b, %c", 2 * n, n, n, 2 * n, (a, b, c) => (a * b) + c));
        }

        cases.Add(Op("@G add.sat.s32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => (ulong)Math.Clamp(S(a, 32) + S(b, 32), int.MinValue, int.MaxValue)));
        cases.Add(Op("@G sad.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => c + (ulong)Math.Abs(S(a, 32) - S(b, 32))));
        cases.Add(Op("add.cc.u32 %u, %a, %b; @G addc.u32 %d, %c, 0", 32, 32, 32, 32, (a, b, c) => c + ((a + b) >> 32)));
        cases.Add(Op("sub.cc.u32 %u, %a, %b; @G subc.u32 %d, %c, 0", 32, 32, 32, 32, (a, b, c) => c - (a < b ? 1UL : 0)));
        cases.Add(Op("mad.lo.cc.u32 %u, %a, %b, %c; @G madc.hi.u32 %d, %a, %b, 0", 32, 32, 32, 32, (a, b, c) => ((a * b) + c) >> 32));
        cases.Add(Op("@G sad.u64 %d, %a, %b, %c", 64, 64, 64, 64, (a, b, c) => c + (a > b ? a - b : b - a)));
        cases.Add(Op("@G sad.s16 %d, %a, %b, %c", 16, 16, 16, 16, (a, b, c) => c + (ulong)Math.Abs(S(a, 16) - S(b, 16))));
        cases.Add(Op("@G cnot.b32 %d, %a", 32, 32, 32, 32, (a, b, c) => a == 0 ? 1UL : 0));
        cases.Add(Op("@G cvt.pack.sat.s8.s32.b32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (Saturate(S(a, 32), 8, true) & 255) << 8 | (Saturate(S(b, 32), 8, true) & 255) | c << 16));
        cases.Add(Op("@G cvt.pack.sat.u16.s32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => Saturate(S(a, 32), 16, false) << 16 | Saturate(S(b, 32), 16, false)));
        Check(cases);
    }

    [Fact]
    public void Shifts_clamp_their_counts()
    {
        var cases = new List<Case>();
        foreach (int n in new[] { 16, 32, 64 })
        {
            cases.Add(Op($"@G shl.b{n} %d, %a, %b", n, n, 32, 32, (a, b, c) => b >= (ulong)n ? 0 : a << (int)b));
            cases.Add(Op($"@G shr.u{n} %d, %a, %b", n, n, 32, 32, (a, b, c) => b >= (ulong)n ? 0 : a >> (int)b));
            cases.Add(Op($"@G shr.s{n} %d, %a, %b", n, n, 32, 32, (a, b, c) => (ulong)(S(a, n) >> (int)Math.Min(b, 63))));
            foreach (int count in new[] { 0, 1, 5, n - 1, n, 70 })
            {
                int k = count;
                cases.Add(Op($"@G shl.b{n} %d, %a, {k}", n, n, 32, 32, (a, b, c) => k >= n ? 0 : a << k));
                cases.Add(Op($"@G shr.u{n} %d, %a, {k}", n, n, 32, 32, (a, b, c) => k >= n ? 0 : a >> k));
                cases.Add(Op($"@G shr.s{n} %d, %a, {k}", n, n, 32, 32, (a, b, c) => (ulong)(S(a, n) >> Math.Min(k, 63))));
            }
        }

        cases.Add(Op("@G shf.l.wrap.b32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (((b << 32) | a) << (int)(c % 32)) >> 32));
        cases.Add(Op("@G shf.r.wrap.b32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => ((b << 32) | a) >> (int)(c % 32)));
        cases.Add(Op("@G shf.l.clamp.b32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => c >= 32 ? a : (((b << 32) | a) << (int)c) >> 32));
        cases.Add(Op("@G shf.r.clamp.b32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => c >= 32 ? b : ((b << 32) | a) >> (int)c));
        Check(cases, (random, bits) => (ulong)random.Next(80));
    }

    [Fact]
    public void Bit_instructions_match_their_definition()
    {
        var cases = new List<Case>
        {
            Op("@G popc.b32 %d, %a", 32, 32, 32, 32, (a, b, c) => (ulong)BitOperations.PopCount(a)),
            Op("@G popc.b64 %d, %a", 32, 64, 32, 32, (a, b, c) => (ulong)BitOperations.PopCount(a)),
            Op("@G clz.b32 %d, %a", 32, 32, 32, 32, (a, b, c) => 32 - (ulong)((BigInteger)a).GetBitLength()),
            Op("@G clz.b64 %d, %a", 32, 64, 32, 32, (a, b, c) => 64 - (ulong)((BigInteger)a).GetBitLength()),
            Op("@G bfind.u32 %d, %a", 32, 32, 32, 32, (a, b, c) => (ulong)(long)((BigInteger)a).GetBitLength() - 1),
            Op("@G bfind.s32 %d, %a", 32, 32, 32, 32, (a, b, c) => (ulong)(long)((BigInteger)(S(a, 32) < 0 ? ~S(a, 32) : S(a, 32))).GetBitLength() - 1),
            Op("@G brev.b32 %d, %a", 32, 32, 32, 32, (a, b, c) => Reverse(a, 32)),
            Op("@G brev.b64 %d, %a", 64, 64, 32, 32, (a, b, c) => Reverse(a, 64)),
            Op("@G bfe.u32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Field(a, b, c, 32, false)),
            Op("@G bfe.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Field(a, b, c, 32, true)),
            Op("@G bfe.u64 %d, %a, %b, %c", 64, 64, 32, 32, (a, b, c) => Field(a, b, c, 64, false)),
            Op("@G bfe.s64 %d, %a, %b, %c", 64, 64, 32, 32, (a, b, c) => Field(a, b, c, 64, true)),
            Op("@G bfi.b32 %d, %a, %b, %c, 7", 32, 32, 32, 32, (a, b, c) => Insert(a, b, c, 7, 32)),
            Op("@G bfi.b64 %d, %a, %b, %c, 33", 64, 64, 64, 32, (a, b, c) => Insert(a, b, c, 33, 64)),
            Op("@G prmt.b32 %d, %a, %b, %c", 32, 32, 32, 32, Bytes),
            Op("@G dp4a.s32.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Dot(a, b, c, true, true)),
            Op("@G dp4a.u32.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Dot(a, b, c, false, true)),
            Op("@G dp4a.u32.u32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => Dot(a, b, c, false, false)),
            Op("@G dp2a.lo.s32.u32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (ulong)((long)c + ((short)a * (byte)b) + ((short)(a >> 16) * (byte)(b >> 8)))),
            Op("@G dp2a.hi.u32.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => (ulong)((long)c + ((ushort)a * (sbyte)(b >> 16)) + ((ushort)(a >> 16) * (sbyte)(b >> 24)))),
        };
        foreach (int table in new[] { 0x00, 0xFF, 0x96, 0xE8, 0xCA, 0x80, 0x3C, 0x1B })
        {
            int lut = table;
            cases.Add(Op($"@G lop3.b32 %d, %a, %b, %c, {lut}", 32, 32, 32, 32, (a, b, c) => Lookup(a, b, c, lut)));
        }

        Check(cases, (random, bits) => random.Next(2) == 0 ? (ulong)random.Next(70) : (ulong)random.NextInt64());
    }

    [Fact]
    public void Comparisons_selections_and_moves_match_their_definition()
    {
        var cases = new List<Case>();
        foreach (int n in new[] { 16, 32, 64 })
        {
            foreach ((string name, Func<int, bool> holds) in new (string, Func<int, bool>)[] { ("eq", o => o == 0), ("ne", o => o != 0), ("lt", o => o < 0), ("le", o => o <= 0), ("gt", o => o > 0), ("ge", o => o >= 0) })
            {
                cases.Add(Op($"@G setp.{name}.s{n} %p, %a, %b", 1, n, n, n, (a, b, c) => holds(S(a, n).CompareTo(S(b, n))) ? 1UL : 0));
                cases.Add(Op($"@G setp.{name}.u{n} %p, %a, %b", 1, n, n, n, (a, b, c) => holds(a.CompareTo(b)) ? 1UL : 0));
            }

            cases.Add(Op($"setp.lt.s{n} %q, %b, %c; @G selp.b{n} %d, %a, %b, %q", n, n, n, n, (a, b, c) => S(b, n) < S(c, n) ? a : b));
            cases.Add(Op($"@G mov.b{n} %d, %a", n, n, n, n, (a, b, c) => a));
        }

        cases.Add(Op("setp.gt.s32 %q, %b, %c; @G setp.lt.and.u32 %p, %a, %b, %q", 1, 32, 32, 32, (a, b, c) => a < b && S(b, 32) > S(c, 32) ? 1UL : 0));
        cases.Add(Op("setp.gt.s32 %q, %b, %c; @G setp.lt.or.u32 %p, %a, %b, !%q", 1, 32, 32, 32, (a, b, c) => a < b || S(b, 32) <= S(c, 32) ? 1UL : 0));
        cases.Add(Op("setp.gt.s32 %q, %b, %c; @G setp.lt.and.u32 %q|%p, %a, %b, %q", 1, 32, 32, 32, (a, b, c) => a >= b && S(b, 32) > S(c, 32) ? 1UL : 0));
        cases.Add(Op("@G slct.b32.s32 %d, %a, %b, %c", 32, 32, 32, 32, (a, b, c) => S(c, 32) >= 0 ? a : b));
        cases.Add(Op("@G set.lt.s32.u32 %d, %a, %b", 32, 32, 32, 32, (a, b, c) => a < b ? 0xFFFFFFFF : 0));
        cases.Add(Op("@G mov.b64 %d, {%a, %b}", 64, 32, 32, 32, (a, b, c) => (b << 32) | a));
        cases.Add(Op("@G mov.b32 %d, {%a, %b}", 32, 16, 16, 32, (a, b, c) => (b << 16) | a));
        cases.Add(Op("@G mov.b64 {%u, %d}, %a", 32, 64, 32, 32, (a, b, c) => a >> 32));
        cases.Add(Op("@G mov.b32 {_, %d}, %a", 16, 32, 32, 32, (a, b, c) => a >> 16));
        Check(cases);
    }

    [Fact]
    public void Integer_conversions_cut_extend_and_saturate()
    {
        var cases = new List<Case>();
        foreach (int from in new[] { 8, 16, 32, 64 })
        {
            foreach (int to in new[] { 8, 16, 32, 64 })
            {
                int register = Math.Max(to, 16), source = Math.Max(from, 16), f = from, t = to;
                foreach (bool signedFrom in new[] { false, true })
                {
                    foreach (bool signedTo in new[] { false, true })
                    {
                        string types = $"{(signedTo ? 's' : 'u')}{to}.{(signedFrom ? 's' : 'u')}{from}";
                        bool sf = signedFrom, st = signedTo;
                        cases.Add(Op($"@G cvt.{types} %d, %a", register, source, 32, 32, (a, b, c) => Extend(sf ? (ulong)S(a & Mask(f), f) : a & Mask(f), t, st)));
                        cases.Add(Op($"@G cvt.sat.{types} %d, %a", register, source, 32, 32, (a, b, c) => Saturate(sf ? S(a & Mask(f), f) : (BigInteger)(a & Mask(f)), t, st)));
                    }
                }
            }
        }

        Check(cases);
    }

    private static ulong Extend(ulong value, int bits, bool signed) => signed ? (ulong)S(value, bits) : value & Mask(bits);

    private static ulong Saturate(BigInteger value, int bits, bool signed)
    {
        BigInteger high = signed ? (BigInteger.One << (bits - 1)) - 1 : (BigInteger.One << bits) - 1, low = signed ? -high - 1 : 0;
        return (ulong)(BigInteger.Max(low, BigInteger.Min(high, value)) & ulong.MaxValue);
    }

    private static ulong Reverse(ulong value, int bits)
    {
        ulong result = 0;
        for (int n = 0; n < bits; n++)
            result |= (value >> n & 1) << (bits - 1 - n);
        return result;
    }

    /// <summary>bfe as the PTX manual writes it: bit by bit.</summary>
    private static ulong Field(ulong a, ulong b, ulong c, int bits, bool signed)
    {
        int position = (int)(b & 255), length = (int)(c & 255), top = bits - 1;
        ulong sign = !signed || length == 0 ? 0 : a >> Math.Min(position + length - 1, top) & 1;
        ulong result = 0;
        for (int n = 0; n < bits; n++)
            result |= (n < length && position + n <= top ? a >> (position + n) & 1 : sign) << n;
        return result;
    }

    private static ulong Insert(ulong a, ulong b, ulong c, int length, int bits)
    {
        int position = (int)(c & 255);
        for (int n = 0; n < length && position + n < bits; n++)
            b = (b & ~(1UL << (position + n))) | ((a >> n & 1) << (position + n));
        return b;
    }

    private static ulong Bytes(ulong a, ulong b, ulong c)
    {
        byte[] all = [.. BitConverter.GetBytes((uint)a), .. BitConverter.GetBytes((uint)b)];
        ulong result = 0;
        for (int n = 0; n < 4; n++)
        {
            int selector = (int)(c >> (4 * n)) & 15;
            byte value = all[selector & 7];
            result |= (ulong)((selector & 8) == 0 ? value : value >= 128 ? 255 : 0) << (8 * n);
        }

        return result;
    }

    private static ulong Dot(ulong a, ulong b, ulong c, bool signedA, bool signedB)
    {
        long sum = (long)c;
        for (int n = 0; n < 4; n++)
            sum += (signedA ? S(a >> (8 * n), 8) : (byte)(a >> (8 * n))) * (signedB ? S(b >> (8 * n), 8) : (byte)(b >> (8 * n)));
        return (ulong)sum;
    }

    private static ulong Lookup(ulong a, ulong b, ulong c, int table)
    {
        ulong result = 0;
        for (int n = 0; n < 32; n++)
        {
            int index = (int)(((a >> n & 1) * 4) + ((b >> n & 1) * 2) + (c >> n & 1));
            result |= (ulong)(table >> index & 1) << n;
        }

        return result;
    }
}
