using System.Buffers.Binary;
using System.Text;
using Foretoken.Formats;

namespace Foretoken.Tests.Fixtures;

/// <summary>A GGUF file field by field, right or wrong, written without the engine's writer.</summary>
public sealed class RawGguf
{
    private readonly List<(byte[] Key, uint Type, byte[] Value)> _entries = [];
    private readonly List<(byte[] Name, uint Dimensions, ulong[] Shape, uint Type, ulong Offset)> _tensors = [];

    public uint Magic { get; set; } = 0x46554747;
    public uint Version { get; set; } = 3;
    public ulong? EntryCount { get; set; }
    public ulong? TensorCount { get; set; }
    public int Alignment { get; set; } = 32;

    /// <summary>Bytes of the data section.</summary>
    public byte[] Data { get; set; } = [];

    public RawGguf Add(string key, GgufValueType type, byte[] value) => Add(Encoding.UTF8.GetBytes(key), (uint)type, value);

    public RawGguf Add(byte[] key, uint type, byte[] value)
    {
        _entries.Add((key, type, value));
        return this;
    }

    public RawGguf Add(string key, string value) => Add(key, GgufValueType.Text, Text(value));

    public RawGguf Add(string key, uint value) => Add(key, GgufValueType.UInt32, BitConverter.GetBytes(value));

    public RawGguf Add(string key, float value) => Add(key, GgufValueType.Float32, BitConverter.GetBytes(value));

    public RawGguf Add(string key, bool value) => Add(key, GgufValueType.Bool, [value ? (byte)1 : (byte)0]);

    public RawGguf Add(string key, params string[] values) => Add(key, GgufValueType.Array, Array(GgufValueType.Text, values.Length, [.. values.SelectMany(Text)]));

    public RawGguf Add(string key, params int[] values) => Add(key, GgufValueType.Array, Array(GgufValueType.Int32, values.Length, [.. values.SelectMany(BitConverter.GetBytes)]));

    public RawGguf Add(string key, params float[] values) => Add(key, GgufValueType.Array, Array(GgufValueType.Float32, values.Length, [.. values.SelectMany(BitConverter.GetBytes)]));

    /// <param name="name">Name.</param>
    /// <param name="shape">Fastest dimension first, as the file lists them.</param>
    /// <param name="type">Number of the type.</param>
    /// <param name="offset">From the begin of the data section.</param>
    /// <param name="dimensions">What the file says of their number.</param>
    public RawGguf Tensor(string name, ulong[] shape, uint type = 0, ulong offset = 0, uint? dimensions = null)
    {
        _tensors.Add((Encoding.UTF8.GetBytes(name), dimensions ?? (uint)shape.Length, shape, type, offset));
        return this;
    }

    public static byte[] Array(GgufValueType element, long count, byte[] bytes) => [.. BitConverter.GetBytes((uint)element), .. BitConverter.GetBytes(count), .. bytes];

    public static byte[] Text(string value) => String(Encoding.UTF8.GetBytes(value));

    public static byte[] String(byte[] utf8) => [.. BitConverter.GetBytes((long)utf8.Length), .. utf8];

    public byte[] Build()
    {
        var file = new List<byte>();
        var number = new byte[8];
        UInt32(Magic);
        UInt32(Version);
        UInt64(TensorCount ?? (ulong)_tensors.Count);
        UInt64(EntryCount ?? (ulong)_entries.Count);
        foreach ((byte[] key, uint type, byte[] value) in _entries)
        {
            file.AddRange(String(key));
            UInt32(type);
            file.AddRange(value);
        }

        foreach ((byte[] name, uint dimensions, ulong[] shape, uint type, ulong offset) in _tensors)
        {
            file.AddRange(String(name));
            UInt32(dimensions);
            foreach (ulong d in shape) UInt64(d);
            UInt32(type);
            UInt64(offset);
        }

        while (_tensors.Count > 0 && file.Count % Alignment != 0) file.Add(0);
        return [.. file, .. Data];

        void UInt32(uint value)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(number, value);
            file.AddRange(number.AsSpan(0, 4));
        }

        void UInt64(ulong value)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(number, value);
            file.AddRange(number);
        }
    }
}
