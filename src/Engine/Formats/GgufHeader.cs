using Foretoken.Numerics;

namespace Foretoken.Formats;

/// <summary>
/// The head of a GGUF file: magic, version, counts, metadata, tensor list. Every count is compared with the bytes that are left before anything is allocated for
/// it, and every range of the tensors is checked.
/// </summary>
internal sealed class GgufHeader
{
    /// <summary>Where data begins at multiples of, unless <c>general.alignment</c> says otherwise.</summary>
    public const int DefaultAlignment = 32;

    public const string AlignmentKey = "general.alignment";

    /// <summary>Longest name of a tensor in bytes, as in the reference implementation.</summary>
    public const int MaxTensorNameBytes = 63;

    private const uint Magic = 0x46554747; // "GGUF"
    private const int MaxKeyBytes = 65535, MaxDimensions = 4, MaxAlignment = 1 << 20;
    private const int LeastEntryBytes = 8 + 1 + 4 + 1, LeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8; // shortest metadata entry and tensor
    private const string Damaged = "The file is damaged or was not written by a GGUF library: download or convert it again.";
    private readonly string _file;
    private readonly long _fileLength;
    private readonly GgufCursor _cursor;
    private readonly List<StoredTensor> _tensors = [];

    private GgufHeader(string file, long fileLength, GgufCursor cursor)
    {
        (_file, _fileLength, _cursor) = (file, fileLength, cursor);
        Metadata = new GgufMetadata(file);
    }

    public GgufMetadata Metadata { get; }

    public uint Version { get; private set; }

    /// <summary>Tensors in the order of their data.</summary>
    public IReadOnlyList<StoredTensor> Tensors => _tensors;

    /// <summary>Reads and checks the head.</summary>
    public static GgufHeader Read(string file, long fileLength, Action<long, Memory<byte>> fetch)
    {
        var header = new GgufHeader(file, fileLength, new GgufCursor(file, fileLength, fetch));
        (ulong tensors, ulong entries) = header.ReadCounts();
        for (ulong i = 0; i < entries; i++) header.ReadEntry(i);
        header.Metadata.Bind(header._cursor.Bytes);
        int alignment = header.ReadAlignment();
        header.ReadTensors(tensors, alignment);
        header.Metadata.Bind(header._cursor.Bytes);
        header.CheckRanges(alignment);
        return header;
    }

    /// <summary>Bytes of a value of fixed size; 0 for strings and arrays.</summary>
    public static int SizeOf(GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Bool => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
        GgufValueType.UInt64 or GgufValueType.Int64 or GgufValueType.Float64 => 8,
        _ => 0,
    };

    private (ulong Tensors, ulong Entries) ReadCounts()
    {
        uint magic = _cursor.UInt32("magic");
        if (magic != Magic) throw Broken("magic", $"must be \"GGUF\", but is 0x{magic:X8}", "Check that it is a GGUF file.");
        Version = _cursor.UInt32("version");
        if (Version is not (2 or 3))
        {
            throw Version is 0x02000000 or 0x03000000
                ? Broken("version", "has its bytes in reverse: the file is big-endian", "Convert the model for little-endian machines.")
                : Broken("version", $"is {Version}, and 2 and 3 can be read",
                    Version < 2 ? "Convert the model again with a current program." : "The file may be damaged; otherwise use a file of version 3.");
        }

        ulong tensors = _cursor.UInt64("tensor count"), entries = _cursor.UInt64("metadata count");
        if (entries > (ulong)_cursor.Left / LeastEntryBytes)
            throw Broken("metadata count", $"is {entries}, and the {_cursor.Left} bytes that follow hold fewer entries");
        if (tensors > (ulong)_cursor.Left / LeastTensorBytes)
            throw Broken("tensor count", $"is {tensors}, and the {_cursor.Left} bytes that follow hold fewer tensors");
        return (tensors, entries);
    }

    private void ReadEntry(ulong index)
    {
        string place = $"metadata key {index}";
        int bytes = _cursor.Position;
        string key = _cursor.Text(place);
        bytes = _cursor.Position - bytes - sizeof(ulong);
        if (bytes is 0 or > MaxKeyBytes) throw Broken(place, $"has {bytes} bytes, and a key has 1 to {MaxKeyBytes}");
        string shown = Shown(key);
        GgufValueType type = ReadType(shown), element = type;
        int offset = _cursor.Position, count = 1;
        if (type == GgufValueType.Array)
        {
            element = ReadType(shown);
            if (element == GgufValueType.Array) throw Broken(shown, "is an array of arrays, which no known key is");
            count = ReadLength(shown, element);
            offset = _cursor.Position;
        }

        if (element == GgufValueType.Text)
            for (int i = 0; i < count; i++) _cursor.Utf8Bytes(shown, type == GgufValueType.Array ? i : -1);
        else
            CheckBooleans(_cursor.Take((ulong)count * (ulong)SizeOf(element), shown), element, shown);
        if (!Metadata.TryAdd(key, type, element, count, offset)) throw Broken(shown, "appears twice in the metadata");
    }

    private GgufValueType ReadType(string key)
    {
        uint type = _cursor.UInt32(key);
        return type <= (uint)GgufValueType.Float64 ? (GgufValueType)type : throw Broken(key, $"has value type {type}, and types are 0 to {(int)GgufValueType.Float64}");
    }

    private int ReadLength(string key, GgufValueType element)
    {
        ulong count = _cursor.UInt64(key);
        int least = element == GgufValueType.Text ? sizeof(ulong) : SizeOf(element);
        return count <= (ulong)_cursor.Left / (ulong)least && count <= int.MaxValue
            ? (int)count
            : throw Broken(key, $"is an array of {count} values, and the {_cursor.Left} bytes that follow hold fewer");
    }

