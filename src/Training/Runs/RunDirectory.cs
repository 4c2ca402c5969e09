namespace Foretoken.Training;

/// <summary>The output directory of a run, held for one process: two that wrote checkpoints side by side would each resume from the other's.</summary>
internal static class RunDirectory
{
    /// <summary>Open without sharing while the run lasts; the system lets go of it with the process, however that ends.</summary>
    public const string LockFile = "lock";

    /// <summary>Makes the directory, if need be, and holds it until the result is disposed.</summary>
    /// <exception cref="RecipeException">It cannot be made, or another run holds it.</exception>
    public static IDisposable Enter(string path)
    {
        string file = Path.Combine(path, LockFile);
        try
        {
            Directory.CreateDirectory(path);
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 1, FileOptions.DeleteOnClose);
        }
        catch (IOException exception) when (File.Exists(file))
        {
            throw new RecipeException($"{path}: another run writes to this directory ({exception.Message.TrimEnd('.')}); wait for its end, or give another --out.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new RecipeException($"{path}: the output directory cannot be made or written ({exception.Message.TrimEnd('.')}); give an --out that you may write to.");
        }
    }
}
