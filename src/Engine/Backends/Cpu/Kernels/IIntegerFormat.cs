using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// How kernels read the panels of an integer type: see <see cref="PanelFormat"/> for the layout. Contract of all integer types, per step of 32 elements
/// (per half of 16 where the format has halves): the exact integer sum c of weights times activations, then sum = fma(float(c), scale · activation scale,
/// sum); where the format has minimums, then sum = fma(minimum, −activation scale · Σ activations, sum).
/// </summary>
internal unsafe interface IIntegerFormat
{
    static abstract WeightType Type { get; }

    /// <summary>Bytes of a step's weights.</summary>
    static abstract int StepBytes { get; }

    static abstract bool HasHalves { get; }

    static abstract bool HasMinimum { get; }

    /// <summary>Line 0..7 of a step as unsigned bytes: features 0..7 in <paramref name="left"/>, 8..15 in <paramref name="right"/>, four elements each.</summary>
    static abstract void LoadLine(byte* step, int line, out Vector256<byte> left, out Vector256<byte> right);

    /// <summary>Four features of a line.</summary>
    static abstract Vector128<byte> LoadQuarter(byte* step, int line, int quarter);

    /// <summary>The scales of features 0..7 and 8..15, smaller by 2^<see cref="HalfScales.Missing"/>.</summary>
    static abstract void LoadScales(byte* scales, int step, int half, out Vector256<float> low, out Vector256<float> high);

    /// <summary>The same of four features.</summary>
    static abstract Vector128<float> LoadScales(byte* scales, int step, int half, int quarter);

    /// <summary>The minimums of features 0..7 and 8..15, smaller by the same factor.</summary>
    static abstract void LoadMinimums(byte* scales, int step, out Vector256<float> low, out Vector256<float> high);

    /// <summary>The same of four features.</summary>
    static abstract Vector128<float> LoadMinimums(byte* scales, int step, int quarter);
}

/// <summary>Lines of 4-bit values: line j in the low nibbles of stored line j, line j + 4 in the high ones.</summary>
internal static unsafe class Nibbles
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LoadLine(byte* step, int line, out Vector256<byte> left, out Vector256<byte> right)
    {
        byte* stored = step + 64 * (line & 3);
        Vector256<ushort> l = Vector256.Load((ushort*)stored), r = Vector256.Load((ushort*)(stored + 32));
        if (line >= 4)
        {
            l >>>= 4;
            r >>>= 4;
        }

        Vector256<byte> mask = Vector256.Create((byte)0x0F);
        left = l.AsByte() & mask;
        right = r.AsByte() & mask;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LoadQuarter(byte* step, int line, int quarter)
    {
        Vector128<ushort> stored = Vector128.Load((ushort*)(step + 64 * (line & 3) + 16 * quarter));
        return (line >= 4 ? stored >>> 4 : stored).AsByte() & Vector128.Create((byte)0x0F);
    }
}

/// <summary>Bytes as floats.</summary>
internal static unsafe class ByteScales
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadUnsigned(byte* bytes) => Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(bytes));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadSigned(byte* bytes) => Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32((sbyte*)bytes));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFourUnsigned(byte* bytes) => Vector128.Create((float)bytes[0], bytes[1], bytes[2], bytes[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadFourSigned(byte* bytes) => Vector128.Create((float)(sbyte)bytes[0], (sbyte)bytes[1], (sbyte)bytes[2], (sbyte)bytes[3]);
}
