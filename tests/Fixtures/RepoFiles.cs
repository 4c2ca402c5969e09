using System.Buffers.Binary;

namespace Foretoken.Tests.Fixtures;

/// <summary>Files of the repository, found from wherever the tests were built to.</summary>
public static class RepoFiles
{
    /// <summary>The directory that holds Engine.sln.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>A path below the parity fixtures.</summary>
    public static string Parity(params string[] parts) => Path.Combine([Root, "tests", "Fixtures", "parity", .. parts]);

    public static int[] ReadInt32(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        return [.. Enumerable.Range(0, bytes.Length / 4).Select(i => BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(4 * i)))];
    }

    public static float[] ReadSingle(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        return [.. Enumerable.Range(0, bytes.Length / 4).Select(i => BinaryPrimitives.ReadSingleLittleEndian(bytes.AsSpan(4 * i)))];
    }

    private static string FindRoot()
    {
        string? directory = AppContext.BaseDirectory;
        while (directory is not null && !File.Exists(Path.Combine(directory, "Engine.sln"))) directory = Path.GetDirectoryName(directory);
        return directory ?? throw new DirectoryNotFoundException("Engine.sln is not above the tests.");
    }
}
