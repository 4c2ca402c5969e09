using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Foretoken.Formats;

/// <summary>
/// The metadata of a GGUF file with checked access: every error names file and key. Numbers of any integer type serve where a whole number is asked for, as
/// writers differ in the types they choose. Values were validated when the file was opened; arrays are decoded on demand.
/// </summary>
public sealed class GgufMetadata
{
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);
    private ReadOnlyMemory<byte> _bytes;

    internal GgufMetadata(string file) => File = file;

    /// <summary>Path of the file.</summary>
    public string File { get; }

    /// <summary>All keys, in the order of the file.</summary>
    public IReadOnlyList<string> Keys => [.. _entries.OrderBy(e => e.Value.Order).Select(e => e.Key)];

    /// <summary>Whether the file has the key, whatever its type.</summary>
    public bool Has(string key) => _entries.ContainsKey(key);

    /// <summary>The type of a value, or null where the key is missing.</summary>
    public GgufValueType? TypeOf(string key) => _entries.TryGetValue(key, out Entry e) ? e.Type : null;

    /// <summary>Elements of an array; 0 where the key is missing.</summary>
    public int Count(string key) => _entries.TryGetValue(key, out Entry e) && e.Type == GgufValueType.Array ? e.Count : 0;

    /// <summary>A string, or null where the key is missing.</summary>
    public string? Text(string key)
    {
        if (Find(key) is not { } e) return null;
        return e.Type == GgufValueType.Text ? StringAt(e.Offset, out _) : throw Broken(key, $"must be a string, but is {Describe(e)}");
    }

    /// <summary>A whole number, or null where the key is missing.</summary>
    public long? Integer(string key, long minimum, long maximum)
    {
        if (Find(key) is not { } e) return null;
        if (!IsInteger(e.Type)) throw Broken(key, $"must be a whole number, but is {Describe(e)}");
        Int128 value = IntegerAt(e.Type, e.Offset);
        return value >= minimum && value <= maximum ? (long)value : throw Broken(key, string.Create(CultureInfo.InvariantCulture, $"must be from {minimum} to {maximum}, but is {value}"));
    }

    /// <summary>A whole number that must be there.</summary>
    public int RequiredInteger(string key, int minimum, int maximum) => (int)(Integer(key, minimum, maximum) ?? throw Missing(key));

    /// <summary>A finite number, or null where the key is missing.</summary>
    public double? Number(string key, double minimum, double maximum)
    {
        if (Find(key) is not { } e) return null;
        double value = e.Type switch
        {
            GgufValueType.Float32 or GgufValueType.Float64 => FloatAt(e.Type, e.Offset),
            _ when IsInteger(e.Type) => (double)IntegerAt(e.Type, e.Offset),
            _ => throw Broken(key, $"must be a number, but is {Describe(e)}"),
        };
        return value >= minimum && value <= maximum
            ? value
            : throw Broken(key, string.Create(CultureInfo.InvariantCulture, $"must be from {minimum} to {maximum}, but is {value}"));
    }

    /// <summary>A finite number that must be there.</summary>
    public double RequiredNumber(string key, double minimum, double maximum) => Number(key, minimum, maximum) ?? throw Missing(key);

    /// <summary>true or false, or null where the key is missing.</summary>
    public bool? Boolean(string key)
    {
        if (Find(key) is not { } e) return null;
        return e.Type == GgufValueType.Bool ? At(e.Offset)[0] != 0 : throw Broken(key, $"must be true or false, but is {Describe(e)}");
    }

    /// <summary>An array of strings, or null where the key is missing.</summary>
    public string[]? Texts(string key)
    {
        if (Find(key) is not { } e) return null;
        if (e.Type != GgufValueType.Array || e.Element != GgufValueType.Text) throw Broken(key, $"must be an array of strings, but is {Describe(e)}");
        var texts = new string[e.Count];
        for (int i = 0, at = e.Offset; i < texts.Length; i++) texts[i] = StringAt(at, out at);
        return texts;
    }

    /// <summary>An array of whole numbers, or null where the key is missing.</summary>
    public long[]? Integers(string key)
    {
        if (Find(key) is not { } e) return null;
        if (e.Type != GgufValueType.Array || !IsInteger(e.Element)) throw Broken(key, $"must be an array of whole numbers, but is {Describe(e)}");
        int size = GgufHeader.SizeOf(e.Element);
        var numbers = new long[e.Count];
        for (int i = 0; i < numbers.Length; i++)
        {
            Int128 number = IntegerAt(e.Element, e.Offset + i * size);
            numbers[i] = number <= long.MaxValue ? (long)number : throw Broken(key, $"[{i}] is {number}, which is more than 63 bits");
        }

        return numbers;
    }

    /// <summary>An array of finite numbers, or null where the key is missing.</summary>
    public float[]? Numbers(string key)
    {
        if (Find(key) is not { } e) return null;
        if (e.Type != GgufValueType.Array || e.Element is not (GgufValueType.Float32 or GgufValueType.Float64))
            throw Broken(key, $"must be an array of numbers, but is {Describe(e)}");
        int size = GgufHeader.SizeOf(e.Element);
        var numbers = new float[e.Count];
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = (float)FloatAt(e.Element, e.Offset + i * size);
            if (!float.IsFinite(numbers[i])) throw Broken(key, $"[{i}] is not a finite number");
        }

        return numbers;
    }

    /// <summary>The value as short text for messages and listings.</summary>
    public string TextOf(string key) => Find(key) is { } e ? Describe(e) : "missing";

    /// <summary>An error about a value.</summary>
    public ModelFormatException Broken(string key, string rule, string remedy = "Convert the model again or download another file.") => new(File, key, rule, remedy);

    /// <summary>An error about a value that must be there.</summary>
    public ModelFormatException Missing(string key) => Broken(key, "is missing");

    /// <summary>Adds a value whose bytes were validated; false for a key that is there already.</summary>
    internal bool TryAdd(string key, GgufValueType type, GgufValueType element, int count, int offset) =>
        _entries.TryAdd(key, new Entry(_entries.Count, type, element, count, offset));

    /// <summary>Sets the bytes that the offsets refer to.</summary>
    internal void Bind(ReadOnlyMemory<byte> bytes) => _bytes = bytes;

    private Entry? Find(string key) => _entries.TryGetValue(key, out Entry e) ? e : null;

    private ReadOnlySpan<byte> At(int offset) => _bytes.Span[offset..];

    private string StringAt(int offset, out int end)
    {
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(At(offset));
        end = offset + sizeof(ulong) + length;
        return Encoding.UTF8.GetString(At(offset + sizeof(ulong))[..length]);
    }

    private Int128 IntegerAt(GgufValueType type, int offset)
    {
        ReadOnlySpan<byte> at = At(offset);
        return type switch
        {
            GgufValueType.UInt8 => at[0],
            GgufValueType.Int8 => (sbyte)at[0],
            GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(at),
            GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(at),
            GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(at),
            GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(at),
            GgufValueType.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(at),
            _ => BinaryPrimitives.ReadInt64LittleEndian(at),
        };
    }

    private double FloatAt(GgufValueType type, int offset) =>
        type == GgufValueType.Float32 ? BinaryPrimitives.ReadSingleLittleEndian(At(offset)) : BinaryPrimitives.ReadDoubleLittleEndian(At(offset));

    private static bool IsInteger(GgufValueType type) => type is GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.UInt16 or GgufValueType.Int16
        or GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.UInt64 or GgufValueType.Int64;

    private string Describe(Entry e)
    {
        switch (e.Type)
        {
            case GgufValueType.Text:
                string text = StringAt(e.Offset, out _);
                return $"\"{(text.Length <= 60 ? text : text[..57] + "...")}\"";
            case GgufValueType.Array: return $"an array of {e.Count} values of type {e.Element}";
            case GgufValueType.Bool: return At(e.Offset)[0] != 0 ? "true" : "false";
            case GgufValueType.Float32 or GgufValueType.Float64: return FloatAt(e.Type, e.Offset).ToString(CultureInfo.InvariantCulture);
            default: return IntegerAt(e.Type, e.Offset).ToString(CultureInfo.InvariantCulture);
        }
    }

    /// <param name="Order">Place in the file.</param>
    /// <param name="Type">Type of the value.</param>
    /// <param name="Element">Type of the elements of an array.</param>
    /// <param name="Count">Elements of an array, else 1.</param>
    /// <param name="Offset">First byte of the value; of an array, of its first element.</param>
    private readonly record struct Entry(int Order, GgufValueType Type, GgufValueType Element, int Count, int Offset);
}
