namespace Foretoken.Backends.Cuda;

/// <summary>
/// A device with its primary context and its compiled kernels. Everything made from it is counted and freed with it. Used by one thread at a time;
/// <see cref="MakeCurrent"/> first when the thread may have changed.
/// </summary>
internal sealed unsafe class CudaDevice : IDisposable
{
    private readonly LinkedList<CudaResource> _resources = [];
    private readonly int[] _live = new int[Enum.GetValues<CudaHandleKind>().Length];
    private readonly nint _context;
    private bool _disposed;

    private CudaDevice(CudaDriver driver, CudaDeviceInfo info)
    {
        (Driver, Info) = (driver, info);
        driver.DevicePrimaryCtxRetain(out _context, info.Handle);
        _live[(int)CudaHandleKind.Context]++;
    }

    public CudaDriver Driver { get; }

    public CudaDeviceInfo Info { get; }

    /// <summary>The kernels, compiled for this device.</summary>
    public CudaKernels Kernels { get; private set; } = CudaKernels.None;

    /// <summary>Opens a device and compiles its kernels.</summary>
    /// <param name="platform">Must be usable.</param>
    /// <param name="ordinal">Number of the device.</param>
    /// <param name="modules">Modules to load; null = all.</param>
    /// <exception cref="CudaUnavailableException">There is no such device, or it is too old.</exception>
    /// <exception cref="CudaException">The driver refused a call; its log of the compilation is part of the message.</exception>
    public static CudaDevice Open(CudaPlatform platform, int ordinal = 0, IReadOnlyCollection<string>? modules = null)
    {
        CudaDeviceInfo info = platform.Require(ordinal);
        var device = new CudaDevice(platform.Driver!, info);
        try
        {
            device.MakeCurrent();
            device.Kernels = CudaKernels.Load(device, modules);
            return device;
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <summary>Makes the context current on the calling thread; every thread that calls the driver needs it.</summary>
    public void MakeCurrent() => Driver.CtxSetCurrent(_context);

    /// <summary>Handles of a kind that are not freed.</summary>
    public int Live(CudaHandleKind kind) => _live[(int)kind];

    /// <summary>Bytes that nobody uses at present.</summary>
    public long FreeBytes()
    {
        Driver.MemGetInfo(out nuint free, out _);
        return checked((long)free);
    }

    /// <summary>Frees everything that was made from the device, newest first, and then its context.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        while (_resources.Last is { } last) last.Value.Dispose();
        _ = Driver.DevicePrimaryCtxRelease(Info.Handle);
        _live[(int)CudaHandleKind.Context]--;
    }

    internal LinkedListNode<CudaResource> Adopt(CudaResource resource)
    {
        _live[(int)resource.Kind]++;
        return _resources.AddLast(resource);
    }

    internal void Release(LinkedListNode<CudaResource> node, Func<CudaResult> free)
    {
        _resources.Remove(node);
        _live[(int)node.Value.Kind]--;
        try
        {
            MakeCurrent();
        }
        catch (CudaException)
        {
            // the context may be gone, and with it everything that belonged to it; if it is not, freeing still works where it was current before
        }

        _ = free();
    }
}
