namespace Foretoken.Backends.Cuda;

/// <summary>What a device hands out and wants back.</summary>
internal enum CudaHandleKind
{
    Context,
    Module,
    Stream,
    Event,
    Graph,
    ExecutableGraph,
    DeviceMemory,
    HostMemory,
}

/// <summary>
/// A handle of the driver. Its device counts it and frees what was not freed before when it is disposed itself, newest first, so that nothing leaks when the
/// construction of something larger fails half-way. Freeing never throws: after the loss of a device every call fails, and the context's end frees all.
/// </summary>
internal abstract class CudaResource : IDisposable
{
    private readonly LinkedListNode<CudaResource> _node;
    private bool _freed;

    protected CudaResource(CudaDevice device, CudaHandleKind kind)
    {
        (Device, Kind) = (device, kind);
        _node = device.Adopt(this);
    }

    public CudaDevice Device { get; }

    public CudaHandleKind Kind { get; }

    protected CudaDriver Driver => Device.Driver;

    public void Dispose()
    {
        if (_freed) return;
        _freed = true;
        Device.Release(_node, Free);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the handle back.</summary>
    protected abstract CudaResult Free();

    protected void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_freed, this);
}
