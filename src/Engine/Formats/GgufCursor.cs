using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace Foretoken.Formats;

/// <summary>
/// Reads the head of a GGUF file field by field. The bytes are fetched in growing pieces as they are needed and kept, so that long arrays are decoded only when
/// somebody asks for them. No length of the file is believed before it was compared with the bytes that are left.
/// </summary>
internal sealed class GgufCursor(string file, long fileLength, Action<long, Memory<byte>> fetch)
{
    /// <summary>Longest head (metadata and tensor list) that is accepted, in bytes.</summary>
    public const long MaxHeadBytes = 1L << 28;

    private const int FirstPiece = 1 << 16;
    private const string Cut = "The file was cut off or is damaged: download it again.";
    private byte[] _bytes = [];
    private int _filled;

    /// <summary>Offset of the next byte.</summary>
    public int Position { get; private set; }

    /// <summary>Bytes between the position and the end of the file.</summary>
    public long Left => fileLength - Position;

    /// <summary>The bytes that were read so far.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes.AsMemory(0, _filled);

    /// <summary>The next bytes.</summary>
    /// <param name="count">How many.</param>
    /// <param name="field">Names them in errors.</param>
    /// <param name="element">Their index in an array of that name, or −1. Vocabularies have many: no name is made for those that are read.</param>
    public ReadOnlySpan<byte> Take(ulong count, string field, int element = -1)
    {
        if (count > (ulong)Left)
            throw new ModelFormatException(file, NameOf(field, element), $"needs {count} bytes at byte {Position}, and the file has {Left} there", Cut);
        if (count > (ulong)(MaxHeadBytes - Position))
            throw new ModelFormatException(file, NameOf(field, element), $"ends beyond byte {MaxHeadBytes}, where metadata and tensor list must have ended", "Use a file with less metadata.");
        int end = Position + (int)count;
        if (end > _filled) Fetch(end);
        ReadOnlySpan<byte> taken = _bytes.AsSpan(Position, (int)count);
        Position = end;
        return taken;
    }

    public byte UInt8(string field) => Take(1, field)[0];

    public uint UInt32(string field) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));

    public ulong UInt64(string field, int element = -1) => BinaryPrimitives.ReadUInt64LittleEndian(Take(8, field, element));

    /// <summary>The bytes of a string: a 64-bit length, then UTF-8.</summary>
    public ReadOnlySpan<byte> Utf8Bytes(string field, int element = -1)
    {
        ulong length = UInt64(field, element);
        if (length > (ulong)Left)
            throw new ModelFormatException(file, NameOf(field, element), $"is a string of {length} bytes, and only {Left} bytes of the file follow", Cut);
        int start = Position;
        ReadOnlySpan<byte> bytes = Take(length, field, element);
        return Utf8.IsValid(bytes)
            ? bytes
            : throw new ModelFormatException(
                file, NameOf(field, element), $"is not UTF-8 (string at byte {start})", "The file is damaged or was written by a faulty program: download or convert it again.");
    }

    public string Text(string field) => Encoding.UTF8.GetString(Utf8Bytes(field));

    private static string NameOf(string field, int element) => element < 0 ? field : string.Create(CultureInfo.InvariantCulture, $"{field}[{element}]");

    private void Fetch(int end)
    {
        long wanted = Math.Min(fileLength, Math.Max(end, Math.Max(FirstPiece, 2L * _filled)));
        Array.Resize(ref _bytes, (int)Math.Min(wanted, Math.Max(end, MaxHeadBytes)));
        fetch(_filled, _bytes.AsMemory(_filled));
        _filled = _bytes.Length;
    }
}
