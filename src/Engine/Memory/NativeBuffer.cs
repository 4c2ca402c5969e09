using System.Runtime.InteropServices;

namespace Foretoken.Memory;

/// <summary>
/// Zeroed anonymous memory outside the managed heap, aligned to at least 64 bytes. Large buffers are mapped with huge-page advice where the
/// system offers it: weights streamed once per step are limited by address translation otherwise. Elsewhere the managed allocator serves.
/// </summary>
public sealed unsafe partial class NativeBuffer : IDisposable
{
    private const long HugePage = 2 << 20;
    private const int ProtReadWrite = 3, MapPrivateAnonymous = 0x22, AdviseHugePage = 14;
    [ThreadStatic]
    private static long t_allocated;

    private readonly long _mappedBytes; // 0: the managed allocator's memory
    private byte* _mapping;

    private NativeBuffer(long bytes)
    {
        Bytes = bytes;
        t_allocated += Math.Max(bytes, 1);
        if (OperatingSystem.IsLinux() && bytes >= HugePage && TryMap(bytes + HugePage, out _mapping))
        {
            _mappedBytes = bytes + HugePage;
            Pointer = (byte*)(((nint)_mapping + HugePage - 1) & ~(nint)(HugePage - 1));
            _ = Madvise((nint)Pointer, (nuint)bytes, AdviseHugePage); // advice only: a refusal costs speed, not correctness
            return;
        }

        _mapping = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 64), 64);
        NativeMemory.Clear(_mapping, (nuint)bytes);
        Pointer = _mapping;
    }

    /// <summary>Frees what was never disposed, so that a model that failed to load leaks nothing.</summary>
    ~NativeBuffer() => Free();

    /// <summary>Bytes of all buffers that the calling thread has allocated since it started, those that were freed too; an empty one counts as a byte.</summary>
    internal static long AllocatedBytesForCurrentThread => t_allocated;

    /// <summary>First byte; 64-byte aligned.</summary>
    public byte* Pointer { get; private set; }

    /// <summary>Bytes that were asked for.</summary>
    public long Bytes { get; }

    /// <summary>Allocates zeroed memory.</summary>
    /// <exception cref="OutOfMemoryBudgetException">The system has no such memory.</exception>
    public static NativeBuffer Allocate(long bytes, string purpose)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        try
        {
            return new NativeBuffer(bytes);
        }
        catch (OutOfMemoryException e)
        {
            throw new OutOfMemoryBudgetException($"{purpose} needs {bytes:N0} bytes and the system has none left: use a smaller model, context or KV budget.", e);
        }
    }

    /// <summary>The elements from byte <paramref name="offset"/> on.</summary>
    public Span<T> Span<T>(long offset, int count)
        where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(Pointer is null, this);
        if (offset < 0 || count < 0 || offset + (long)count * sizeof(T) > Bytes)
            throw new ArgumentOutOfRangeException(nameof(count), $"[{offset}, +{count}·{sizeof(T)}) is outside a buffer of {Bytes} bytes.");
        return new Span<T>(Pointer + offset, count);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (_mapping is null) return;
        if (_mappedBytes != 0) _ = Munmap((nint)_mapping, (nuint)_mappedBytes);
        else NativeMemory.AlignedFree(_mapping);
        _mapping = null;
        Pointer = null;
    }

    private static bool TryMap(long bytes, out byte* mapping)
    {
        mapping = null;
        try
        {
            nint address = Mmap(0, (nuint)bytes, ProtReadWrite, MapPrivateAnonymous, -1, 0);
            if (address == -1) return false;
            mapping = (byte*)address;
            return true;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Munmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Madvise(nint address, nuint length, int advice);
}
