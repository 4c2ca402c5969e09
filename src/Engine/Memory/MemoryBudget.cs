using System.Buffers.Text;

namespace Foretoken.Memory;

/// <summary>
/// What fits into the machine. Systems hand out more memory than they have and end the process when it is used: what cannot fit is refused before.
/// </summary>
public static class MemoryBudget
{
    /// <summary>Bytes of memory that the machine has, whoever uses them.</summary>
    public static long MachineBytes { get; } = ReadMachineBytes();

    /// <summary>Refuses what the machine cannot hold.</summary>
    /// <param name="purpose">What the memory is for: the subject of the message.</param>
    /// <param name="bytes">Bytes that it needs.</param>
    /// <param name="available">Bytes that there are.</param>
    /// <param name="remedy">What the user can do, as a sentence.</param>
    /// <exception cref="OutOfMemoryBudgetException">They do not fit.</exception>
    public static void Require(string purpose, long bytes, long available, string remedy)
    {
        if (bytes > available)
            throw new OutOfMemoryBudgetException(FormattableString.Invariant($"{purpose} {bytes:N0} bytes, and the machine has {available:N0}. {remedy}"));
    }

    /// <summary>The collector's own figure may be the limit of the managed heap, to which weights do not belong.</summary>
    private static long ReadMachineBytes()
    {
        const string memInfo = "/proc/meminfo", key = "MemTotal:";
        if (OperatingSystem.IsLinux() && File.Exists(memInfo)
            && File.ReadLines(memInfo).FirstOrDefault(l => l.StartsWith(key, StringComparison.Ordinal)) is { } line
            && Utf8Parser.TryParse(System.Text.Encoding.ASCII.GetBytes(line[key.Length..].Trim()), out long kibibytes, out _))
        {
            return kibibytes * 1024;
        }

        return GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
    }
}
