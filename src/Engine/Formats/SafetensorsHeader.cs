using System.Buffers.Text;
using System.Text.Json;
using System.Text.Unicode;
using Foretoken.Numerics;

namespace Foretoken.Formats;

/// <summary>
/// The JSON header of a safetensors file, parsed token by token: a general JSON library would overwrite duplicate keys and accept numbers such
/// as 1e3. Nothing is allocated on the strength of a number in the file.
/// </summary>
internal sealed class SafetensorsHeader
{
    private const string MetadataKey = "__metadata__";
    private const string Remedy = "The file is damaged or was not written by a safetensors library: download it again.";
    private readonly string _file;
    private readonly long _dataStart;
    private readonly long _dataBytes;
    private readonly List<StoredTensor> _tensors = [];
    private readonly Dictionary<string, string> _metadata = [];

    private SafetensorsHeader(string file, long dataStart, long fileLength)
    {
        _file = file;
        _dataStart = dataStart;
        _dataBytes = fileLength - dataStart;
    }

    /// <summary>Tensors in the order of their data.</summary>
    public IReadOnlyList<StoredTensor> Tensors => _tensors;

    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Parses and checks a header.</summary>
    /// <param name="file">Path, for errors.</param>
    /// <param name="json">The header's bytes.</param>
    /// <param name="dataStart">Offset of the first byte after the header.</param>
    /// <param name="fileLength">Length of the whole file in bytes.</param>
    public static SafetensorsHeader Parse(string file, ReadOnlySpan<byte> json, long dataStart, long fileLength)
    {
        var header = new SafetensorsHeader(file, dataStart, fileLength);
        if (json[0] != (byte)'{') throw header.Broken("header", $"must begin with '{{', but begins with byte 0x{json[0]:x2}");
        if (!Utf8.IsValid(json)) throw header.Broken("header", "must be UTF-8");
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 8 });
            header.ReadEntries(ref reader);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new ModelFormatException(file, "header", $"must be valid JSON: {e.Message}", Remedy, e);
        }

        header.CheckRanges();
        return header;
    }

    private void ReadEntries(ref Utf8JsonReader reader)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            if (!names.Add(name)) throw Broken($"\"{name}\"", "appears twice in the header");
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject) throw Broken($"\"{name}\"", "must be a JSON object");
            if (name == MetadataKey) ReadMetadata(ref reader);
            else ReadTensor(ref reader, name);
        }

        while (reader.Read())
        {
            // Reading on lets the JSON reader refuse anything but white space behind the object.
        }
    }

    private void ReadMetadata(ref Utf8JsonReader reader)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            reader.Read();
            if (reader.TokenType != JsonTokenType.String) throw Broken($"{MetadataKey}.{key}", "must be a string");
            if (!_metadata.TryAdd(key, reader.GetString()!)) throw Broken($"{MetadataKey}.{key}", "appears twice");
        }
    }

    private void ReadTensor(ref Utf8JsonReader reader, string name)
    {
        DType? type = null;
        List<long>? shape = null;
        List<long>? offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            reader.Read();
            bool duplicate = key switch { "dtype" => type is not null, "shape" => shape is not null, "data_offsets" => offsets is not null, _ => false };
            if (duplicate) throw Broken($"\"{name}\".{key}", "appears twice");
            switch (key)
            {
                case "dtype": type = ReadType(ref reader, name); break;
                case "shape": shape = ReadNumbers(ref reader, name, key); break;
                case "data_offsets": offsets = ReadNumbers(ref reader, name, key); break;
                default: throw Broken($"\"{name}\".{key}", "is not a field of the format (dtype, shape, data_offsets)");
            }
        }

        if (type is not { } known) throw Broken($"\"{name}\".dtype", "is missing");
        if (shape is null) throw Broken($"\"{name}\".shape", "is missing");
        if (offsets is null) throw Broken($"\"{name}\".data_offsets", "is missing");
        if (offsets.Count != 2) throw Broken($"\"{name}\".data_offsets", $"must be [begin, end], but has {offsets.Count} numbers");
        AddTensor(name, known, shape, offsets[0], offsets[1]);
    }

    private void AddTensor(string name, DType type, List<long> shape, long begin, long end)
    {
        if (begin > end) throw Broken($"\"{name}\".data_offsets", $"must not be reversed, but is [{begin}, {end}]");
        if (end > _dataBytes)
            throw Broken($"\"{name}\".data_offsets", $"ends at {end}, and the file holds only {_dataBytes} bytes of data: it is cut off");
        long bytes = type.ElementBytes();
        try
        {
            foreach (long d in shape) bytes = checked(bytes * d);
        }
        catch (OverflowException)
        {
            throw Broken($"\"{name}\".shape", $"{StoredTensor.FormatShape(shape)} overflows 64 bits");
        }

        if (bytes != end - begin)
        {
            throw Broken($"\"{name}\".data_offsets",
                $"spans {end - begin} bytes, but {type.FileName()} {StoredTensor.FormatShape(shape)} needs {bytes}");
        }

        _tensors.Add(new StoredTensor(name, type, shape, _file, _dataStart + begin, end - begin));
    }

    private DType ReadType(ref Utf8JsonReader reader, string name)
    {
        if (reader.TokenType != JsonTokenType.String) throw Broken($"\"{name}\".dtype", "must be a string");
        string text = reader.GetString()!;
        return DTypes.TryParse(text, out DType type) ? type : throw Broken($"\"{name}\".dtype", $"\"{text}\" is not a type that is known here");
    }

    private List<long> ReadNumbers(ref Utf8JsonReader reader, string name, string key)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw Broken($"\"{name}\".{key}", "must be an array of whole numbers");
        var numbers = new List<long>(2);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !TryReadWhole(reader.ValueSpan, out long number))
                throw Broken($"\"{name}\".{key}", "must hold whole numbers from 0 to 2^63-1 written as plain digits");
            numbers.Add(number);
        }

        return numbers;
    }

    private static bool TryReadWhole(ReadOnlySpan<byte> text, out long number) =>
        Utf8Parser.TryParse(text, out number, out int used) && used == text.Length && !text.ContainsAnyExceptInRange((byte)'0', (byte)'9');

    /// <summary>Sorted by offset, the tensors must cover the data exactly.</summary>
    private void CheckRanges()
    {
        _tensors.Sort((a, b) => a.Offset != b.Offset ? a.Offset.CompareTo(b.Offset) : a.Bytes.CompareTo(b.Bytes));
        long expected = _dataStart;
        foreach (StoredTensor t in _tensors)
        {
            if (t.Offset < expected) throw Broken($"\"{t.Name}\".data_offsets", $"overlaps the tensor before it (begins at {t.Offset - _dataStart}, expected {expected - _dataStart})");
            if (t.Offset > expected) throw Broken($"\"{t.Name}\".data_offsets", $"leaves a hole (begins at {t.Offset - _dataStart}, expected {expected - _dataStart})");
            expected = t.Offset + t.Bytes;
        }

        if (expected != _dataStart + _dataBytes)
            throw Broken("data", $"has {_dataStart + _dataBytes - expected} bytes behind the last tensor");
    }

    private ModelFormatException Broken(string field, string rule) => new(_file, field, rule, Remedy);
}
