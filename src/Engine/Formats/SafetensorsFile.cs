using System.Buffers.Binary;

namespace Foretoken.Formats;

/// <summary>
/// Strict reader of the safetensors format (https://github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, then the data of
/// all tensors without gaps up to the end of the file. Every rule of the reference implementation is checked when the file is opened.
/// </summary>
public sealed class SafetensorsFile : TensorFile
{
    /// <summary>Longest header in bytes.</summary>
    public const long MaxHeaderBytes = 100_000_000;

    private const int LengthBytes = 8;
    private const string DownloadAgain = "Download the file again, or write it again with the safetensors library.";
    private readonly SafetensorsHeader _header;

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="ModelFormatException">The file breaks a rule of the format.</exception>
    public SafetensorsFile(string path)
        : base(path, LengthBytes + 2)
    {
        try
        {
            _header = ReadHeader();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<StoredTensor> Tensors => _header.Tensors;

    /// <summary>The header's free-form strings (<c>__metadata__</c>).</summary>
    public IReadOnlyDictionary<string, string> Metadata => _header.Metadata;

    private SafetensorsHeader ReadHeader()
    {
        Span<byte> prefix = stackalloc byte[LengthBytes];
        ReadExactly(0, prefix, "header length");
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length < 2)
            throw Broken($"is {length}, and the shortest JSON object has 2 bytes");
        if (length > MaxHeaderBytes)
            throw Broken($"is {length}, and at most {MaxHeaderBytes} is allowed");
        if (length > (ulong)(Length - LengthBytes))
            throw Broken($"is {length}, and only {Length - LengthBytes} bytes follow it");

        var json = new byte[(int)length];
        ReadExactly(LengthBytes, json, "header");
        return SafetensorsHeader.Parse(FilePath, json, LengthBytes + (long)length, Length);

        ModelFormatException Broken(string rule) => new(FilePath, "header length", rule, DownloadAgain);
    }
}
