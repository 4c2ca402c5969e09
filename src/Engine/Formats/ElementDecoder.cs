using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Formats;

/// <summary>Turns stored elements (little-endian, any alignment) into f32.</summary>
public static class ElementDecoder
{
    /// <summary>Decodes <paramref name="destination"/>.Length elements.</summary>
    /// <param name="type">One of the types that <see cref="StoredTypes.IsDecodable"/> names.</param>
    /// <param name="source">The elements' bytes.</param>
    /// <param name="destination">Receives the values.</param>
    /// <exception cref="NotSupportedException">The type is not decodable; callers check that when they open a file.</exception>
    public static void ToSingle(StoredType type, ReadOnlySpan<byte> source, Span<float> destination)
    {
        if (source.Length < type.Bytes(destination.Length)) throw new ArgumentException("Fewer bytes than elements need.", nameof(source));
        switch (type)
        {
            case StoredType.F32 when BitConverter.IsLittleEndian:
                source[..(destination.Length * sizeof(float))].CopyTo(MemoryMarshal.AsBytes(destination));
                break;
            case StoredType.F32:
                for (int i = 0; i < destination.Length; i++) destination[i] = BinaryPrimitives.ReadSingleLittleEndian(source[(4 * i)..]);
                break;
            case StoredType.F64:
                for (int i = 0; i < destination.Length; i++) destination[i] = (float)BinaryPrimitives.ReadDoubleLittleEndian(source[(8 * i)..]);
                break;
            case StoredType.BF16:
                DecodeBFloat16(source, destination);
                break;
            case StoredType.F16:
                DecodeHalf(source, destination);
                break;
            default:
                throw new NotSupportedException($"Elements of type {type} cannot be read as f32.");
        }
    }

    /// <summary>Whether every value is a number, not NaN or infinite.</summary>
    public static bool AllFinite(ReadOnlySpan<float> values)
    {
        int i = 0;
        Vector256<uint> exponent = Vector256.Create(0x7F800000u);
        if (values.Length >= Vector256<float>.Count)
        {
            ref float first = ref MemoryMarshal.GetReference(values);
            Vector256<uint> bad = Vector256<uint>.Zero;
            for (; i <= values.Length - Vector256<float>.Count; i += Vector256<float>.Count)
            {
                Vector256<uint> bits = Vector256.LoadUnsafe(ref first, (nuint)i).AsUInt32();
                bad |= Vector256.Equals(bits & exponent, exponent);
            }

            if (bad != Vector256<uint>.Zero) return false;
        }

        for (; i < values.Length; i++)
        {
            if (!float.IsFinite(values[i])) return false;
        }

        return true;
    }

    private static void DecodeBFloat16(ReadOnlySpan<byte> source, Span<float> destination)
    {
        int i = 0;
        if (BitConverter.IsLittleEndian)
        {
            ref byte from = ref MemoryMarshal.GetReference(source);
            ref float to = ref MemoryMarshal.GetReference(destination);
            for (; i <= destination.Length - 16; i += 16)
            {
                (Vector256<uint> low, Vector256<uint> high) = Vector256.Widen(Vector256.LoadUnsafe(ref from, (nuint)(2 * i)).AsUInt16());
                (low << 16).AsSingle().StoreUnsafe(ref to, (nuint)i);
                (high << 16).AsSingle().StoreUnsafe(ref to, (nuint)(i + 8));
            }
        }

        for (; i < destination.Length; i++)
            destination[i] = BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(source[(2 * i)..]) << 16);
    }

    /// <summary>
    /// Exponent and mantissa moved into f32's places are the value times 2^−112; the product restores it, subnormals included. Exponent 31 would
    /// come out as a number, so infinities and NaNs get their exponent set.
    /// </summary>
    private static void DecodeHalf(ReadOnlySpan<byte> source, Span<float> destination)
    {
        int i = 0;
        if (BitConverter.IsLittleEndian)
        {
            ref byte from = ref MemoryMarshal.GetReference(source);
            ref float to = ref MemoryMarshal.GetReference(destination);
            for (; i <= destination.Length - 16; i += 16)
            {
                (Vector256<uint> low, Vector256<uint> high) = Vector256.Widen(Vector256.LoadUnsafe(ref from, (nuint)(2 * i)).AsUInt16());
                HalfToSingle(low).StoreUnsafe(ref to, (nuint)i);
                HalfToSingle(high).StoreUnsafe(ref to, (nuint)(i + 8));
            }
        }

        for (; i < destination.Length; i++) destination[i] = (float)BinaryPrimitives.ReadHalfLittleEndian(source[(2 * i)..]);
    }

    private static Vector256<float> HalfToSingle(Vector256<uint> half)
    {
        Vector256<uint> magnitude = (half & Vector256.Create(0x7FFFu)) << 13;
        Vector256<uint> scaled = (magnitude.AsSingle() * Vector256.Create(5.192296858534828e33f)).AsUInt32(); // 2^112
        Vector256<uint> special = Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(0x0F800000u)) & Vector256.Create(0x7F800000u);
        return (scaled | special | ((half & Vector256.Create(0x8000u)) << 16)).AsSingle();
    }
}
