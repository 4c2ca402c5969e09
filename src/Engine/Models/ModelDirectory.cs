using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>Finds a model: a GGUF file, a plain directory, or one of the Hugging Face cache.</summary>
public static class ModelDirectory
{
    /// <summary>
    /// Accepts a GGUF file, which is its own result, a directory with config.json, a file in such a directory, a cache entry (<c>models--OWNER--NAME</c> with its snapshots), or
    /// <c>OWNER/NAME</c>, which is looked up in <c>HF_HUB_CACHE</c>, <c>HF_HOME/hub</c> or <c>~/.cache/huggingface/hub</c>. Nothing is downloaded.
    /// </summary>
    /// <exception cref="ModelFormatException">There is no model.</exception>
    public static string Resolve(string path)
    {
        if (File.Exists(path))
        {
            if (GgufFile.IsGguf(path)) return path;
            string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
            return File.Exists(Path.Combine(folder, "config.json")) ? folder
                : throw new ModelFormatException(path, "file", "is neither a GGUF file nor in a directory with a config.json", "Give a GGUF file, or the directory that holds config.json and model.safetensors.");
        }

        if (Directory.Exists(path)) return Snapshot(path) ?? path;
        if (path.Split('/') is [{ Length: > 0 } owner, { Length: > 0 } name] && owner != "." && owner != "..")
        {
            string entry = Path.Combine(CacheRoot(), $"models--{owner}--{name}");
            if (Directory.Exists(entry))
                return Snapshot(entry) ?? throw new ModelFormatException(entry, "snapshots", "is empty", "Download the model again.");
        }

        throw new ModelFormatException(path, "model", "does not exist", "Give a GGUF file, or the directory that holds config.json and model.safetensors.");
    }

    /// <summary>The snapshot that refs/main names, else the newest; null where the directory is not a cache entry.</summary>
    private static string? Snapshot(string directory)
    {
        string snapshots = Path.Combine(directory, "snapshots"), main = Path.Combine(directory, "refs", "main");
        if (File.Exists(Path.Combine(directory, "config.json")) || !Directory.Exists(snapshots)) return null;
        if (File.Exists(main))
        {
            string named = Path.Combine(snapshots, Path.GetFileName(File.ReadAllText(main).Trim()));
            if (Directory.Exists(named)) return named;
        }

        return Directory.EnumerateDirectories(snapshots).OrderByDescending(Directory.GetLastWriteTimeUtc).FirstOrDefault();
    }

    private static string CacheRoot()
    {
        if (Environment.GetEnvironmentVariable("HF_HUB_CACHE") is { Length: > 0 } cache) return cache;
        string home = Environment.GetEnvironmentVariable("HF_HOME") is { Length: > 0 } given
            ? given
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache", "huggingface");
        return Path.Combine(home, "hub");
    }
}
