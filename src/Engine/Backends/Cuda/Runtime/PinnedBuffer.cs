using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>Host memory that the device copies from and to directly; copies of other memory would wait for the device.</summary>
internal sealed unsafe class PinnedBuffer : CudaResource
{
    private PinnedBuffer(CudaDevice device, byte* pointer, long bytes)
        : base(device, CudaHandleKind.HostMemory)
    {
        Pointer = pointer;
        Bytes = bytes;
    }

    public byte* Pointer { get; }

    public long Bytes { get; }

    /// <summary>Allocates; the content is not set.</summary>
    /// <exception cref="OutOfMemoryBudgetException">The host has no such memory to pin.</exception>
    public static PinnedBuffer Allocate(CudaDevice device, string group, string name, string shape, long bytes, MemoryPlan plan)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1);
        try
        {
            device.Driver.MemHostAlloc(out void* pointer, (nuint)bytes, CudaHostAllocFlags.Portable);
            var buffer = new PinnedBuffer(device, (byte*)pointer, bytes);
            plan.Add(group, name, shape, bytes);
            return buffer;
        }
        catch (CudaException e) when ((CudaResult)e.Result == CudaResult.OutOfMemory)
        {
            throw new OutOfMemoryBudgetException(
                FormattableString.Invariant($"{group}/{name} {shape} needs {bytes:N0} bytes of pinned host memory, and the system gives no more. Use a smaller batch."), e);
        }
    }

    /// <summary>The elements from byte <paramref name="offset"/> on.</summary>
    public Span<T> Span<T>(long offset, int count)
        where T : unmanaged
    {
        Check(offset, (long)count * sizeof(T));
        return new Span<T>(Pointer + offset, count);
    }

    /// <summary>Refuses a range that is not inside.</summary>
    public void Check(long offset, long bytes)
    {
        ThrowIfDisposed();
        if (offset < 0 || bytes < 0 || offset > Bytes - bytes)
            throw new ArgumentOutOfRangeException(nameof(bytes), FormattableString.Invariant($"[{offset}, +{bytes}) is outside a pinned buffer of {Bytes} bytes."));
    }

    protected override CudaResult Free() => Driver.MemFreeHost(Pointer);
}
