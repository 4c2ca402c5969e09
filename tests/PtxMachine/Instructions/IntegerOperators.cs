using System.Numerics;

namespace Foretoken.Ptx.Instructions;

// Integer lanes (ptx.md §4). Shift counts clamp at the width; division by zero has an unspecified value, here all ones.

internal struct ShiftLeft32 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => b > 31 ? 0 : a << (int)b;
}

internal struct ShiftLeft64 : ILane2<ulong, uint, ulong>
{
    public static ulong Apply(ulong a, uint b) => b > 63 ? 0 : a << (int)b;
}

internal struct ShiftLeft16 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => b > 15 ? 0u : (ushort)(a << (int)b);
}

/// <summary>Logical; also right for 16 bits, whose lanes are zero-extended.</summary>
internal struct ShiftRight32 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => b > 31 ? 0 : a >> (int)b;
}

internal struct ShiftRight64 : ILane2<ulong, uint, ulong>
{
    public static ulong Apply(ulong a, uint b) => b > 63 ? 0 : a >> (int)b;
}

internal struct ShiftRightSigned16 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (ushort)((short)a >> (int)Math.Min(b, 15));
}

internal struct ShiftRightSigned32 : ILane2<int, uint, int>
{
    public static int Apply(int a, uint b) => a >> (int)Math.Min(b, 31);
}

internal struct ShiftRightSigned64 : ILane2<long, uint, long>
{
    public static long Apply(long a, uint b) => a >> (int)Math.Min(b, 63);
}

internal struct DivideUnsigned32 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => b == 0 ? uint.MaxValue : a / b;
}

internal struct DivideSigned32 : ILane2<int, int, int>
{
    public static int Apply(int a, int b) => b == 0 ? -1 : b == -1 ? unchecked(-a) : a / b;
}

internal struct DivideUnsigned64 : ILane2<ulong, ulong, ulong>
{
    public static ulong Apply(ulong a, ulong b) => b == 0 ? ulong.MaxValue : a / b;
}

internal struct DivideSigned64 : ILane2<long, long, long>
{
    public static long Apply(long a, long b) => b == 0 ? -1 : b == -1 ? unchecked(-a) : a / b;
}

internal struct DivideSigned16 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (ushort)DivideSigned32.Apply((short)a, (short)b);
}

internal struct RemainderUnsigned32 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => b == 0 ? a : a % b;
}

internal struct RemainderSigned32 : ILane2<int, int, int>
{
    public static int Apply(int a, int b) => b == 0 ? a : b == -1 ? 0 : a % b;
}

internal struct RemainderUnsigned64 : ILane2<ulong, ulong, ulong>
{
    public static ulong Apply(ulong a, ulong b) => b == 0 ? a : a % b;
}

internal struct RemainderSigned64 : ILane2<long, long, long>
{
    public static long Apply(long a, long b) => b == 0 ? a : b == -1 ? 0 : a % b;
}

internal struct RemainderSigned16 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (ushort)RemainderSigned32.Apply((short)a, (short)b);
}

internal struct MultiplyHighUnsigned16 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (a * b) >> 16;
}

internal struct MultiplyHighSigned16 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (ushort)(((short)a * (short)b) >> 16);
}

internal struct MultiplyHighUnsigned32 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (uint)(((ulong)a * b) >> 32);
}

internal struct MultiplyHighSigned32 : ILane2<int, int, int>
{
    public static int Apply(int a, int b) => (int)(((long)a * b) >> 32);
}

internal struct MultiplyHighUnsigned64 : ILane2<ulong, ulong, ulong>
{
    public static ulong Apply(ulong a, ulong b) => Math.BigMul(a, b, out _);
}

internal struct MultiplyHighSigned64 : ILane2<long, long, long>
{
    public static long Apply(long a, long b) => Math.BigMul(a, b, out _);
}

internal struct MultiplyWideUnsigned16 : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => a * b;
}

internal struct MultiplyWideSigned16 : ILane2<uint, uint, int>
{
    public static int Apply(uint a, uint b) => (short)a * (short)b;
}

internal struct MultiplyWideUnsigned32 : ILane2<uint, uint, ulong>
{
    public static ulong Apply(uint a, uint b) => (ulong)a * b;
}

