namespace Foretoken.Backends.Cuda;

/// <summary>
/// The functions of the CUDA driver that the engine calls, with the names of their exports (CUDA driver API reference). A method that returns nothing
/// throws <see cref="CudaException"/> unless the driver answers success; the few that return the result are for releases, which must not throw,
/// and for launches, whose errors name the kernel. Handles are <c>nint</c>, device addresses <c>ulong</c>, names and texts end with NUL.
/// </summary>
[NativeTable(typeof(CudaResult), "libcuda.so.1", "nvcuda.dll")]
internal sealed unsafe partial class CudaDriver
{
    [NativeFunction("cuInit")]
    public partial void Init(uint flags);

    /// <param name="version">1000·major + 10·minor of the newest CUDA that the driver runs.</param>
    [NativeFunction("cuDriverGetVersion")]
    public partial void DriverGetVersion(out int version);

    [NativeFunction("cuGetErrorName")]
    public partial CudaResult GetErrorName(CudaResult error, out byte* name);

    [NativeFunction("cuGetErrorString")]
    public partial CudaResult GetErrorString(CudaResult error, out byte* text);

    [NativeFunction("cuDeviceGetCount")]
    public partial void DeviceGetCount(out int count);

    [NativeFunction("cuDeviceGet")]
    public partial void DeviceGet(out int device, int ordinal);

    [NativeFunction("cuDeviceGetName")]
    public partial void DeviceGetName(byte* name, int length, int device);

    [NativeFunction("cuDeviceGetPCIBusId")]
    public partial void DeviceGetPciBusId(byte* id, int length, int device);

    [NativeFunction("cuDeviceGetAttribute")]
    public partial void DeviceGetAttribute(out int value, CudaDeviceAttribute attribute, int device);

    [NativeFunction("cuDeviceTotalMem_v2")]
    public partial void DeviceTotalMem(out nuint bytes, int device);

    [NativeFunction("cuDevicePrimaryCtxRetain")]
    public partial void DevicePrimaryCtxRetain(out nint context, int device);

    [NativeFunction("cuDevicePrimaryCtxRelease_v2")]
    public partial CudaResult DevicePrimaryCtxRelease(int device);

    /// <summary>Makes a context current on the calling thread. Retaining one does not.</summary>
    [NativeFunction("cuCtxSetCurrent")]
    public partial void CtxSetCurrent(nint context);

    [NativeFunction("cuMemGetInfo_v2")]
    public partial void MemGetInfo(out nuint free, out nuint total);

    [NativeFunction("cuMemAlloc_v2")]
    public partial void MemAlloc(out ulong pointer, nuint bytes);

    [NativeFunction("cuMemFree_v2")]
    public partial CudaResult MemFree(ulong pointer);

    [NativeFunction("cuMemHostAlloc")]
    public partial void MemHostAlloc(out void* pointer, nuint bytes, CudaHostAllocFlags flags);

    [NativeFunction("cuMemFreeHost")]
    public partial CudaResult MemFreeHost(void* pointer);

    [NativeFunction("cuMemcpyHtoDAsync_v2")]
    public partial void MemcpyHtoDAsync(ulong destination, void* source, nuint bytes, nint stream);

    [NativeFunction("cuMemcpyDtoHAsync_v2")]
    public partial void MemcpyDtoHAsync(void* destination, ulong source, nuint bytes, nint stream);

    [NativeFunction("cuMemcpyDtoDAsync_v2")]
    public partial void MemcpyDtoDAsync(ulong destination, ulong source, nuint bytes, nint stream);

    [NativeFunction("cuMemsetD8Async")]
    public partial void MemsetD8Async(ulong destination, byte value, nuint bytes, nint stream);

    [NativeFunction("cuStreamCreate")]
    public partial void StreamCreate(out nint stream, CudaStreamFlags flags);

    [NativeFunction("cuStreamDestroy_v2")]
    public partial CudaResult StreamDestroy(nint stream);

    [NativeFunction("cuStreamSynchronize")]
    public partial void StreamSynchronize(nint stream);

    [NativeFunction("cuEventCreate")]
    public partial void EventCreate(out nint @event, CudaEventFlags flags);

    [NativeFunction("cuEventDestroy_v2")]
    public partial CudaResult EventDestroy(nint @event);

    [NativeFunction("cuEventRecord")]
    public partial void EventRecord(nint @event, nint stream);

    [NativeFunction("cuEventSynchronize")]
    public partial void EventSynchronize(nint @event);

    [NativeFunction("cuEventElapsedTime")]
    public partial void EventElapsedTime(out float milliseconds, nint start, nint end);

    /// <summary>Loads PTX text (ended with NUL) or a binary. Scalar option values are cast into their slots; results are written back there.</summary>
    [NativeFunction("cuModuleLoadDataEx")]
    public partial CudaResult ModuleLoadDataEx(out nint module, void* image, uint optionCount, CudaJitOption* options, void** values);

    [NativeFunction("cuModuleUnload")]
    public partial CudaResult ModuleUnload(nint module);

    [NativeFunction("cuModuleGetFunction")]
    public partial void ModuleGetFunction(out nint function, nint module, byte* name);

    [NativeFunction("cuFuncGetAttribute")]
    public partial void FuncGetAttribute(out int value, CudaFunctionAttribute attribute, nint function);

    [NativeFunction("cuFuncSetAttribute")]
    public partial void FuncSetAttribute(nint function, CudaFunctionAttribute attribute, int value);

    [NativeFunction("cuLaunchKernel")]
    public partial CudaResult LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** parameters, void** extra);

    [NativeFunction("cuLaunchKernelEx")]
    public partial CudaResult LaunchKernelEx(CudaLaunchConfig* config, nint function, void** parameters, void** extra);

    [NativeFunction("cuStreamBeginCapture_v2")]
    public partial void StreamBeginCapture(nint stream, CudaCaptureMode mode);

    /// <summary>An invalidated capture answers with an error and a null graph.</summary>
    [NativeFunction("cuStreamEndCapture")]
    public partial CudaResult StreamEndCapture(nint stream, out nint graph);

    [NativeFunction("cuGraphInstantiateWithFlags")]
    public partial void GraphInstantiate(out nint executable, nint graph, ulong flags);

    [NativeFunction("cuGraphLaunch")]
    public partial void GraphLaunch(nint executable, nint stream);

    [NativeFunction("cuGraphExecDestroy")]
    public partial CudaResult GraphExecDestroy(nint executable);

    [NativeFunction("cuGraphDestroy")]
    public partial CudaResult GraphDestroy(nint graph);
}
