namespace Foretoken.Cli.Output;

/// <summary>
/// A file that appears whole or not at all: written beside its final path under a temporary name, moved into place by <see cref="Commit"/>, and
/// deleted otherwise, so that a failure or Ctrl-C leaves no partial file. A link is followed to the file that it names. Devices and pipes, which a
/// move would replace by a file, are written in place.
/// </summary>
internal sealed class OutputFile : IDisposable
{
    private readonly string _path;
    private readonly string? _temporary; // null: written in place
    private readonly bool _seeks;
    private bool _committed;

    private OutputFile(string name, string path, string? temporary, FileStream stream)
    {
        Name = name;
        _path = path;
        _temporary = temporary;
        Stream = stream;
        _seeks = stream.CanSeek;
    }

    public FileStream Stream { get; }

    /// <summary>As the flag gave it.</summary>
    public string Name { get; }

    /// <summary>Opens the file.</summary>
    /// <param name="path">Final path.</param>
    /// <param name="flag">The flag that named it, for messages.</param>
    /// <exception cref="RunException">The path is a folder, its folder does not exist or cannot be written.</exception>
    public static OutputFile Create(string path, string flag)
    {
        if (Directory.Exists(path)) throw new RunException($"{path}: {flag} names a folder: give the path of a file.");
        string full = Path.GetFullPath(path);
        try
        {
            if (OpenInPlace(full) is { } stream) return new OutputFile(path, full, null, stream);
            if (new FileInfo(full) is { LinkTarget: not null } link) full = link.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? full;
            string temporary = $"{full}.{Environment.ProcessId}.tmp";
            return new OutputFile(path, full, temporary, new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16));
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
        if (_temporary is not null) File.Move(_temporary, _path, overwrite: true);
        _committed = true;
    }

    public void Dispose()
    {
        try
        {
            Stream.Dispose();
        }
        finally
        {
            if (!_committed && _temporary is not null) File.Delete(_temporary);
            else if (!_committed && _seeks) Empty(_path);
        }
    }

    /// <summary>Makes a file what it was before it was written in place. A device has no length to cut; a pipe, which may have no reader any more, must not be opened.</summary>
    private static void Empty(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        if (stream.Length > 0) stream.SetLength(0);
    }

    /// <summary>
    /// The path's stream where something of length 0 exists that may be a device or a pipe (the base library does not tell them from an empty file, for
    /// which writing in place is right too); otherwise null. Opening also shows whether an existing file may be written at all.
    /// </summary>
    private static FileStream? OpenInPlace(string path)
    {
        if (!File.Exists(path)) return null;
        var stream = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 1 << 16);
        if (!stream.CanSeek || stream.Length == 0) return stream;
        stream.Dispose();
        return null;
    }
}
