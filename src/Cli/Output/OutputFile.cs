namespace Foretoken.Cli.Output;

/// <summary>
/// A file that appears whole or not at all: written beside its final path under a temporary name, moved into place by <see cref="Commit"/>, and
/// deleted otherwise, so that a failure or Ctrl-C leaves no partial file.
/// </summary>
internal sealed class OutputFile : IDisposable
{
    private readonly string _path;
    private readonly string _temporary;
    private bool _committed;

    private OutputFile(string path, string temporary, FileStream stream)
    {
        _path = path;
        _temporary = temporary;
        Stream = stream;
    }

    public FileStream Stream { get; }

    /// <summary>Opens the temporary file.</summary>
    /// <param name="path">Final path.</param>
    /// <param name="flag">The flag that named it, for messages.</param>
    /// <exception cref="RunException">The path is a folder, its folder does not exist or cannot be written.</exception>
    public static OutputFile Create(string path, string flag)
    {
        if (Directory.Exists(path)) throw new RunException($"{path}: {flag} names a folder: give the path of a file.");
        string full = Path.GetFullPath(path);
        string temporary = $"{full}.{Environment.ProcessId}.tmp";
        try
        {
            return new OutputFile(full, temporary, new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            string folder = Path.GetDirectoryName(full) ?? full;
            string rule = Directory.Exists(folder) ? $"cannot be written ({e.Message.TrimEnd('.')})" : $"cannot be written: the folder {folder} does not exist";
            throw new RunException($"{path}: {flag} {rule}. Choose a folder that exists and that you may write to.", e);
        }
    }

    /// <summary>Moves the finished file to its path.</summary>
    public void Commit()
    {
        Stream.Dispose();
        File.Move(_temporary, _path, overwrite: true);
        _committed = true;
    }

    public void Dispose()
    {
        Stream.Dispose();
        if (!_committed) File.Delete(_temporary);
    }
}
