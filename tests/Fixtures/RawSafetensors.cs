using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;

namespace Foretoken.Tests.Fixtures;

/// <summary>
/// Writes safetensors files byte by byte, right ones and wrong ones. Independent of the engine's reader and of the trainer's writer.
/// </summary>
public static class RawSafetensors
{
    /// <summary>Header length, header and data as they are given, whatever they are.</summary>
    public static void WriteRaw(string path, ulong headerLength, string header, byte[] data)
    {
        using FileStream file = File.Create(path);
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, headerLength);
        file.Write(length);
        file.Write(Encoding.UTF8.GetBytes(header));
        file.Write(data);
    }

    /// <summary>A header of the right length and data.</summary>
    public static void WriteRaw(string path, string header, byte[] data) =>
        WriteRaw(path, (ulong)Encoding.UTF8.GetByteCount(header), header, data);

    /// <summary>A well-formed file of float tensors in <paramref name="dtype"/> (F32, F16, BF16 or F64).</summary>
    public static void Write(string path, IEnumerable<TestTensor> tensors, string dtype)
    {
        var header = new JsonObject { ["__metadata__"] = new JsonObject { ["format"] = "pt" } };
        using var data = new MemoryStream();
        foreach (TestTensor tensor in tensors)
        {
            long start = data.Length;
            data.Write(Encode(tensor.Values, dtype));
            header[tensor.Name] = new JsonObject
            {
                ["dtype"] = dtype,
                ["shape"] = new JsonArray([.. tensor.Shape.Select(d => JsonValue.Create(d))]),
                ["data_offsets"] = new JsonArray(start, data.Length),
            };
        }

        WriteRaw(path, header.ToJsonString(), data.ToArray());
    }

    public static byte[] Encode(float[] values, string dtype)
    {
        int size = dtype switch { "F64" => 8, "F32" => 4, "F16" or "BF16" => 2, _ => throw new ArgumentException(dtype) };
        var bytes = new byte[values.Length * size];
        for (int i = 0; i < values.Length; i++)
        {
            Span<byte> at = bytes.AsSpan(i * size);
            switch (dtype)
            {
                case "F64": BinaryPrimitives.WriteDoubleLittleEndian(at, values[i]); break;
                case "F32": BinaryPrimitives.WriteSingleLittleEndian(at, values[i]); break;
                case "F16": BinaryPrimitives.WriteHalfLittleEndian(at, (Half)values[i]); break;
                default: BinaryPrimitives.WriteUInt16LittleEndian(at, ToBFloat16(values[i])); break;
            }
        }

        return bytes;
    }

    /// <summary>Round to nearest, ties to even; finite values only.</summary>
    public static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return (ushort)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}

/// <summary>A tensor in memory. // row-major</summary>
public sealed record TestTensor(string Name, int[] Shape, float[] Values);
