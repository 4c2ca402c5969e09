using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Parsing;

namespace Foretoken.Ptx.Instructions;

/// <summary>
/// cvt (ptx.md §4). The general form goes through exact numbers, lane by lane: P is the source type, Q the destination type, Mode the rounding with the flags
/// below, Width the bits of the source register, Count those of the destination register. Frequent forms have vector versions.
/// </summary>
internal static unsafe class Conversions
{
    public const int RoundingMask = 15, ToIntegral = 16, Saturating = 32, FlushSubnormals = 64, Relu = 128;

    public static void General(Warp w, Instruction* i, uint exec)
    {
        byte* a = w.At(i->A), d = w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong result = Convert(i->Width == 64 ? ((ulong*)a)[lane] : ((uint*)a)[lane], (PtxType)i->P, (PtxType)i->Q, i->Mode, i->Count);
            if (i->Count == 64)
                ((ulong*)d)[lane] = result;
            else
                ((uint*)d)[lane] = i->Count == 16 ? (ushort)result : (uint)result;
        }
    }

    /// <summary>cvt.type.f32 d, a, b: a becomes the high half.</summary>
    public static void Pair(Warp w, Instruction* i, uint exec)
    {
        float* a = (float*)w.At(i->A), b = (float*)w.At(i->B);
        uint* d = (uint*)w.At(i->D);
        var type = (PtxType)i->Q;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            int shift = type is PtxType.E4M3x2 or PtxType.E5M2x2 ? 8 : 16;
            d[lane] = (Half(a[lane], type, i->Mode) << shift) | Half(b[lane], type, i->Mode);
        }
    }

    /// <summary>cvt.rn.f16x2.e4m3x2 and e5m2x2.</summary>
    public static void FromFloat8(Warp w, Instruction* i, uint exec)
    {
        uint* a = (uint*)w.At(i->A), d = (uint*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            uint low = Numbers.ToHalf(Rectified(Float8(a[lane] & 255, (PtxType)i->P), i->Mode), Rounding.Nearest);
            uint high = Numbers.ToHalf(Rectified(Float8(a[lane] >> 8 & 255, (PtxType)i->P), i->Mode), Rounding.Nearest);
            d[lane] = (high << 16) | low;
        }
    }

    /// <summary>cvt.rn.satfinite.e4m3x2.f16x2 and e5m2x2: halves keep their place.</summary>
    public static void HalvesToFloat8(Warp w, Instruction* i, uint exec)
    {
        uint* a = (uint*)w.At(i->A), d = (uint*)w.At(i->D);
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = (ToFloat8(Rectified(Numbers.FromHalf(a[lane] >> 16), i->Mode), (PtxType)i->Q) << 8) | ToFloat8(Rectified(Numbers.FromHalf(a[lane] & 0xFFFF), i->Mode), (PtxType)i->Q);
        }
    }

    /// <summary>.relu: max(x, +0), −0 too.</summary>
    private static double Rectified(double value, int mode) => (mode & Relu) != 0 && value <= 0 ? 0 : value;

    /// <summary>cvt.pack.sat.</summary>
    public static void PackSaturated(Warp w, Instruction* i, uint exec)
    {
        int* a = (int*)w.At(i->A), b = (int*)w.At(i->B);
        uint* c = (uint*)w.At(i->C), d = (uint*)w.At(i->D);
        var type = (PtxType)i->Q;
        int bits = type.Bits();
        uint mask = (1u << bits) - 1;
        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            uint high = (uint)(int)Clamp(a[lane], type) & mask, low = (uint)(int)Clamp(b[lane], type) & mask;
            d[lane] = (high << bits) | low | (bits == 8 ? c[lane] << 16 : 0);
        }
    }

    public static ulong Convert(ulong bits, PtxType source, PtxType target, int mode, int registerBits)
    {
        var rounding = (Rounding)(mode & RoundingMask);
        bool saturate = (mode & Saturating) != 0;
        if (source.IsInteger())
        {
            Int128 value = Integer(bits, source);
            return target.IsInteger() ? FromInteger(saturate ? Clamp(value, target) : value, target, registerBits) : IntegerToFloat(value, target, rounding, saturate);
        }

        double number = ReadFloat(bits, source, (mode & FlushSubnormals) != 0);
        if (target.IsInteger())
            return FloatToInteger(number, source, target, rounding, registerBits);
        if ((mode & ToIntegral) != 0)
            number = Numbers.Integral(number, rounding) is var whole && whole == 0 ? Math.CopySign(0, number) : Numbers.Integral(number, rounding);
        number = Rectified(number, mode);
        if (saturate)
            number = number > 0 ? Math.Min(number, 1) : 0;
        return WriteFloat(number, target, (mode & ToIntegral) != 0 ? Rounding.Nearest : rounding, (mode & FlushSubnormals) != 0);
    }

    /// <summary>cvt.rn.bf16.f32 by adding half a unit of the last place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<uint> ToBFloat16(Vector512<float> a)
    {
        Vector512<uint> bits = a.AsUInt32();
        Vector512<uint> odd = Vector512.ShiftRightLogical(bits, 16) & Vector512.Create(1u);
        Vector512<uint> rounded = Vector512.ShiftRightLogical(bits + Vector512.Create(0x7FFFu) + odd, 16);
        return Vector512.ConditionalSelect(Vector512.Equals(a, a).AsUInt32(), rounded, Vector512.Create(0x7FFFu));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void BFloat16Pair(Warp w, Instruction* i, uint exec)
    {
        float* a = (float*)w.At(i->A), b = (float*)w.At(i->B);
        uint* d = (uint*)w.At(i->D);
        for (int lane = 0; lane < Warp.Lanes; lane += 16)
            Loops.Merge(d + lane, Vector512.ShiftLeft(ToBFloat16(Vector512.Load(a + lane)), 16) | ToBFloat16(Vector512.Load(b + lane)), exec >> lane);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen<TFrom, TTo>(Warp w, Instruction* i, uint exec)
        where TFrom : unmanaged, IBinaryInteger<TFrom>
        where TTo : unmanaged, IBinaryInteger<TTo>
    {
        TFrom* a = (TFrom*)w.At(i->A);
        TTo* d = (TTo*)w.At(i->D);
        if (exec == w.Live)
        {
            for (int lane = 0; lane < Warp.Lanes; lane++)
                d[lane] = TTo.CreateTruncating(a[lane]);
            return;
        }

        for (uint rest = exec; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            d[lane] = TTo.CreateTruncating(a[lane]);
        }
    }

    /// <summary>Integers of up to 32 bits: cut to the source type, extend, cut to the destination type, extend. Immediate packs the four shifts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Narrow(Warp w, Instruction* i, uint exec)
    {
        uint* a = (uint*)w.At(i->A), d = (uint*)w.At(i->D);
        int source = 32 - ((PtxType)i->P).Bits(), target = 32 - ((PtxType)i->Q).Bits();
        bool sourceSigned = ((PtxType)i->P).IsSigned(), targetSigned = ((PtxType)i->Q).IsSigned();
        Vector512<uint> mask = Vector512.Create(i->Count == 16 ? 0xFFFFu : uint.MaxValue);
        for (int lane = 0; lane < Warp.Lanes; lane += 16)
        {
            Vector512<uint> value = Extend(Vector512.Load(a + lane), source, sourceSigned);
            Loops.Merge(d + lane, Extend(value, target, targetSigned) & mask, exec >> lane);
        }
    }

    private static Vector512<uint> Extend(Vector512<uint> value, int shift, bool signed)
    {
        Vector512<uint> high = Vector512.ShiftLeft(value, shift);
        return signed ? Vector512.ShiftRightArithmetic(high.AsInt32(), shift).AsUInt32() : Vector512.ShiftRightLogical(high, shift);
    }

    private static Int128 Integer(ulong bits, PtxType type)
    {
        int shift = 64 - type.Bits();
        return type.IsSigned() ? (long)(bits << shift) >> shift : (Int128)(bits << shift >> shift);
    }

    private static Int128 Clamp(Int128 value, PtxType type)
    {
        int bits = type.Bits();
        Int128 high = type.IsSigned() ? (Int128.One << (bits - 1)) - 1 : (Int128.One << bits) - 1;
        return Int128.Clamp(value, type.IsSigned() ? -high - 1 : 0, high);
    }

    /// <summary>Cut to the type, then extended to the register by the type's sign.</summary>
    private static ulong FromInteger(Int128 value, PtxType type, int registerBits)
    {
        ulong extended = (ulong)(UInt128)Integer((ulong)(UInt128)(value & ulong.MaxValue), type);
        return registerBits == 64 ? extended : extended & ((1UL << registerBits) - 1);
    }

    private static ulong IntegerToFloat(Int128 value, PtxType target, Rounding rounding, bool saturate)
    {
        if (saturate)
            value = Int128.Clamp(value, 0, 1);
        double hi = (double)value;
        double lo = (double)(value - (Int128)hi);
        return target == PtxType.F64
            ? BitConverter.DoubleToUInt64Bits(Numbers.AddDouble(hi, lo, rounding))
            : WriteFloat(Numbers.Odd(hi, lo), target, rounding, false);
    }

    private static ulong FloatToInteger(double number, PtxType source, PtxType target, Rounding rounding, int registerBits)
    {
        if (double.IsNaN(number)) // 0, but the top bit alone if the source is f64 or the target has 64 bits
            return source == PtxType.F64 || target.Bits() == 64 ? 1UL << (target.Bits() - 1) : 0;
        double whole = Numbers.Integral(number, rounding);
        Int128 value = whole >= 1.8446744073709552e19 ? Int128.MaxValue : whole <= -9.3e18 ? Int128.MinValue : (Int128)whole;
        return FromInteger(Clamp(value, target), target, registerBits);
    }

    private static double ReadFloat(ulong bits, PtxType type, bool flush) => type switch
    {
        PtxType.F64 => BitConverter.UInt64BitsToDouble(bits),
        PtxType.F32 => BitConverter.UInt32BitsToSingle((uint)bits) is var f && flush ? Flush.Apply(f) : BitConverter.UInt32BitsToSingle((uint)bits),
        PtxType.BF16 => Numbers.FromBFloat16((uint)bits & 0xFFFF),
        _ => Numbers.FromHalf((uint)bits & 0xFFFF),
    };

    private static ulong WriteFloat(double number, PtxType type, Rounding rounding, bool flush)
    {
        switch (type)
        {
            case PtxType.F64:
                return BitConverter.DoubleToUInt64Bits(number);
            case PtxType.F32:
                if (double.IsNaN(number))
                    return Numbers.CanonicalNaN;
                float single = Numbers.ToSingle(number, rounding);
                return BitConverter.SingleToUInt32Bits(flush ? Flush.Apply(single) : single);
            case PtxType.TF32:
                return double.IsNaN(number) ? Numbers.CanonicalNaN : BitConverter.SingleToUInt32Bits((float)Numbers.Round(number, FloatFormat.Tf32, rounding));
            case PtxType.BF16:
                return Numbers.ToBFloat16(number, rounding);
            default:
                return Numbers.ToHalf(number, rounding);
        }
    }

    private static uint Half(float value, PtxType type, int mode)
    {
        double number = Rectified(value, mode);
        var rounding = (Rounding)(mode & RoundingMask);
        return type switch
        {
            PtxType.BF16x2 => Numbers.ToBFloat16(number, rounding),
            PtxType.F16x2 => Numbers.ToHalf(number, rounding),
            _ => ToFloat8(number, type),
        };
    }

    /// <summary>satfinite: ±448 or ±57344 at most; NaN is 0x7F (ptx.md §4; for e5m2 the same pattern is a NaN too).</summary>
    private static uint ToFloat8(double value, PtxType type)
    {
        bool e4 = type == PtxType.E4M3x2;
        if (double.IsNaN(value))
            return 0x7F;
        FloatFormat format = e4 ? FloatFormat.E4M3 : FloatFormat.E5M2;
        double rounded = Math.Clamp(Numbers.Round(value, format, Rounding.Nearest), -format.Max, format.Max);
        uint sign = double.IsNegative(value) ? 0x80u : 0;
        double magnitude = Math.Abs(rounded);
        if (magnitude == 0)
            return sign;
        int fraction = format.Precision - 1;
        int exponent = Math.Max(Math.ILogB(magnitude), format.MinExponent);
        uint scaled = (uint)Math.ScaleB(magnitude, fraction - exponent); // with the hidden bit of normal numbers
        return sign | (uint)(((exponent - format.MinExponent) << fraction) + scaled);
    }

    private static double Float8(uint bits, PtxType type)
    {
        bool e4 = type == PtxType.E4M3x2;
        FloatFormat format = e4 ? FloatFormat.E4M3 : FloatFormat.E5M2;
        int fraction = format.Precision - 1, exponentField = (int)(bits & 0x7F) >> fraction, mantissa = (int)bits & ((1 << fraction) - 1);
        double sign = (bits & 0x80) != 0 ? -1 : 1;
        if (e4 ? (bits & 0x7F) == 0x7F : exponentField == 31 && mantissa != 0)
            return double.NaN;
        if (!e4 && exponentField == 31)
            return sign * double.PositiveInfinity;
        return exponentField == 0
            ? sign * Math.ScaleB(mantissa, format.MinExponent - fraction)
            : sign * Math.ScaleB(mantissa + (1 << fraction), exponentField - 1 + format.MinExponent - fraction);
    }
}

/// <summary>cvt.rn.f32.s32.</summary>
internal struct SignedToFloat : ILane1<int, float>
{
    public static float Apply(int a) => a;
}

internal struct UnsignedToFloat : ILane1<uint, float>
{
    public static float Apply(uint a) => a;
}

/// <summary>cvt.rzi.s32.f32: clamps, NaN gives 0, as the host's conversion does.</summary>
internal struct FloatToSigned : ILane1<float, int>
{
    public static int Apply(float a) => (int)a;
}

internal struct FloatToUnsigned : ILane1<float, uint>
{
    public static uint Apply(float a) => (uint)a;
}

internal struct BFloat16ToFloat : IVector1<uint>
{
    public static Vector512<uint> Apply(Vector512<uint> a) => Vector512.ShiftLeft(a, 16);
}

internal struct FloatToBFloat16 : IVector1<uint>
{
    public static Vector512<uint> Apply(Vector512<uint> a) => Conversions.ToBFloat16(a.AsSingle());
}

internal struct FloatToDouble : ILane1<float, double>
{
    public static double Apply(float a) => a;
}

internal struct DoubleToFloat : ILane1<double, float>
{
    public static float Apply(double a) => (float)a;
}

internal struct HalfToFloat : ILane1<uint, float>
{
    public static float Apply(uint a) => Numbers.FromHalf(a & 0xFFFF);
}

internal struct FloatToHalf : ILane1<float, uint>
{
    public static uint Apply(float a) => Numbers.ToHalf(a, Rounding.Nearest);
}
