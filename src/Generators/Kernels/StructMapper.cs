namespace Foretoken.Generators.Kernels;

/// <summary>Gives structures of scalars, pointers, fixed arrays and other such structures their C# twin, with the layout that C++ gives them.</summary>
internal sealed class StructMapper(IEnumerable<CppStruct> declared)
{
    private readonly Dictionary<string, CppStruct> _declared = declared.GroupBy(s => s.Name).ToDictionary(g => g.Key, g => g.First(), StringComparer.Ordinal);
    private readonly Dictionary<string, MappedType> _mapped = new(StringComparer.Ordinal);
    private readonly List<LaunchStruct> _used = [];

    /// <summary>Structures that were asked for, in the order in which they can be declared.</summary>
    public IReadOnlyList<LaunchStruct> Used => _used;

    /// <summary>The C# type of a canonical C++ type; null with the reason where there is none.</summary>
    public MappedType? Find(string cpp, out string reason) => Find(cpp, depth: 0, out reason);

    private MappedType? Find(string cpp, int depth, out string reason)
    {
        reason = "use a scalar, a pointer to one, or a structure of such fields that is declared in this source or its headers.";
        string name = cpp.TrimEnd('*');
        if (depth > 8) return null;
        if (_declared.TryGetValue(name, out CppStruct? structure) && !_mapped.ContainsKey(name))
        {
            if (Declare(structure, depth, out string refused) is null)
            {
                reason = refused;
                return null;
            }
        }

        return TypeMap.Find(cpp, _mapped);
    }

    private MappedType? Declare(CppStruct structure, int depth, out string reason)
    {
        var fields = new List<LaunchField>();
        int offset = 0, alignment = structure.Alignment;
        reason = "";
        foreach (CppField field in structure.Fields)
        {
            if (field.Name.Length == 0 || Find(field.CppType, depth + 1, out _) is not { } type)
            {
                reason = $"field '{field.CppType} {field.Name}'".TrimEnd(' ', '\'') + $"' of {structure.Name} has none.";
                return null;
            }

            int bytes = type.Shape.Bytes;
            offset = (offset + type.Alignment - 1) / type.Alignment * type.Alignment;
            alignment = Math.Max(alignment, type.Alignment);
            string property = Names.Pascal(field.Name);
            for (int i = 0; i < field.Count; i++, offset += bytes)
                fields.Add(new LaunchField(type.CsType, field.Count == 1 ? property : $"{property}{i}", field.Name, offset));
        }

        int size = Math.Max(1, (offset + alignment - 1) / alignment * alignment);
        string name = Names.Pascal(structure.Name);
        var mapped = new MappedType(name, new ParameterShape(ParameterKind.Bytes, size), alignment);
        _mapped[structure.Name] = mapped;
        _used.Add(new LaunchStruct(name, structure.Name, size, new(fields), structure.Place));
        return mapped;
    }
}