internal struct MultiplyWideSigned32 : ILane2<int, int, long>
{
    public static long Apply(int a, int b) => (long)a * b;
}

/// <summary>mad.hi and mad.wide: a product as above, plus c.</summary>
internal struct MultiplyThenAdd<TA, TR, TProduct> : ILane3<TA, TA, TR, TR>
    where TR : INumberBase<TR>
    where TProduct : struct, ILane2<TA, TA, TR>
{
    public static TR Apply(TA a, TA b, TR c) => unchecked(TProduct.Apply(a, b) + c);
}

/// <summary>As above in 16 bits.</summary>
internal struct MultiplyThenAdd16<TProduct> : ILane3<uint, uint, uint, uint>
    where TProduct : struct, ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c) => (ushort)(TProduct.Apply(a, b) + c);
}

internal struct Multiply24Unsigned : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (a & 0xFFFFFF) * (b & 0xFFFFFF);
}

internal struct Multiply24Signed : ILane2<int, int, int>
{
    public static int Apply(int a, int b) => ((a << 8) >> 8) * ((b << 8) >> 8);
}

/// <summary>mul24.hi: bits 16 to 47 of the product of 48 bits.</summary>
internal struct Multiply24HighUnsigned : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (uint)(((ulong)(a & 0xFFFFFF) * (b & 0xFFFFFF)) >> 16);
}

internal struct Multiply24HighSigned : ILane2<int, int, int>
{
    public static int Apply(int a, int b) => (int)(((long)((a << 8) >> 8) * ((b << 8) >> 8)) >> 16);
}

/// <summary>mad.hi.sat and mad24.hi.sat.</summary>
internal struct MultiplyThenAddSaturated<TProduct> : ILane3<int, int, int, int>
    where TProduct : struct, ILane2<int, int, int>
{
    public static int Apply(int a, int b, int c) => AddSaturate32.Apply(TProduct.Apply(a, b), c);
}

internal struct AddSaturate32 : ILane2<int, int, int>
{
    public static int Apply(int a, int b) => (int)Math.Clamp((long)a + b, int.MinValue, int.MaxValue);
}

internal struct SubtractSaturate32 : ILane2<int, int, int>
{
    public static int Apply(int a, int b) => (int)Math.Clamp((long)a - b, int.MinValue, int.MaxValue);
}

/// <summary>sad: c + |a − b|.</summary>
internal struct Sad<T> : ILane3<T, T, T, T>
    where T : IBinaryInteger<T>
{
    public static T Apply(T a, T b, T c) => unchecked(c + (a < b ? b - a : a - b));
}

internal struct SadUnsigned16 : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c) => (ushort)Sad<uint>.Apply(a, b, c);
}

internal struct SadSigned16 : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c) => (ushort)Sad<int>.Apply((short)a, (short)b, (short)c);
}

/// <summary>cnot: 1 for zero, else 0.</summary>
internal struct IsZero<T> : ILane1<T, T>
    where T : IBinaryInteger<T>
{
    public static T Apply(T a) => T.IsZero(a) ? T.One : T.Zero;
}

internal struct Popc32 : ILane1<uint, uint>
{
    public static uint Apply(uint a) => (uint)BitOperations.PopCount(a);
}

internal struct Popc64 : ILane1<ulong, uint>
{
    public static uint Apply(ulong a) => (uint)BitOperations.PopCount(a);
}

internal struct Clz32 : ILane1<uint, uint>
{
    public static uint Apply(uint a) => (uint)BitOperations.LeadingZeroCount(a);
}

internal struct Clz64 : ILane1<ulong, uint>
{
    public static uint Apply(ulong a) => (uint)BitOperations.LeadingZeroCount(a);
}

internal struct Reverse32 : ILane1<uint, uint>
{
    public static uint Apply(uint a)
    {
        uint r = 0;
        for (int bit = 0; bit < 32; bit++)
            r |= (a >> bit & 1) << (31 - bit);
        return r;
    }
}

internal struct Reverse64 : ILane1<ulong, ulong>
{
    public static ulong Apply(ulong a) => ((ulong)Reverse32.Apply((uint)a) << 32) | Reverse32.Apply((uint)(a >> 32));
}

