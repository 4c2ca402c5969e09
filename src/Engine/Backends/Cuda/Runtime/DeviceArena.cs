using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>
/// All memory of a model on a device: one allocation, made before any kernel runs, from which buffers are cut in the order of loading. Nothing grows
/// afterwards. Every buffer is an entry of the memory plan.
/// </summary>
internal sealed unsafe class DeviceArena : CudaResource
{
    /// <summary>Every buffer begins at a multiple of this: whole sectors and cache lines, and more than any vector access asks for.</summary>
    public const int Alignment = 256;

    private readonly ulong _base;
    private readonly MemoryPlan _plan;

    private DeviceArena(CudaDevice device, ulong address, long bytes, MemoryPlan plan)
        : base(device, CudaHandleKind.DeviceMemory) => (_base, Bytes, _plan) = (address, bytes, plan);

    public long Bytes { get; }

    /// <summary>Bytes that buffers take, padding included.</summary>
    public long Used { get; private set; }

    /// <summary>Bytes that a buffer takes of an arena.</summary>
    public static long Padded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    /// <summary>Allocates the arena.</summary>
    /// <param name="device">Whose memory it is.</param>
    /// <param name="bytes">Its size: what the buffers take, each <see cref="Padded"/>.</param>
    /// <param name="purpose">What it is for: the subject of the message when it does not fit.</param>
    /// <param name="plan">Receives one entry per buffer.</param>
    /// <exception cref="OutOfMemoryBudgetException">The device has no such memory.</exception>
    public static DeviceArena Allocate(CudaDevice device, long bytes, string purpose, MemoryPlan plan)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1);
        long free = device.FreeBytes();
        if (bytes > free) throw DoesNotFit(device, bytes, free, purpose, null);
        try
        {
            device.Driver.MemAlloc(out ulong address, (nuint)bytes);
            return new DeviceArena(device, address, bytes, plan);
        }
        catch (CudaException e) when ((CudaResult)e.Result == CudaResult.OutOfMemory)
        {
            throw DoesNotFit(device, bytes, free, purpose, e);
        }
    }

    /// <summary>Cuts a buffer of <paramref name="count"/> elements. Its content is not set.</summary>
    /// <inheritdoc cref="MemoryPlan.Add"/>
    /// <exception cref="OutOfMemoryBudgetException">More is asked for than was planned.</exception>
    public DevicePointer<T> Take<T>(string group, string name, string shape, long count)
        where T : unmanaged
    {
        ThrowIfDisposed();
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 0);
        long bytes = checked(count * sizeof(T));
        if (bytes > Bytes - Used)
        {
            throw new OutOfMemoryBudgetException(FormattableString.Invariant(
                $"{group}/{name} {shape} needs {bytes:N0} bytes, and {Bytes - Used:N0} of the {Bytes:N0} bytes planned on CUDA device {Device.Info.Ordinal} are left."));
        }

        var pointer = new DevicePointer<T>(_base + (ulong)Used);
        Used = Math.Min(Bytes, Used + Padded(bytes));
        _plan.Add(group, name, shape, bytes);
        return pointer;
    }

    protected override CudaResult Free() => Driver.MemFree(_base);

    private static OutOfMemoryBudgetException DoesNotFit(CudaDevice device, long bytes, long free, string purpose, Exception? inner) => new(
        FormattableString.Invariant($"{purpose} needs {bytes:N0} bytes on CUDA device {device.Info.Ordinal} ({device.Info.Name}), and {free:N0} of its ")
        + FormattableString.Invariant($"{device.Info.Capabilities.TotalBytes:N0} bytes are free. Use a smaller model or context, the weight type int8, or a smaller KV budget."),
        inner);
}
