namespace Foretoken.Numerics;

/// <summary>Element types of tensors in files. Names are those of the safetensors header.</summary>
public enum DType
{
    F64,
    F32,
    F16,
    BF16,

    /// <summary>8-bit float, 4 exponent bits, 3 mantissa bits, no infinities (the "fn" variant: 0x7F and 0xFF are NaN, the largest value is 448).</summary>
    F8E4M3,

    /// <summary>8-bit float, 5 exponent bits, 2 mantissa bits, with infinities: the upper byte of an f16.</summary>
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

/// <summary>Names and sizes of <see cref="DType"/>.</summary>
public static class DTypes
{
    private static readonly (DType Type, string Name, int Bytes)[] Table =
    [
        (DType.F64, "F64", 8), (DType.F32, "F32", 4), (DType.F16, "F16", 2), (DType.BF16, "BF16", 2),
        (DType.F8E4M3, "F8_E4M3", 1), (DType.F8E5M2, "F8_E5M2", 1),
        (DType.I64, "I64", 8), (DType.I32, "I32", 4), (DType.I16, "I16", 2), (DType.I8, "I8", 1),
        (DType.U64, "U64", 8), (DType.U32, "U32", 4), (DType.U16, "U16", 2), (DType.U8, "U8", 1), (DType.Bool, "BOOL", 1),
    ];

    /// <summary>Bytes of one element.</summary>
    public static int ElementBytes(this DType type) => Find(type).Bytes;

    /// <summary>The safetensors name, for example <c>BF16</c> or <c>F8_E4M3</c>.</summary>
    public static string FileName(this DType type) => Find(type).Name;

    /// <summary>True for the floating-point types, which <see cref="DTypeConverter.ToSingle"/> converts without surprise.</summary>
    public static bool IsFloat(this DType type) => type <= DType.F8E5M2;

    /// <summary>Finds a type by its safetensors name; case matters.</summary>
    public static bool TryParse(string name, out DType type)
    {
        foreach ((DType t, string n, _) in Table)
        {
            if (n != name) continue;
            type = t;
            return true;
        }

        type = default;
        return false;
    }

    private static (DType Type, string Name, int Bytes) Find(DType type) =>
        (uint)type < (uint)Table.Length ? Table[(int)type] : throw new ArgumentOutOfRangeException(nameof(type), type, "Not an element type.");
}
