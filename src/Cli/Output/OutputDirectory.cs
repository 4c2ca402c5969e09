namespace Foretoken.Cli.Output;

/// <summary>
/// A folder that appears whole or not at all: filled beside its final path under a temporary name, moved into place by <see cref="Commit"/>, and deleted otherwise.
/// It must not exist before, or be empty.
/// </summary>
internal sealed class OutputDirectory : IDisposable
{
    private readonly string _given, _name, _final;
    private bool _committed;

    private OutputDirectory(string given, string name, string final, string temporary) => (_given, _name, _final, Path) = (given, name, final, temporary);

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
        string temporary = $"{full}.{System.IO.Path.GetRandomFileName()}.tmp"; // processes of several containers may have the same number
        try
        {
            if (!Directory.Exists(System.IO.Path.GetDirectoryName(full))) throw new DirectoryNotFoundException($"the folder {System.IO.Path.GetDirectoryName(full)} does not exist");
            Directory.CreateDirectory(temporary);
            return new OutputDirectory(path, name, full, temporary);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RunException($"{path}: {name} cannot be written ({e.Message.TrimEnd('.')}). Choose a folder that exists and that you may write to.", e);
        }
    }

    /// <summary>Moves the finished folder to its path.</summary>
    /// <exception cref="RunException">Somebody else has put something there in the meantime.</exception>
    public void Commit()
    {
        try
        {
            if (Directory.Exists(_final)) Directory.Delete(_final); // empty, or it fails
            Directory.Move(Path, _final);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RunException($"{_given}: {_name} was free at the start and cannot be written any more ({e.Message.TrimEnd('.')}): another process may have written there. Give the path of a new folder.", e);
        }

        _committed = true;
    }

    public void Dispose()
    {
        if (!_committed && Directory.Exists(Path)) Directory.Delete(Path, recursive: true);
    }
}
