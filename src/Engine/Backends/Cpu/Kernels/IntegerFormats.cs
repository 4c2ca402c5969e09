using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>8-bit weights, one scale per step.</summary>
internal readonly unsafe struct Int8Format : IIntegerFormat
{
    public static WeightType Type => WeightType.Int8;

    public static int StepBytes => 512;

    public static bool HasHalves => false;

    public static bool HasMinimum => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadLine(byte* step, int line, out Vector256<byte> left, out Vector256<byte> right)
    {
        left = Vector256.Load(step + 64 * line);
        right = Vector256.Load(step + 64 * line + 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LoadQuarter(byte* step, int line, int quarter) => Vector128.Load(step + 64 * line + 16 * quarter);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadScales(byte* scales, int step, int half, out Vector256<float> low, out Vector256<float> high) =>
        HalfScales.Load(scales + 32 * step, out low, out high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadScales(byte* scales, int step, int half, int quarter) => HalfScales.LoadFour(scales + 32 * step, 4 * quarter);

    public static void LoadMinimums(byte* scales, int step, out Vector256<float> low, out Vector256<float> high) => low = high = default;

    public static Vector128<float> LoadMinimums(byte* scales, int step, int quarter) => default;
}

/// <summary>4-bit weights, one scale per step.</summary>
internal readonly unsafe struct Int4Format : IIntegerFormat
{
    public static WeightType Type => WeightType.Int4;

    public static int StepBytes => 256;

    public static bool HasHalves => false;

    public static bool HasMinimum => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadLine(byte* step, int line, out Vector256<byte> left, out Vector256<byte> right) =>
        Nibbles.LoadLine(step, line, out left, out right);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LoadQuarter(byte* step, int line, int quarter) => Nibbles.LoadQuarter(step, line, quarter);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadScales(byte* scales, int step, int half, out Vector256<float> low, out Vector256<float> high) =>
        HalfScales.Load(scales + 32 * step, out low, out high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadScales(byte* scales, int step, int half, int quarter) => HalfScales.LoadFour(scales + 32 * step, 4 * quarter);

    public static void LoadMinimums(byte* scales, int step, out Vector256<float> low, out Vector256<float> high) => low = high = default;

    public static Vector128<float> LoadMinimums(byte* scales, int step, int quarter) => default;
}

/// <summary>4-bit weights; per eight steps d and dmin, per step an integer scale and minimum. d · s and dmin · m are exact in f32: 11 + 6 bits.</summary>
internal readonly unsafe struct Q4KFormat : IIntegerFormat
{
    /// <summary>Scales of eight steps: 16 d, 16 dmin, 8 × {16 scales, 16 minimums}.</summary>
    public const int ScaleGroupBytes = 320;

    public const int MinimumFactorOffset = 32, StepScalesOffset = 64, StepScaleBytes = 32, StepMinimumsOffset = 16;

    public static WeightType Type => WeightType.Q4K;

    public static int StepBytes => 256;

    public static bool HasHalves => false;

    public static bool HasMinimum => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadLine(byte* step, int line, out Vector256<byte> left, out Vector256<byte> right) =>
        Nibbles.LoadLine(step, line, out left, out right);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LoadQuarter(byte* step, int line, int quarter) => Nibbles.LoadQuarter(step, line, quarter);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadScales(byte* scales, int step, int half, out Vector256<float> low, out Vector256<float> high)
    {
        byte* group = scales + (step >> 3) * ScaleGroupBytes, own = group + StepScalesOffset + (step & 7) * StepScaleBytes;
        HalfScales.Load(group, out low, out high);
        low *= ByteScales.LoadUnsigned(own);
        high *= ByteScales.LoadUnsigned(own + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadScales(byte* scales, int step, int half, int quarter)
    {
        byte* group = scales + (step >> 3) * ScaleGroupBytes, own = group + StepScalesOffset + (step & 7) * StepScaleBytes;
        return HalfScales.LoadFour(group, 4 * quarter) * ByteScales.LoadFourUnsigned(own + 4 * quarter);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadMinimums(byte* scales, int step, out Vector256<float> low, out Vector256<float> high)
    {
        byte* group = scales + (step >> 3) * ScaleGroupBytes, own = group + StepScalesOffset + (step & 7) * StepScaleBytes + StepMinimumsOffset;
        HalfScales.Load(group + MinimumFactorOffset, out low, out high);
        low *= ByteScales.LoadUnsigned(own);
        high *= ByteScales.LoadUnsigned(own + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadMinimums(byte* scales, int step, int quarter)
    {
        byte* group = scales + (step >> 3) * ScaleGroupBytes, own = group + StepScalesOffset + (step & 7) * StepScaleBytes + StepMinimumsOffset;
        return HalfScales.LoadFour(group + MinimumFactorOffset, 4 * quarter) * ByteScales.LoadFourUnsigned(own + 4 * quarter);
    }
}

/// <summary>6-bit weights; per eight steps d, per half step an integer scale. d · s is exact in f32: 11 + 8 bits.</summary>
internal readonly unsafe struct Q6KFormat : IIntegerFormat
{
    /// <summary>Scales of eight steps: 16 d, 8 × {16 scales of the first half, 16 of the second}.</summary>
    public const int ScaleGroupBytes = 288;

    public const int StepScalesOffset = 32, StepScaleBytes = 32, HalfScaleBytes = 16;

    /// <summary>Where the upper two bits of a step begin.</summary>
    public const int HighOffset = 256;

    public static WeightType Type => WeightType.Q6K;

    public static int StepBytes => 384;

    public static bool HasHalves => true;

    public static bool HasMinimum => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadLine(byte* step, int line, out Vector256<byte> left, out Vector256<byte> right)
    {
        Nibbles.LoadLine(step, line, out left, out right);
        byte* high = step + HighOffset + 64 * (line >> 2);
        Vector256<ushort> l = Vector256.Load((ushort*)high), r = Vector256.Load((ushort*)(high + 32));
        (l, r) = (line & 3) switch { 0 => (l << 4, r << 4), 1 => (l << 2, r << 2), 2 => (l, r), _ => (l >>> 2, r >>> 2) };
        Vector256<byte> mask = Vector256.Create((byte)0x30);
        left |= l.AsByte() & mask;
        right |= r.AsByte() & mask;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LoadQuarter(byte* step, int line, int quarter)
    {
        Vector128<ushort> h = Vector128.Load((ushort*)(step + HighOffset + 64 * (line >> 2) + 16 * quarter));
        h = (line & 3) switch { 0 => h << 4, 1 => h << 2, 2 => h, _ => h >>> 2 };
        return Nibbles.LoadQuarter(step, line, quarter) | (h.AsByte() & Vector128.Create((byte)0x30));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadScales(byte* scales, int step, int half, out Vector256<float> low, out Vector256<float> high)
    {
        byte* group = scales + (step >> 3) * ScaleGroupBytes, own = group + StepScalesOffset + (step & 7) * StepScaleBytes + half * HalfScaleBytes;
        HalfScales.Load(group, out low, out high);
        low *= ByteScales.LoadSigned(own);
        high *= ByteScales.LoadSigned(own + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadScales(byte* scales, int step, int half, int quarter)
    {
        byte* group = scales + (step >> 3) * ScaleGroupBytes, own = group + StepScalesOffset + (step & 7) * StepScaleBytes + half * HalfScaleBytes;
        return HalfScales.LoadFour(group, 4 * quarter) * ByteScales.LoadFourSigned(own + 4 * quarter);
    }

    public static void LoadMinimums(byte* scales, int step, out Vector256<float> low, out Vector256<float> high) => low = high = default;

    public static Vector128<float> LoadMinimums(byte* scales, int step, int quarter) => default;
}
