using Microsoft.Win32.SafeHandles;

namespace Foretoken.Formats;

/// <summary>
/// A file of tensors, opened for reading only. Derived readers check the whole header and every range before anything is read from the data.
/// Reads may come from several threads at a time.
/// </summary>
public abstract class TensorFile : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly DateTime _modified;

    /// <summary>Opens the file.</summary>
    /// <param name="path">Path of the file.</param>
    /// <param name="minimumBytes">The least length that the format allows; checked before the file is opened, so that pipes are never waited for.</param>
    /// <exception cref="ModelFormatException">The file is missing, not readable or too short.</exception>
    protected TensorFile(string path, long minimumBytes)
    {
        FilePath = path;
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists)
            {
                string what = Directory.Exists(path) ? "is a directory" : "does not exist";
                throw new ModelFormatException(path, "file", what, "Check the path, or download the model again.");
            }

            FileInfo target = info.ResolveLinkTarget(returnFinalTarget: true) as FileInfo ?? info;
            if (target.Length < minimumBytes)
            {
                throw new ModelFormatException(path, "file", $"has {target.Length} bytes, and the format needs at least {minimumBytes}",
                    "It was probably cut off while it was copied: download it again.");
            }

            _handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read, FileOptions.SequentialScan);
            Length = RandomAccess.GetLength(_handle);
            _modified = File.GetLastWriteTimeUtc(_handle);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new ModelFormatException(path, "file", $"cannot be opened: {e.Message}", "Check that it is a readable file.", e);
        }
    }

    /// <summary>Path of the file.</summary>
    public string FilePath { get; }

    /// <summary>Length in bytes when the file was opened.</summary>
    public long Length { get; }

    /// <summary>Tensors in the order of their data.</summary>
    public abstract IReadOnlyList<StoredTensor> Tensors { get; }

    /// <summary>Reads <paramref name="destination"/>.Length bytes from byte <paramref name="offset"/> of the tensor's data on.</summary>
    /// <exception cref="ModelFormatException">The file has become shorter since it was opened, or the device failed.</exception>
    public void Read(StoredTensor tensor, long offset, Span<byte> destination)
    {
        if (offset < 0 || offset > tensor.Bytes || destination.Length > tensor.Bytes - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), $"[{offset}, +{destination.Length}) is outside tensor {tensor.Name} of {tensor.Bytes} bytes.");
        ReadExactly(tensor.Offset + offset, destination, tensor.Name);
    }

    /// <summary>Checks that nobody wrote to the file since it was opened. Called after the last read.</summary>
    /// <exception cref="ModelFormatException">Length or time of the last write differ.</exception>
    public void VerifyUnchanged()
    {
        if (RandomAccess.GetLength(_handle) != Length || File.GetLastWriteTimeUtc(_handle) != _modified)
            throw new ModelFormatException(FilePath, "file", "was changed while it was read", "Wait until it is complete and load it again.");
    }

    /// <summary>Closes the file.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the file.</summary>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing) _handle?.Dispose();
    }

    /// <summary>Reads bytes at an absolute offset; <paramref name="what"/> names them in errors.</summary>
    protected void ReadExactly(long offset, Span<byte> destination, string what)
    {
        try
        {
            while (destination.Length > 0)
            {
                int read = RandomAccess.Read(_handle, destination, offset);
                if (read == 0)
                {
                    throw new ModelFormatException(FilePath, what, $"ends at byte {offset} of a file that had {Length} bytes when it was opened",
                        "The file was cut while it was read: wait until it is complete and load it again.");
                }

                offset += read;
                destination = destination[read..];
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException(FilePath, what, $"cannot be read: {e.Message}", "Check the disk and the file's permissions.", e);
        }
    }
}
