namespace Foretoken.Backends.Cuda;

/// <summary>A point in a stream that others can wait for.</summary>
internal sealed class CudaEvent : CudaResource
{
    private CudaEvent(CudaDevice device, nint handle)
        : base(device, CudaHandleKind.Event) => Handle = handle;

    public nint Handle { get; }

    /// <param name="device">Where it is recorded.</param>
    /// <param name="timing">Whether <see cref="MillisecondsSince"/> is wanted; without, the event is cheaper.</param>
    public static CudaEvent Create(CudaDevice device, bool timing = false)
    {
        device.Driver.EventCreate(out nint handle, timing ? CudaEventFlags.None : CudaEventFlags.DisableTiming);
        return new CudaEvent(device, handle);
    }

    /// <summary>Puts the event behind what is enqueued in the stream.</summary>
    public void Record(CudaStream stream) => Driver.EventRecord(Handle, stream.Handle);

    /// <summary>Waits on this thread.</summary>
    public void Synchronize() => Driver.EventSynchronize(Handle);

    /// <summary>Time between two events that have happened, both made with timing.</summary>
    public float MillisecondsSince(CudaEvent start)
    {
        Driver.EventElapsedTime(out float milliseconds, start.Handle, Handle);
        return milliseconds;
    }

    protected override CudaResult Free() => Driver.EventDestroy(Handle);
}