/// <summary>bfind: the top bit that differs from the sign; −1 when there is none.</summary>
internal struct FindTopUnsigned32 : ILane1<uint, uint>
{
    public static uint Apply(uint a) => a == 0 ? uint.MaxValue : 31 - (uint)BitOperations.LeadingZeroCount(a);
}

internal struct FindTopSigned32 : ILane1<int, uint>
{
    public static uint Apply(int a) => FindTopUnsigned32.Apply((uint)(a < 0 ? ~a : a));
}

internal struct FindTopUnsigned64 : ILane1<ulong, uint>
{
    public static uint Apply(ulong a) => a == 0 ? uint.MaxValue : 63 - (uint)BitOperations.LeadingZeroCount(a);
}

internal struct FindTopSigned64 : ILane1<long, uint>
{
    public static uint Apply(long a) => FindTopUnsigned64.Apply((ulong)(a < 0 ? ~a : a));
}

/// <summary>bfind.shiftamt: the shift that brings that bit to the top.</summary>
internal struct ShiftAmount32<TA, TFind> : ILane1<TA, uint>
    where TFind : struct, ILane1<TA, uint>
{
    public static uint Apply(TA a) => TFind.Apply(a) is var top && top == uint.MaxValue ? top : 31 - top;
}

internal struct ShiftAmount64<TA, TFind> : ILane1<TA, uint>
    where TFind : struct, ILane1<TA, uint>
{
    public static uint Apply(TA a) => TFind.Apply(a) is var top && top == uint.MaxValue ? top : 63 - top;
}

/// <summary>bfe: position and length are bytes; the field beyond the top repeats it (signed: the field's own top bit, ptx.md §4).</summary>
internal struct ExtractUnsigned32 : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint position, uint length) => (uint)ExtractUnsigned64.Apply(a, position, length);
}

internal struct ExtractUnsigned64 : ILane3<ulong, uint, uint, ulong>
{
    public static ulong Apply(ulong a, uint position, uint length)
    {
        (int pos, int len) = ((int)(position & 255), (int)(length & 255));
        ulong field = pos > 63 ? 0 : a >> pos;
        return len > 63 ? field : field & ((1UL << len) - 1);
    }
}

internal struct ExtractSigned32 : ILane3<int, uint, uint, int>
{
    public static int Apply(int a, uint position, uint length) => (int)Signed(a, position, length, 31);

    public static long Signed(long a, uint position, uint length, int top)
    {
        (int pos, int len) = ((int)(position & 255), (int)(length & 255));
        if (len == 0)
            return 0;
        int sign = Math.Min(pos + len - 1, top);
        long field = pos > 63 ? a >> 63 : a >> pos;
        if (len > 63)
            return pos > top ? (a >> top & 1) == 0 ? 0 : -1 : field;
        long mask = (1L << len) - 1;
        return (a >> sign & 1) == 0 ? field & mask : field | ~mask;
    }
}

internal struct ExtractSigned64 : ILane3<long, uint, uint, long>
{
    public static long Apply(long a, uint position, uint length) => ExtractSigned32.Signed(a, position, length, 63);
}

/// <summary>prmt: bytes 0–3 of a and 4–7 of b; nibble bit 3 repeats the byte's sign.</summary>
internal struct Permute : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c)
    {
        ulong bytes = ((ulong)b << 32) | a;
        uint result = 0;
        for (int n = 0; n < 4; n++)
        {
            uint selector = c >> (4 * n) & 15;
            uint value = (byte)(bytes >> (int)(8 * (selector & 7)));
            if ((selector & 8) != 0)
                value = (value & 0x80) != 0 ? 0xFFu : 0;
            result |= value << (8 * n);
        }

        return result;
    }

    /// <summary>The modes f4e, b4e, rc8, ecl, ecr, rc16 as the selectors they stand for; only the two low bits of c count.</summary>
    public static uint Selector(int mode, uint c)
    {
        uint n = c & 3, result = 0;
        for (uint byteIndex = 0; byteIndex < 4; byteIndex++)
        {
            uint selector = mode switch
            {
                1 => n + byteIndex,
                2 => (n - byteIndex) & 7,
                3 => n,
                4 => Math.Max(n, byteIndex),
                5 => Math.Min(n, byteIndex),
                _ => ((n & 1) * 2) + (byteIndex & 1),
            };
            result |= selector << (int)(4 * byteIndex);
        }

        return result;
    }
}

