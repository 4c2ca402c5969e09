namespace Foretoken.Numerics;

/// <summary>
/// Element types of tensors in files. The plain types bear the names of the safetensors header; the block types, which only GGUF files hold, share
/// scales among the elements of a block and are laid out as their <see cref="BlockFormat"/> says.
/// </summary>
public enum DType
{
    /// <summary>IEEE double precision.</summary>
    F64,
    /// <summary>IEEE single precision.</summary>
    F32,
    /// <summary>IEEE half precision.</summary>
    F16,
    /// <summary>The upper half of an f32: 8 exponent bits, 7 mantissa bits.</summary>
    BF16,

    /// <summary>8-bit float, 4 exponent bits, 3 mantissa bits, no infinities (the "fn" variant: 0x7F and 0xFF are NaN, the largest value is 448).</summary>
    F8E4M3,

    /// <summary>8-bit float, 5 exponent bits, 2 mantissa bits, with infinities: the upper byte of an f16.</summary>
    F8E5M2,
    /// <summary>Signed, 8 bytes.</summary>
    I64,
    /// <summary>Signed, 4 bytes.</summary>
    I32,
    /// <summary>Signed, 2 bytes.</summary>
    I16,
    /// <summary>Signed, 1 byte.</summary>
    I8,
    /// <summary>Unsigned, 8 bytes.</summary>
    U64,
    /// <summary>Unsigned, 4 bytes.</summary>
    U32,
    /// <summary>Unsigned, 2 bytes.</summary>
    U16,
    /// <summary>Unsigned, 1 byte.</summary>
    U8,
    /// <summary>One byte, 0 or 1.</summary>
    Bool,
    /// <summary>32 elements of 4 bits, one f16 scale: 18 bytes.</summary>
    Q4_0,
    /// <summary>32 elements of 4 bits, f16 scale and minimum: 20 bytes.</summary>
    Q4_1,
    /// <summary>32 elements of 5 bits, one f16 scale: 22 bytes.</summary>
    Q5_0,
    /// <summary>32 elements of 5 bits, f16 scale and minimum: 24 bytes.</summary>
    Q5_1,
    /// <summary>32 elements of 8 bits, one f16 scale: 34 bytes.</summary>
    Q8_0,
    /// <summary>256 elements of 4 bits in eight groups with 6-bit scales and minima, scaled by two f16: 144 bytes.</summary>
    Q4_K,
    /// <summary>256 elements of 5 bits in eight groups with 6-bit scales and minima, scaled by two f16: 176 bytes.</summary>
    Q5_K,
    /// <summary>256 elements of 6 bits in sixteen groups with 8-bit scales, scaled by one f16: 210 bytes.</summary>
    Q6_K,
}

/// <summary>Names and sizes of <see cref="DType"/>.</summary>
public static class DTypes
{
    private static readonly (DType Type, string Name, int Length, int Bytes)[] Table = // elements and bytes of a block; plain types are blocks of one
    [
        (DType.F64, "F64", 1, 8), (DType.F32, "F32", 1, 4), (DType.F16, "F16", 1, 2), (DType.BF16, "BF16", 1, 2),
        (DType.F8E4M3, "F8_E4M3", 1, 1), (DType.F8E5M2, "F8_E5M2", 1, 1),
        (DType.I64, "I64", 1, 8), (DType.I32, "I32", 1, 4), (DType.I16, "I16", 1, 2), (DType.I8, "I8", 1, 1),
        (DType.U64, "U64", 1, 8), (DType.U32, "U32", 1, 4), (DType.U16, "U16", 1, 2), (DType.U8, "U8", 1, 1), (DType.Bool, "BOOL", 1, 1),
        (DType.Q4_0, "Q4_0", 32, 18), (DType.Q4_1, "Q4_1", 32, 20), (DType.Q5_0, "Q5_0", 32, 22), (DType.Q5_1, "Q5_1", 32, 24),
        (DType.Q8_0, "Q8_0", 32, 34), (DType.Q4_K, "Q4_K", 256, 144), (DType.Q5_K, "Q5_K", 256, 176), (DType.Q6_K, "Q6_K", 256, 210),
    ];

    /// <summary>Bytes of one element of a plain type.</summary>
    /// <exception cref="ArgumentException">A block type, whose elements have no bytes of their own.</exception>
    public static int ElementBytes(this DType type) =>
        Find(type).Length == 1 ? Find(type).Bytes : throw new ArgumentException($"{type} is stored in blocks: use BytesOf.", nameof(type));

    /// <summary>Elements that are stored together: 1, 32 or 256.</summary>
    public static int BlockLength(this DType type) => Find(type).Length;

    /// <summary>Bytes of <see cref="BlockLength"/> elements.</summary>
    public static int BlockBytes(this DType type) => Find(type).Bytes;

    /// <summary>True for the types that only GGUF files hold.</summary>
    public static bool IsBlock(this DType type) => Find(type).Length > 1;

    /// <summary>Bytes of <paramref name="elements"/> elements, a multiple of the block length.</summary>
    /// <exception cref="OverflowException">More than 63 bits.</exception>
    public static long BytesOf(this DType type, long elements)
    {
        (_, _, int length, int bytes) = Find(type);
        return elements % length == 0
            ? checked(elements / length * bytes)
            : throw new ArgumentException($"{elements} elements are not whole blocks of {length}, as {type} needs.", nameof(elements));
    }

    /// <summary>The name in files, for example <c>BF16</c>, <c>F8_E4M3</c> or <c>Q4_K</c>.</summary>
    public static string FileName(this DType type) => Find(type).Name;

    /// <summary>True for the floating-point types, which <see cref="DTypeConverter.ToSingle"/> converts without surprise.</summary>
    public static bool IsFloat(this DType type) => type <= DType.F8E5M2;

    /// <summary>Finds a plain type by its safetensors name; case matters.</summary>
    public static bool TryParse(string name, out DType type)
    {
        foreach ((DType t, string n, int length, _) in Table)
        {
            if (n != name || length > 1) continue;
            type = t;
            return true;
        }

        type = default;
        return false;
    }

    private static (DType Type, string Name, int Length, int Bytes) Find(DType type) =>
        (uint)type < (uint)Table.Length ? Table[(int)type] : throw new ArgumentOutOfRangeException(nameof(type), type, "Not an element type.");
}
