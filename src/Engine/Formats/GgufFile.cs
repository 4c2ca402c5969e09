namespace Foretoken.Formats;

/// <summary>
/// Strict reader of the GGUF format, versions 2 and 3, little-endian (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, counts, typed metadata, the
/// tensor list, then aligned data. Every rule is checked when the file is opened.
/// </summary>
public sealed class GgufFile : TensorFile
{
    /// <summary>Usual ending of a file's name.</summary>
    public const string Extension = ".gguf";

    private const int LeastBytes = 4 + 4 + 8 + 8;
    private readonly GgufHeader _header;

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="ModelFormatException">The file breaks a rule of the format.</exception>
    public GgufFile(string path)
        : base(path, LeastBytes)
    {
        try
        {
            _header = GgufHeader.Read(path, Length, (offset, bytes) => ReadExactly(offset, bytes.Span, "metadata"));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<StoredTensor> Tensors => _header.Tensors;

    /// <summary>The file's key-value pairs.</summary>
    public GgufMetadata Metadata => _header.Metadata;

    /// <summary>Version of the format.</summary>
    public uint Version => _header.Version;

    /// <summary>Whether the path is a file that begins as GGUF files do, or that bears their ending: such a file is read as GGUF or refused.</summary>
    public static bool IsGguf(string path)
    {
        if (!File.Exists(path)) return false;
        if (path.EndsWith(Extension, StringComparison.OrdinalIgnoreCase)) return true;
        if (new FileInfo(path).Length < LeastBytes) return false; // never waits for a pipe
        try
        {
            using FileStream stream = File.OpenRead(path);
            Span<byte> magic = stackalloc byte[4];
            return stream.ReadAtLeast(magic, magic.Length, throwOnEndOfStream: false) == magic.Length && magic.SequenceEqual("GGUF"u8);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
