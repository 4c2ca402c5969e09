using System.Buffers.Binary;
using System.Text.Json;
using Foretoken.Numerics;

namespace Foretoken.Formats;

/// <summary>One tensor to write: its name, safetensors dtype ("F32", "BF16", …), shape and little-endian row-major bytes.</summary>
public sealed record SafetensorsEntry(string Name, string DType, IReadOnlyList<long> Shape, ReadOnlyMemory<byte> Data);

/// <summary>
/// Writes the safetensors layout strictly: u64 little-endian header length, a JSON header padded with spaces to a multiple of 8 bytes, then the
/// tensors' bytes in the order of their names, side by side without gaps.
/// </summary>
public static class SafetensorsWriter
{
    /// <summary>Writes <paramref name="tensors"/> to <paramref name="path"/> through a temporary file beside it, which a failure does not leave there.</summary>
    /// <exception cref="ArgumentException">A name occurs twice, or a tensor's bytes do not fit its shape and dtype.</exception>
    public static void Write(string path, IEnumerable<SafetensorsEntry> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        SafetensorsEntry[] sorted = [.. tensors.OrderBy(t => t.Name, StringComparer.Ordinal)];
        for (int i = 0; i < sorted.Length; i++)
        {
            Check(sorted[i]);
            if (i > 0 && sorted[i].Name == sorted[i - 1].Name) throw new ArgumentException($"Tensor {sorted[i].Name} is given twice.");
        }
        byte[] header = Header([.. sorted.Select(t => (t.Name, t.DType, t.Shape, (long)t.Data.Length))], metadata);
        string temporary = path + ".tmp";
        try
        {
            using (FileStream stream = File.Create(temporary))
            {
                WriteHeader(stream, header);
                foreach (SafetensorsEntry tensor in sorted) stream.Write(tensor.Data.Span);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes tensors of plain types to an empty stream piece by piece, in the order of their names.</summary>
    /// <exception cref="ArgumentException">A name occurs twice, or a type is none of the format.</exception>
    public static void Write(Stream stream, IEnumerable<StreamedTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        StreamedTensor[] sorted = [.. tensors.OrderBy(t => t.Name, StringComparer.Ordinal)];
        for (int i = 0; i < sorted.Length; i++)
        {
            if (sorted[i].Type.IsBlock()) throw new ArgumentException($"Tensor {sorted[i].Name}: {sorted[i].Type} is no type of the safetensors format.");
            if (i > 0 && sorted[i].Name == sorted[i - 1].Name) throw new ArgumentException($"Tensor {sorted[i].Name} is given twice.");
        }

        WriteHeader(stream, Header([.. sorted.Select(t => (t.Name, t.Type.FileName(), t.Shape, t.Bytes))], metadata));
        foreach (StreamedTensor tensor in sorted) tensor.WriteTo(stream);
    }

    private static void WriteHeader(Stream stream, byte[] header)
    {
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        stream.Write(length);
        stream.Write(header);
    }

    private static byte[] Header((string Name, string DType, IReadOnlyList<long> Shape, long Bytes)[] tensors, IReadOnlyDictionary<string, string>? metadata)
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
            foreach ((string name, string type, IReadOnlyList<long> shape, long bytes) in tensors)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", type);
                json.WriteStartArray("shape");
                foreach (long dimension in shape) json.WriteNumberValue(dimension);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += bytes);
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
