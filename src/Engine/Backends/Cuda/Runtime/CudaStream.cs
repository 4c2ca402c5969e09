using Foretoken.Backends.Cuda.Kernels;

namespace Foretoken.Backends.Cuda;

/// <summary>A queue of work of a device. Streams run independently of each other and of the legacy default stream.</summary>
internal sealed unsafe class CudaStream : CudaResource
{
    private CudaStream(CudaDevice device, nint handle)
        : base(device, CudaHandleKind.Stream) => Handle = handle;

    public nint Handle { get; }

    public static CudaStream Create(CudaDevice device)
    {
        device.Driver.StreamCreate(out nint handle, CudaStreamFlags.NonBlocking);
        return new CudaStream(device, handle);
    }

    /// <summary>Enqueues a kernel of <see cref="KernelRegistry"/>; called by the generated launch structs.</summary>
    /// <param name="kernel">Its number in the registry.</param>
    /// <param name="grid">Blocks.</param>
    /// <param name="block">Threads of a block.</param>
    /// <param name="sharedBytes">Shared memory of a block beside what the kernel declares.</param>
    /// <param name="options">Cooperative or dependent launches.</param>
    /// <param name="arguments">One address per parameter; the values are copied before the call returns.</param>
    /// <exception cref="CudaException">The driver refuses the launch. Errors of the kernel itself surface at a later call.</exception>
    public void Launch(int kernel, Dim3 grid, Dim3 block, uint sharedBytes, CudaLaunchOptions options, void** arguments)
    {
        nint function = Device.Kernels.Function(kernel);
        if (options != CudaLaunchOptions.None)
        {
            LaunchWith(kernel, function, grid, block, sharedBytes, options, arguments);
            return;
        }

        CudaResult result = Driver.LaunchKernel(function, grid.X, grid.Y, grid.Z, block.X, block.Y, block.Z, sharedBytes, Handle, arguments, null);
        if (result != CudaResult.Success) throw Refused(result, "cuLaunchKernel", kernel, grid, block, sharedBytes);
    }

    /// <summary>Copies from the host; the source must be pinned and stay as it is until the copy has run.</summary>
    public void Upload<T>(PinnedBuffer source, long offset, DevicePointer<T> destination, long bytes)
        where T : unmanaged
    {
        source.Check(offset, bytes);
        Driver.MemcpyHtoDAsync(destination.Address, source.Pointer + offset, (nuint)bytes, Handle);
    }

    /// <summary>Copies to the host; the bytes are there after <see cref="Synchronize"/> or an event behind this.</summary>
    public void Download<T>(DevicePointer<T> source, PinnedBuffer destination, long offset, long bytes)
        where T : unmanaged
    {
        destination.Check(offset, bytes);
        Driver.MemcpyDtoHAsync(destination.Pointer + offset, source.Address, (nuint)bytes, Handle);
    }

    /// <summary>Copies <paramref name="count"/> elements within the device.</summary>
    public void Copy<T>(DevicePointer<T> source, DevicePointer<T> destination, long count)
        where T : unmanaged => Driver.MemcpyDtoDAsync(destination.Address, source.Address, checked((nuint)(count * sizeof(T))), Handle);

    /// <summary>Sets every byte.</summary>
    public void Fill<T>(DevicePointer<T> destination, byte value, long count)
        where T : unmanaged => Driver.MemsetD8Async(destination.Address, value, checked((nuint)(count * sizeof(T))), Handle);

    /// <summary>Waits for all work. Errors of kernels surface here.</summary>
    public void Synchronize() => Driver.StreamSynchronize(Handle);

    protected override CudaResult Free() => Driver.StreamDestroy(Handle);

    private void LaunchWith(int kernel, nint function, Dim3 grid, Dim3 block, uint sharedBytes, CudaLaunchOptions options, void** arguments)
    {
        CudaLaunchAttribute* attributes = stackalloc CudaLaunchAttribute[2];
        uint count = 0;
        if (options.HasFlag(CudaLaunchOptions.Cooperative))
            attributes[count++] = new CudaLaunchAttribute { Id = CudaLaunchAttributeId.Cooperative, Value = 1 };
        if (options.HasFlag(CudaLaunchOptions.ProgrammaticSerialization))
            attributes[count++] = new CudaLaunchAttribute { Id = CudaLaunchAttributeId.ProgrammaticStreamSerialization, Value = 1 };
        var config = new CudaLaunchConfig
        {
            GridX = grid.X,
            GridY = grid.Y,
            GridZ = grid.Z,
            BlockX = block.X,
            BlockY = block.Y,
            BlockZ = block.Z,
            SharedBytes = sharedBytes,
            Stream = Handle,
            Attributes = attributes,
            AttributeCount = count,
        };
        CudaResult result = Driver.LaunchKernelEx(&config, function, arguments, null);
        if (result != CudaResult.Success) throw Refused(result, "cuLaunchKernelEx", kernel, grid, block, sharedBytes);
    }

    private CudaException Refused(CudaResult result, string call, int kernel, Dim3 grid, Dim3 block, uint sharedBytes) => Driver.Error(
        result, call, FormattableString.Invariant($"Kernel {KernelRegistry.All[kernel].EntryPoint}, grid {grid}, block {block}, {sharedBytes} bytes of shared memory."));
}
