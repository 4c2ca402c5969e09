using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Formats;

/// <summary>
/// Writes GGUF files of version 3: metadata in the order in which they were added, then the tensors, each padded to the alignment. Nothing that the strict reader
/// (<see cref="GgufFile"/>) would refuse is written.
/// </summary>
public sealed class GgufWriter
{
    private const uint Version = 3;
    private readonly MemoryStream _metadata = new();
    private readonly BinaryWriter _values;
    private readonly HashSet<string> _keys = new(StringComparer.Ordinal);
    private readonly List<StreamedTensor> _tensors = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);

    /// <summary>A file without metadata and tensors.</summary>
    public GgufWriter() => _values = new BinaryWriter(_metadata, Encoding.UTF8);

    /// <summary>Adds a text.</summary>
    public GgufWriter Add(string key, string value)
    {
        Begin(key, GgufValueType.Text);
        Text(_values, value);
        return this;
    }

    /// <summary>Adds a whole number of 32 bits.</summary>
    public GgufWriter Add(string key, uint value)
    {
        Begin(key, GgufValueType.UInt32);
        _values.Write(value);
        return this;
    }

    /// <summary>Adds a number in single precision.</summary>
    public GgufWriter Add(string key, float value)
    {
        Begin(key, GgufValueType.Float32);
        _values.Write(value);
        return this;
    }

    /// <summary>Adds a truth value.</summary>
    public GgufWriter Add(string key, bool value)
    {
        Begin(key, GgufValueType.Bool);
        _values.Write(value);
        return this;
    }

    /// <summary>Adds an array of texts.</summary>
    public GgufWriter Add(string key, IReadOnlyList<string> values)
    {
        BeginArray(key, GgufValueType.Text, values.Count);
        foreach (string value in values) Text(_values, value);
        return this;
    }

    /// <summary>Adds an array of signed numbers of 32 bits.</summary>
    public GgufWriter Add(string key, IReadOnlyList<int> values)
    {
        BeginArray(key, GgufValueType.Int32, values.Count);
        foreach (int value in values) _values.Write(value);
        return this;
    }

    /// <summary>Adds an array of numbers in single precision.</summary>
    public GgufWriter Add(string key, IReadOnlyList<float> values)
    {
        BeginArray(key, GgufValueType.Float32, values.Count);
        foreach (float value in values) _values.Write(value);
        return this;
    }

    /// <summary>Adds a tensor; its bytes are asked for when the file is written.</summary>
    /// <exception cref="ArgumentException">A name that is empty, too long or taken, or a shape that the format or the type cannot hold.</exception>
    public GgufWriter Add(StreamedTensor tensor)
    {
        int bytes = Encoding.UTF8.GetByteCount(tensor.Name);
        if (bytes is 0 or > GgufHeader.MaxTensorNameBytes) throw new ArgumentException($"The tensor name \"{tensor.Name}\" has {bytes} bytes, and 1 to {GgufHeader.MaxTensorNameBytes} are allowed.", nameof(tensor));
        if (!_names.Add(tensor.Name)) throw new ArgumentException($"Tensor {tensor.Name} is given twice.", nameof(tensor));
        if (tensor.Shape.Count is 0 or > 4 || tensor.Shape.Any(d => d < 1) || tensor.Shape[^1] % tensor.Type.BlockLength() != 0)
            throw new ArgumentException($"Tensor {tensor.Name}: {tensor.Type.FileName()} {StoredTensor.FormatShape(tensor.Shape)} cannot be written.", nameof(tensor));
        _ = GgufTypes.IdOf(tensor.Type);
        _tensors.Add(tensor);
        return this;
    }

    /// <summary>Writes the file to an empty stream.</summary>
    public void Write(Stream stream)
    {
        using var writer = new BinaryWriter(stream, Encoding.UTF8, leaveOpen: true);
        writer.Write("GGUF"u8);
        writer.Write(Version);
        writer.Write((ulong)_tensors.Count);
        writer.Write((ulong)_keys.Count);
        _values.Flush();
        writer.Write(_metadata.GetBuffer().AsSpan(0, (int)_metadata.Length));
        long offset = 0;
        foreach (StreamedTensor tensor in _tensors)
        {
            Text(writer, tensor.Name);
            writer.Write((uint)tensor.Shape.Count);
            for (int d = tensor.Shape.Count - 1; d >= 0; d--) writer.Write((ulong)tensor.Shape[d]); // fastest first
            writer.Write(GgufTypes.IdOf(tensor.Type));
            writer.Write((ulong)offset);
            offset = Padded(offset + tensor.Bytes);
        }

        writer.Flush();
        if (_tensors.Count == 0) return;
        Pad(stream);
        foreach (StreamedTensor tensor in _tensors)
        {
            tensor.WriteTo(stream);
            Pad(stream);
        }
    }

    private static long Padded(long length) => (length + GgufHeader.DefaultAlignment - 1) / GgufHeader.DefaultAlignment * GgufHeader.DefaultAlignment;

    private static void Pad(Stream stream)
    {
        Span<byte> zeros = stackalloc byte[GgufHeader.DefaultAlignment];
        zeros.Clear();
        stream.Write(zeros[..(int)(Padded(stream.Position) - stream.Position)]);
    }

    private static void Text(BinaryWriter writer, string value)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(value);
        writer.Write((ulong)utf8.Length);
        writer.Write(utf8);
    }

    private void Begin(string key, GgufValueType type)
    {
        if (key.Length == 0 || !_keys.Add(key)) throw new ArgumentException($"The metadata key \"{key}\" is empty or given twice.", nameof(key));
        Text(_values, key);
        _values.Write((uint)type);
    }

    private void BeginArray(string key, GgufValueType element, int count)
    {
        Begin(key, GgufValueType.Array);
        _values.Write((uint)element);
        _values.Write((ulong)count);
    }
}
