using System.Buffers.Binary;
using System.Text.Json;

namespace Foretoken.Formats;

/// <summary>One tensor to write: its name, safetensors dtype ("F32", "BF16", …), shape and little-endian row-major bytes.</summary>
public sealed record SafetensorsEntry(string Name, string DType, IReadOnlyList<long> Shape, ReadOnlyMemory<byte> Data);

/// <summary>
/// Writes the safetensors layout strictly: u64 little-endian header length, a JSON header padded with spaces to a multiple of 8 bytes, then the
/// tensors' bytes in the order of their names, side by side without gaps.
/// </summary>
public static class SafetensorsWriter
{
    /// <summary>Writes <paramref name="tensors"/> to <paramref name="path"/> through a temporary file beside it.</summary>
    /// <exception cref="ArgumentException">A name occurs twice, or a tensor's bytes do not fit its shape and dtype.</exception>
    public static void Write(string path, IEnumerable<SafetensorsEntry> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        SafetensorsEntry[] sorted = [.. tensors.OrderBy(t => t.Name, StringComparer.Ordinal)];
        for (int i = 0; i < sorted.Length; i++)
        {
            Check(sorted[i]);
            if (i > 0 && sorted[i].Name == sorted[i - 1].Name) throw new ArgumentException($"Tensor {sorted[i].Name} is given twice.");
        }
        byte[] header = Header(sorted, metadata);
        string temporary = path + ".tmp";
        using (FileStream stream = File.Create(temporary))
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (SafetensorsEntry tensor in sorted) stream.Write(tensor.Data.Span);
        }
        File.Move(temporary, path, overwrite: true);
    }

    private static byte[] Header(SafetensorsEntry[] tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata.OrderBy(entry => entry.Key, StringComparer.Ordinal)) json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (SafetensorsEntry tensor in tensors)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.DType);
                json.WriteStartArray("shape");
                foreach (long dimension in tensor.Shape) json.WriteNumberValue(dimension);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.Data.Length);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (buffer.Length % 8 != 0) buffer.WriteByte((byte)' ');
        return buffer.ToArray();
    }

    private static void Check(SafetensorsEntry tensor)
    {
        int size = tensor.DType switch
        {
            "F64" or "I64" or "U64" => 8,
            "F32" or "I32" or "U32" => 4,
            "F16" or "BF16" or "I16" or "U16" => 2,
            "I8" or "U8" or "BOOL" or "F8_E4M3" or "F8_E5M2" => 1,
            _ => throw new ArgumentException($"Tensor {tensor.Name}: dtype {tensor.DType} is none of the safetensors format."),
        };
        long expected = tensor.Shape.Aggregate((long)size, (bytes, dimension) => checked(bytes * dimension));
        if (expected != tensor.Data.Length)
            throw new ArgumentException($"Tensor {tensor.Name}: {tensor.DType} [{string.Join(", ", tensor.Shape)}] has {expected} bytes, not {tensor.Data.Length}.");
    }
}
