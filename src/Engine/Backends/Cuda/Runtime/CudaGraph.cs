namespace Foretoken.Backends.Cuda;

/// <summary>Work recorded from a stream, which the driver enqueues with one call. Addresses and sizes are those of the recording.</summary>
internal sealed class CudaGraph : CudaResource
{
    private readonly nint _executable;

    private CudaGraph(CudaDevice device, nint executable)
        : base(device, CudaHandleKind.ExecutableGraph) => _executable = executable;

    /// <summary>Records what <paramref name="work"/> enqueues in <paramref name="stream"/>. Nothing of it runs. Kernels must have been loaded before.</summary>
    /// <exception cref="CudaException">The work does something that cannot be recorded, or the driver refuses the graph.</exception>
    public static CudaGraph Capture(CudaStream stream, Action<CudaStream> work)
    {
        CudaDriver driver = stream.Device.Driver;
        driver.StreamBeginCapture(stream.Handle, CudaCaptureMode.ThreadLocal);
        nint graph;
        try
        {
            work(stream);
        }
        catch
        {
            // the recording must end, or the stream could not be used any more
            if (driver.StreamEndCapture(stream.Handle, out graph) == CudaResult.Success && graph != 0) _ = driver.GraphDestroy(graph);
            throw;
        }

        CudaResult ended = driver.StreamEndCapture(stream.Handle, out graph);
        if (ended != CudaResult.Success) throw driver.Error(ended, "cuStreamEndCapture");
        try
        {
            driver.GraphInstantiate(out nint executable, graph, 0);
            return new CudaGraph(stream.Device, executable);
        }
        finally
        {
            _ = driver.GraphDestroy(graph); // the executable graph does not need it
        }
    }

    /// <summary>Enqueues all that was recorded.</summary>
    public void Launch(CudaStream stream) => Driver.GraphLaunch(_executable, stream.Handle);

    protected override CudaResult Free() => Driver.GraphExecDestroy(_executable);
}
