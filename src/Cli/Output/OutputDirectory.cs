namespace Foretoken.Cli.Output;

/// <summary>
/// A folder that appears whole or not at all: filled beside its final path under a temporary name, moved into place by <see cref="Commit"/>, and deleted otherwise.
/// It must not exist before, or be empty.
/// </summary>
internal sealed class OutputDirectory : IDisposable
{
    private readonly string _final;
    private bool _committed;

    private OutputDirectory(string final, string temporary) => (_final, Path) = (final, temporary);

    /// <summary>Where to write.</summary>
    public string Path { get; }

    /// <summary>Makes the temporary folder.</summary>
    /// <param name="path">Final path.</param>
    /// <param name="name">The flag or argument that named it, for messages.</param>
    /// <exception cref="RunException">Something is there already, or the folder above cannot be written.</exception>
    public static OutputDirectory Create(string path, string name)
    {
        string full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        if (File.Exists(full)) throw new RunException($"{path}: {name} names a file: give the path of a new folder.");
        if (Directory.Exists(full) && Directory.EnumerateFileSystemEntries(full).Any())
            throw new RunException($"{path}: {name} names a folder that is not empty: give the path of a new one, so that no file is mixed with older ones.");
        string temporary = $"{full}.{Environment.ProcessId}.tmp";
        try
        {
            if (!Directory.Exists(System.IO.Path.GetDirectoryName(full))) throw new DirectoryNotFoundException($"the folder {System.IO.Path.GetDirectoryName(full)} does not exist");
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
            Directory.CreateDirectory(temporary);
            return new OutputDirectory(full, temporary);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RunException($"{path}: {name} cannot be written ({e.Message.TrimEnd('.')}). Choose a folder that exists and that you may write to.", e);
        }
    }

    /// <summary>Moves the finished folder to its path.</summary>
    public void Commit()
    {
        if (Directory.Exists(_final)) Directory.Delete(_final); // empty, or it fails
        Directory.Move(Path, _final);
        _committed = true;
    }

    public void Dispose()
    {
        if (!_committed && Directory.Exists(Path)) Directory.Delete(Path, recursive: true);
    }
}
