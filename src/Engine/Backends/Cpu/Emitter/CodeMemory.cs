using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cpu.Emitter;

/// <summary>
/// Pages with machine code. They are writable first and executable afterwards, never both: a system that forbids even that change makes the emitter
/// unavailable, and the engine runs without it. The pages stay until the process ends, as function pointers into them have no owner.
/// </summary>
internal static unsafe partial class CodeMemory
{
    private const int ProtRead = 1, ProtWrite = 2, ProtExecute = 4, MapPrivateAnonymous = 0x22;

    /// <summary>Copies <paramref name="code"/> into pages of its own and makes them executable.</summary>
    /// <returns>The first byte, page-aligned; null if the system refuses.</returns>
    public static byte* TryInstall(ReadOnlySpan<byte> code)
    {
        nuint page = (nuint)Environment.SystemPageSize, bytes = ((nuint)code.Length + page - 1) / page * page;
        nint memory = Mmap(0, bytes, ProtRead | ProtWrite, MapPrivateAnonymous, -1, 0);
        if (memory == -1) return null;
        code.CopyTo(new Span<byte>((void*)memory, code.Length));
        if (Mprotect(memory, bytes, ProtRead | ProtExecute) == 0) return (byte*)memory;
        _ = Munmap(memory, bytes);
        return null;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Mprotect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Munmap(nint address, nuint length);
}
