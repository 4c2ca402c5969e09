namespace Foretoken.Formats;

/// <summary>How a file stores the elements of a tensor.</summary>
public enum StoredType
{
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    I64,
    U64,
    F64,
}

/// <summary>Where a file keeps a tensor. Checked against the file's size when the file was opened.</summary>
/// <param name="Name">The tensor's name in the file.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions, slowest first; empty for a scalar.</param>
/// <param name="File">Path of the file.</param>
/// <param name="Offset">First byte, counted from the start of the file. Not necessarily aligned.</param>
/// <param name="Bytes">Length in bytes.</param>
public sealed record StoredTensor(string Name, StoredType Type, IReadOnlyList<long> Shape, string File, long Offset, long Bytes)
{
    /// <summary>Number of elements.</summary>
    public long Elements => Shape.Aggregate(1L, (product, d) => product * d);

    /// <summary>The shape as text, for example <c>[1024, 192]</c>.</summary>
    public string ShapeText => FormatShape(Shape);

    /// <summary>A shape as text, for example <c>[1024, 192]</c>.</summary>
    public static string FormatShape(IEnumerable<long> shape) => $"[{string.Join(", ", shape)}]";
}

/// <summary>Sizes and names of <see cref="StoredType"/>.</summary>
public static class StoredTypes
{
    /// <summary>Bits of one element.</summary>
    public static int Bits(this StoredType type) => type switch
    {
        StoredType.F4 => 4,
        StoredType.F6E2M3 or StoredType.F6E3M2 => 6,
        StoredType.Bool or StoredType.U8 or StoredType.I8 or StoredType.F8E5M2 or StoredType.F8E4M3 or StoredType.F8E8M0 => 8,
        StoredType.I16 or StoredType.U16 or StoredType.F16 or StoredType.BF16 => 16,
        StoredType.I32 or StoredType.U32 or StoredType.F32 => 32,
        _ => 64,
    };

    /// <summary>Bytes of <paramref name="elements"/> adjacent elements.</summary>
    public static long Bytes(this StoredType type, long elements) => elements * type.Bits() / 8;

    /// <summary>Whether <see cref="ElementDecoder"/> reads the type as f32.</summary>
    public static bool IsDecodable(this StoredType type) =>
        type is StoredType.F32 or StoredType.F16 or StoredType.BF16 or StoredType.F64;

    /// <summary>The type that a safetensors header calls <paramref name="name"/>, or null.</summary>
    public static StoredType? FromSafetensors(ReadOnlySpan<byte> name) => name switch
    {
        _ when name.SequenceEqual("F32"u8) => StoredType.F32,
        _ when name.SequenceEqual("BF16"u8) => StoredType.BF16,
        _ when name.SequenceEqual("F16"u8) => StoredType.F16,
        _ when name.SequenceEqual("F64"u8) => StoredType.F64,
        _ when name.SequenceEqual("I64"u8) => StoredType.I64,
        _ when name.SequenceEqual("I32"u8) => StoredType.I32,
        _ when name.SequenceEqual("I16"u8) => StoredType.I16,
        _ when name.SequenceEqual("I8"u8) => StoredType.I8,
        _ when name.SequenceEqual("U64"u8) => StoredType.U64,
        _ when name.SequenceEqual("U32"u8) => StoredType.U32,
        _ when name.SequenceEqual("U16"u8) => StoredType.U16,
        _ when name.SequenceEqual("U8"u8) => StoredType.U8,
        _ when name.SequenceEqual("BOOL"u8) => StoredType.Bool,
        _ when name.SequenceEqual("C64"u8) => StoredType.C64,
        _ when name.SequenceEqual("F8_E5M2"u8) => StoredType.F8E5M2,
        _ when name.SequenceEqual("F8_E4M3"u8) => StoredType.F8E4M3,
        _ when name.SequenceEqual("F8_E8M0"u8) => StoredType.F8E8M0,
        _ when name.SequenceEqual("F6_E2M3"u8) => StoredType.F6E2M3,
        _ when name.SequenceEqual("F6_E3M2"u8) => StoredType.F6E3M2,
        _ when name.SequenceEqual("F4"u8) => StoredType.F4,
        _ => null,
    };
}