/// <summary>bmsk: b ones from bit a up; .clamp cuts both at 32, .wrap at 31 bits of each.</summary>
internal struct BitMaskClamp : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (uint)(((1UL << (int)Math.Min(b, 32)) - 1) << (int)Math.Min(a, 32));
}

internal struct BitMaskWrap : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (uint)(((1UL << (int)(b & 31)) - 1) << (int)(a & 31));
}

/// <summary>szext: the low b bits of a, extended; .clamp takes counts from 32 as 32, .wrap their low five bits.</summary>
internal struct ExtendUnsigned<TCount> : ILane2<uint, uint, uint>
{
    public static uint Apply(uint a, uint b) => (uint)(a & ((1UL << ExtendSigned<TCount>.Bits(b)) - 1));
}

internal struct ExtendSigned<TCount> : ILane2<int, uint, int>
{
    public static int Bits(uint b) => typeof(TCount) == typeof(ClampedCount) ? (int)Math.Min(b, 32) : (int)(b & 31);

    public static int Apply(int a, uint b) => Bits(b) == 0 ? 0 : a << (32 - Bits(b)) >> (32 - Bits(b));
}

internal struct ClampedCount;

internal struct WrappedCount;

/// <summary>fns: the position of the c-th bit of a, counted from bit b up (c &gt; 0) or down (c &lt; 0), or bit b itself (c = 0); none: all ones.</summary>
internal struct FindNthSet : ILane3<uint, uint, int, uint>
{
    public static uint Apply(uint a, uint b, int c)
    {
        int position = (int)(b & 31), left = Math.Abs(Math.Clamp(c, -33, 33)), step = c < 0 ? -1 : 1;
        if (c == 0)
            return (a >> position & 1) != 0 ? (uint)position : uint.MaxValue;
        for (; position is >= 0 and < 32; position += step)
        {
            if ((a >> position & 1) != 0 && --left == 0)
                return (uint)position;
        }

        return uint.MaxValue;
    }
}

/// <summary>shf: b is the high word, a the low one.</summary>
internal struct FunnelLeftWrap : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c) => (uint)(((((ulong)b << 32) | a) << (int)(c & 31)) >> 32);
}

internal struct FunnelLeftClamp : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c) => (uint)(((((ulong)b << 32) | a) << (int)Math.Min(c, 32)) >> 32);
}

internal struct FunnelRightWrap : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c) => (uint)((((ulong)b << 32) | a) >> (int)(c & 31));
}

internal struct FunnelRightClamp : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c) => (uint)((((ulong)b << 32) | a) >> (int)Math.Min(c, 32));
}

/// <summary>dp4a: c plus four byte products; the signs of a and b are those of the type parameters (sbyte or byte).</summary>
internal struct Dot4<TA, TB> : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c)
    {
        int sum = (int)c;
        for (int n = 0; n < 32; n += 8)
            sum = unchecked(sum + ((typeof(TA) == typeof(sbyte) ? (sbyte)(a >> n) : (byte)(a >> n)) * (typeof(TB) == typeof(sbyte) ? (sbyte)(b >> n) : (byte)(b >> n))));
        return (uint)sum;
    }
}

/// <summary>dp2a: the halfwords of a times the low (.lo) or high (.hi) byte pair of b.</summary>
internal struct Dot2<TA, TB, THalf> : ILane3<uint, uint, uint, uint>
{
    public static uint Apply(uint a, uint b, uint c)
    {
        int sum = (int)c;
        int first = typeof(THalf) == typeof(HighPair) ? 16 : 0;
        for (int n = 0; n < 2; n++)
        {
            int half = typeof(TA) == typeof(sbyte) ? (short)(a >> (16 * n)) : (ushort)(a >> (16 * n));
            int factor = typeof(TB) == typeof(sbyte) ? (sbyte)(b >> (first + (8 * n))) : (byte)(b >> (first + (8 * n)));
            sum = unchecked(sum + (half * factor));
        }

        return (uint)sum;
    }
}

internal struct HighPair;

internal struct LowPair;
