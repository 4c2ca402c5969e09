namespace Foretoken.Generators.Kernels;

/// <summary>A C++ type in C#.</summary>
/// <param name="Shape">How a parameter of this type travels.</param>
/// <param name="Alignment">In bytes.</param>
internal sealed record MappedType(string CsType, ParameterShape Shape, int Alignment);

/// <summary>The one mapping of C++ types to C# types.</summary>
internal static class TypeMap
{
    private const string Numerics = "global::Foretoken.Numerics.", Cuda = "global::Foretoken.Backends.Cuda.";

    private static readonly Dictionary<string, MappedType> Scalars = new(StringComparer.Ordinal);

    static TypeMap()
    {
        Add("byte", ParameterKind.Integer, 1, "bool", "unsigned char", "uint8_t", "u8");
        Add("sbyte", ParameterKind.Integer, 1, "signed char", "char", "int8_t", "s8", "i8");
        Add("ushort", ParameterKind.Integer, 2, "unsigned short", "unsigned short int", "uint16_t", "u16");
        Add("short", ParameterKind.Integer, 2, "short", "short int", "int16_t", "s16", "i16");
        Add("uint", ParameterKind.Integer, 4, "unsigned", "unsigned int", "uint32_t", "u32");
        Add("int", ParameterKind.Integer, 4, "int", "signed int", "int32_t", "s32", "i32");
        Add("ulong", ParameterKind.Integer, 8, "unsigned long long", "unsigned long long int", "uint64_t", "u64", "size_t", "unsigned long");
        Add("long", ParameterKind.Integer, 8, "long long", "long long int", "int64_t", "s64", "i64", "long");
        Add("float", ParameterKind.Float, 4, "float", "f32");
        Add("double", ParameterKind.Float, 8, "double", "f64");
        Add("global::System.Half", ParameterKind.Bytes, 2, "half", "__half", "_Float16", "__fp16", "f16");
        Add(Numerics + "BFloat16", ParameterKind.Bytes, 2, "__bf16", "bf16", "__nv_bfloat16", "nv_bfloat16");
    }

    /// <summary>Null where there is no mapping.</summary>
    /// <param name="cpp">Canonical C++ type.</param>
    /// <param name="structs">Structures that were mapped before, by C++ name.</param>
    public static MappedType? Find(string cpp, IReadOnlyDictionary<string, MappedType> structs)
    {
        if (cpp.EndsWith("*", StringComparison.Ordinal))
        {
            string element = cpp.Substring(0, cpp.Length - 1);
            string? target = element == "void" ? "byte" : Find(element, structs)?.CsType;
            return target is null ? null : new MappedType($"{Cuda}DevicePointer<{target}>", new ParameterShape(ParameterKind.Integer, 8), 8);
        }

        return Scalars.TryGetValue(cpp, out MappedType? scalar) || structs.TryGetValue(cpp, out scalar) ? scalar : null;
    }

    private static void Add(string cs, ParameterKind kind, int bytes, params string[] names)
    {
        foreach (string name in names) Scalars[name] = new MappedType(cs, new ParameterShape(kind, bytes), bytes);
    }
}