    private void CheckBooleans(ReadOnlySpan<byte> bytes, GgufValueType type, string key)
    {
        if (type == GgufValueType.Bool && bytes.ContainsAnyExceptInRange((byte)0, (byte)1)) throw Broken(key, "holds a truth value other than 0 and 1");
    }

    private int ReadAlignment()
    {
        GgufValueType? type = Metadata.TypeOf(AlignmentKey);
        if (type is null) return DefaultAlignment;
        if (type != GgufValueType.UInt32) throw Broken(AlignmentKey, $"must be a 32-bit unsigned number, but is {Metadata.TextOf(AlignmentKey)}");
        long alignment = Metadata.Integer(AlignmentKey, 0, uint.MaxValue)!.Value;
        return alignment is >= 8 and <= MaxAlignment && (alignment & (alignment - 1)) == 0
            ? (int)alignment
            : throw Broken(AlignmentKey, $"must be a power of two from 8 to {MaxAlignment}, but is {alignment}");
    }

    private void ReadTensors(ulong count, int alignment)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var relative = new List<(string Name, DType Type, long[] Shape, ulong Offset)>();
        for (ulong i = 0; i < count; i++)
        {
            int start = _cursor.Position;
            string name = _cursor.Text($"name of tensor {i}");
            int bytes = _cursor.Position - start - sizeof(ulong);
            if (bytes is 0 or > MaxTensorNameBytes) throw Broken($"name of tensor {i}", $"has {bytes} bytes, and a name has 1 to {MaxTensorNameBytes}");
            if (!names.Add(name)) throw Broken($"\"{name}\"", "appears twice in the tensor list");
            long[] shape = ReadShape(name);
            uint id = _cursor.UInt32($"\"{name}\"");
            if (!GgufTypes.TryFind(id, out DType type))
                throw Broken($"\"{name}\"", $"has type {GgufTypes.NameOf(id)}, which is not supported", $"Supported types: {GgufTypes.Supported}. Use a file quantised to one of them.");
            relative.Add((name, type, shape, _cursor.UInt64($"\"{name}\"")));
        }

        long data = (_cursor.Position + (long)alignment - 1) / alignment * alignment;
        foreach ((string name, DType type, long[] shape, ulong offset) in relative) AddTensor(name, type, shape, offset, data, alignment);
    }

    private long[] ReadShape(string name)
    {
        uint dimensions = _cursor.UInt32($"\"{name}\"");
        if (dimensions is 0 or > MaxDimensions) throw Broken($"\"{name}\"", $"has {dimensions} dimensions, and tensors have 1 to {MaxDimensions}");
        var shape = new long[dimensions];
        for (int d = shape.Length - 1; d >= 0; d--) // the file lists the fastest dimension first
        {
            ulong size = _cursor.UInt64($"\"{name}\"");
            shape[d] = size is > 0 and <= long.MaxValue ? (long)size : throw Broken($"\"{name}\"", $"has a dimension of {size}, and dimensions are 1 to 2^63-1");
        }

        return shape;
    }

    private void AddTensor(string name, DType type, long[] shape, ulong offset, long data, int alignment)
    {
        string field = $"\"{name}\"";
        if (shape[^1] % type.BlockLength() != 0)
            throw Broken(field, $"has rows of {shape[^1]} elements, and {type.FileName()} needs multiples of {type.BlockLength()}");
        if (offset % (ulong)alignment != 0) throw Broken(field, $"has offset {offset}, which is no multiple of the alignment {alignment}");
        long bytes;
        try
        {
            long elements = 1;
            foreach (long d in shape) elements = checked(elements * d);
            bytes = type.BytesOf(elements);
        }
        catch (OverflowException)
        {
            throw Broken(field, $"has shape {StoredTensor.FormatShape(shape)}, whose size overflows 64 bits");
        }

        long available = _fileLength - data;
        if (available < 0 || offset > (ulong)available || bytes > available - (long)offset)
        {
            throw Broken(field, $"needs {bytes} bytes at offset {offset}, and the file holds {Math.Max(0, available)} bytes of data: it is cut off",
                "Download the file again.");
        }

        _tensors.Add(new StoredTensor(name, type, shape, _file, data + (long)offset, bytes));
    }

    /// <summary>Sorted by offset, the tensors must follow each other with no more than padding between them and behind the last one.</summary>
    private void CheckRanges(int alignment)
    {
        _tensors.Sort((a, b) => a.Offset.CompareTo(b.Offset));
        for (int i = 0; i < _tensors.Count; i++)
        {
            StoredTensor t = _tensors[i];
            long end = t.Offset + t.Bytes, next = i + 1 < _tensors.Count ? _tensors[i + 1].Offset : _fileLength;
            if (next < end) throw Broken($"\"{_tensors[i + 1].Name}\"", $"overlaps \"{t.Name}\", whose data end at byte {end}");
            if (next - end >= alignment)
            {
                throw i + 1 < _tensors.Count
                    ? Broken($"\"{_tensors[i + 1].Name}\"", $"leaves a hole of {next - end} bytes behind \"{t.Name}\"")
                    : Broken("data", $"has {next - end} bytes behind the last tensor");
            }
        }
    }

    private static string Shown(string key) => key.Length <= 80 ? key : key[..77] + "...";

    private ModelFormatException Broken(string field, string rule, string remedy = Damaged) => new(_file, field, rule, remedy);
}
