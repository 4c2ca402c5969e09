using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Numerics;

/// <summary>Converts little-endian tensor bytes to f32 and back. Conversions from the smaller float types to f32 are exact.</summary>
public static class DTypeConverter
{
    private static readonly float[] E4M3 = BuildE4M3();

    /// <summary>Converts <paramref name="source"/> to f32.</summary>
    /// <param name="type">Element type of the source.</param>
    /// <param name="source">Little-endian elements, exactly as many as <paramref name="destination"/> holds; any alignment.</param>
    /// <param name="destination">Receives one f32 per element; f64 and wide integers are rounded to nearest.</param>
    /// <exception cref="ArgumentException">The lengths do not agree.</exception>
    public static void ToSingle(DType type, ReadOnlySpan<byte> source, Span<float> destination)
    {
        long needed = type.BytesOf(destination.Length);
        if (source.Length != needed)
            throw new ArgumentException($"{destination.Length} elements of {type.FileName()} are {needed} bytes, not {source.Length}.", nameof(source));
        if (!BitConverter.IsLittleEndian) throw new PlatformNotSupportedException("Tensor files are little-endian, and so must be the machine.");
        if (type.IsBlock())
        {
            BlockFormat.Of(type).Dequantize(source, destination);
            return;
        }

        switch (type)
        {
            case DType.F32: source.CopyTo(MemoryMarshal.AsBytes(destination)); break;
            case DType.BF16: BFloat16Bits.ToSingle(MemoryMarshal.Cast<byte, ushort>(source), destination); break;
            case DType.F16: FromHalf(source, destination); break;
            case DType.F8E4M3: for (int i = 0; i < source.Length; i++) destination[i] = E4M3[source[i]]; break;
            case DType.F8E5M2: for (int i = 0; i < source.Length; i++) destination[i] = (float)BitConverter.UInt16BitsToHalf((ushort)(source[i] << 8)); break;
            case DType.F64: FromWide(source, destination); break;
            default: FromInteger(type, source, destination); break;
        }
    }

    /// <summary>Converts f32 to the types that models are written in: F32, F16, BF16 (rounded to nearest, ties to even) and the block types.</summary>
    /// <param name="type">Element type of the destination.</param>
    /// <param name="source">Whole blocks.</param>
    /// <param name="destination">Exactly as long as <see cref="DTypes.BytesOf"/> says.</param>
    /// <exception cref="ArgumentException">The lengths do not agree, or a value is not finite or too large for the type.</exception>
    public static void FromSingle(DType type, ReadOnlySpan<float> source, Span<byte> destination)
    {
        long needed = type.BytesOf(source.Length);
        if (destination.Length != needed)
            throw new ArgumentException($"{source.Length} elements of {type.FileName()} are {needed} bytes, not {destination.Length}.", nameof(destination));
        if (!BitConverter.IsLittleEndian) throw new PlatformNotSupportedException("Tensor files are little-endian, and so must be the machine.");
        switch (type)
        {
            case DType.F32: MemoryMarshal.AsBytes(source).CopyTo(destination); break;
            case DType.BF16: BFloat16Bits.FromSingle(source, MemoryMarshal.Cast<byte, ushort>(destination)); break;
            case DType.F16: ToHalf(source, MemoryMarshal.Cast<byte, Half>(destination)); break;
            case var _ when type.IsBlock(): BlockFormat.Of(type).Quantize(source, destination); break;
            default: throw new ArgumentException($"Weights are not written as {type.FileName()}.", nameof(type));
        }
    }

    /// <summary>One fp8 value of type <see cref="DType.F8E4M3"/>.</summary>
    public static float E4M3ToSingle(byte bits) => E4M3[bits];

    private static void ToHalf(ReadOnlySpan<float> source, Span<Half> destination)
    {
        for (int i = 0; i < source.Length; i++)
        {
            destination[i] = (Half)source[i];
            if (Half.IsInfinity(destination[i]) && !float.IsInfinity(source[i]))
                throw new ArgumentException($"{source[i]:R} is too large for F16, whose largest value is 65504.", nameof(source));
        }
    }

    private static void FromHalf(ReadOnlySpan<byte> source, Span<float> destination)
    {
        ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(source);
        ref byte from = ref MemoryMarshal.GetReference(source);
        ref float to = ref MemoryMarshal.GetReference(destination);
        int i = 0;
        for (; i <= halves.Length - 16; i += 16)
        {
            (Vector256<uint> low, Vector256<uint> high) = Vector256.Widen(Vector256.LoadUnsafe(ref from, (nuint)(2 * i)).AsUInt16());
            FromHalf(low).StoreUnsafe(ref to, (nuint)i);
            FromHalf(high).StoreUnsafe(ref to, (nuint)(i + 8));
        }

        for (; i < halves.Length; i++) destination[i] = (float)halves[i];
    }

    /// <summary>
    /// Exponent and mantissa moved into the places of an f32 are the value times 2^-112; the product restores it, subnormals included. Exponent 31
    /// would come out as a number, so infinities and NaNs get their exponent set.
    /// </summary>
    private static Vector256<float> FromHalf(Vector256<uint> half)
    {
        Vector256<uint> magnitude = (half & Vector256.Create(0x7FFFu)) << 13;
        Vector256<uint> scaled = (magnitude.AsSingle() * Vector256.Create(5.192296858534828e33f)).AsUInt32(); // 2^112
        Vector256<uint> special = Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(0x0F800000u)) & Vector256.Create(0x7F800000u);
        return (scaled | special | ((half & Vector256.Create(0x8000u)) << 16)).AsSingle();
    }

    private static void FromWide(ReadOnlySpan<byte> source, Span<float> destination)
    {
        for (int i = 0; i < destination.Length; i++) destination[i] = (float)BinaryPrimitives.ReadDoubleLittleEndian(source[(i * 8)..]);
    }

    private static void FromInteger(DType type, ReadOnlySpan<byte> source, Span<float> destination)
    {
        int bytes = type.ElementBytes();
        for (int i = 0; i < destination.Length; i++)
        {
            ReadOnlySpan<byte> at = source.Slice(i * bytes, bytes);
            destination[i] = type switch
            {
                DType.I64 => BinaryPrimitives.ReadInt64LittleEndian(at),
                DType.I32 => BinaryPrimitives.ReadInt32LittleEndian(at),
                DType.I16 => BinaryPrimitives.ReadInt16LittleEndian(at),
                DType.I8 => (sbyte)at[0],
                DType.U64 => BinaryPrimitives.ReadUInt64LittleEndian(at),
                DType.U32 => BinaryPrimitives.ReadUInt32LittleEndian(at),
                DType.U16 => BinaryPrimitives.ReadUInt16LittleEndian(at),
                _ => at[0],
            };
        }
    }

    private static float[] BuildE4M3()
    {
        var table = new float[256];
        for (int b = 0; b < 256; b++)
        {
            int exponent = (b >> 3) & 15, mantissa = b & 7;
            float magnitude = exponent == 15 && mantissa == 7 ? float.NaN
                : exponent == 0 ? mantissa * (1f / 512)
                : (8 + mantissa) * MathF.ScaleB(1f, exponent - 10);
            table[b] = b >= 128 ? -magnitude : magnitude;
        }

        return table;
    }
}
