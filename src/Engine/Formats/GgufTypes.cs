using Foretoken.Numerics;

namespace Foretoken.Formats;

/// <summary>Numbers that GGUF files use for the types of tensors.</summary>
public static class GgufTypes
{
    private static readonly (uint Id, DType Type)[] Table =
    [
        (0, DType.F32), (1, DType.F16), (2, DType.Q4_0), (3, DType.Q4_1), (6, DType.Q5_0), (7, DType.Q5_1), (8, DType.Q8_0),
        (12, DType.Q4_K), (13, DType.Q5_K), (14, DType.Q6_K), (24, DType.I8), (25, DType.I16), (26, DType.I32), (27, DType.I64), (28, DType.F64), (30, DType.BF16),
    ];

    /// <summary>Types of the format that are not read here, for messages.</summary>
    private static readonly Dictionary<uint, string> Others = new()
    {
        [4] = "Q4_2", [5] = "Q4_3", [9] = "Q8_1", [10] = "Q2_K", [11] = "Q3_K", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
        [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S", [23] = "IQ4_XS", [29] = "IQ1_M", [31] = "Q4_0_4_4", [32] = "Q4_0_4_8",
        [33] = "Q4_0_8_8", [34] = "TQ1_0", [35] = "TQ2_0", [39] = "MXFP4", [40] = "NVFP4",
    };

    /// <summary>Types that are read, for messages.</summary>
    public static string Supported => string.Join(", ", Table.Select(entry => entry.Type.FileName()));

    /// <summary>Finds a type by its number.</summary>
    public static bool TryFind(uint id, out DType type)
    {
        int index = Array.FindIndex(Table, entry => entry.Id == id);
        type = index < 0 ? default : Table[index].Type;
        return index >= 0;
    }

    /// <summary>The number of a type.</summary>
    /// <exception cref="ArgumentException">A type that GGUF files do not hold.</exception>
    public static uint IdOf(DType type)
    {
        int index = Array.FindIndex(Table, entry => entry.Type == type);
        return index >= 0 ? Table[index].Id : throw new ArgumentException($"GGUF files hold no {type.FileName()} tensors.", nameof(type));
    }

    /// <summary>The name of a number, of types that are not read too.</summary>
    public static string NameOf(uint id) => TryFind(id, out DType type) ? type.FileName() : Others.TryGetValue(id, out string? name) ? name : $"number {id}";
}

/// <summary>Types of metadata values; the numbers are those of the file.</summary>
public enum GgufValueType
{
    /// <summary>Unsigned, 1 byte.</summary>
    UInt8,
    /// <summary>Signed, 1 byte.</summary>
    Int8,
    /// <summary>Unsigned, 2 bytes.</summary>
    UInt16,
    /// <summary>Signed, 2 bytes.</summary>
    Int16,
    /// <summary>Unsigned, 4 bytes.</summary>
    UInt32,
    /// <summary>Signed, 4 bytes.</summary>
    Int32,
    /// <summary>IEEE single precision.</summary>
    Float32,
    /// <summary>One byte, 0 or 1.</summary>
    Bool,
    /// <summary>Length in bytes (8 bytes), then UTF-8.</summary>
    Text,
    /// <summary>Type of the elements, their number (8 bytes), then the elements.</summary>
    Array,
    /// <summary>Unsigned, 8 bytes.</summary>
    UInt64,
    /// <summary>Signed, 8 bytes.</summary>
    Int64,
    /// <summary>IEEE double precision.</summary>
    Float64,
}
