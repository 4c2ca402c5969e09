using System.Runtime.InteropServices;
using Foretoken.Backends.Cuda;

namespace Foretoken.Tests.Backends.Cuda;

/// <content>The exports.</content>
internal sealed unsafe partial class FakeDriver
{
    public static CudaDriverTable Table() => new()
    {
        cuInit = &Init,
        cuDriverGetVersion = &DriverGetVersion,
        cuGetErrorName = &GetErrorName,
        cuGetErrorString = &GetErrorString,
        cuDeviceGetCount = &DeviceGetCount,
        cuDeviceGet = &DeviceGet,
        cuDeviceGetName = &DeviceGetName,
        cuDeviceGetPCIBusId = &DeviceGetPciBusId,
        cuDeviceGetAttribute = &DeviceGetAttribute,
        cuDeviceTotalMem_v2 = &DeviceTotalMem,
        cuDevicePrimaryCtxRetain = &PrimaryCtxRetain,
        cuDevicePrimaryCtxRelease_v2 = &PrimaryCtxRelease,
        cuCtxSetCurrent = &CtxSetCurrent,
        cuMemGetInfo_v2 = &MemGetInfo,
        cuMemAlloc_v2 = &MemAlloc,
        cuMemFree_v2 = &MemFree,
        cuMemHostAlloc = &MemHostAlloc,
        cuMemFreeHost = &MemFreeHost,
        cuMemcpyHtoDAsync_v2 = &MemcpyHtoD,
        cuMemcpyDtoHAsync_v2 = &MemcpyDtoH,
        cuMemcpyDtoDAsync_v2 = &MemcpyDtoD,
        cuMemsetD8Async = &MemsetD8,
        cuStreamCreate = &StreamCreate,
        cuStreamDestroy_v2 = &StreamDestroy,
        cuStreamSynchronize = &StreamSynchronize,
        cuEventCreate = &EventCreate,
        cuEventDestroy_v2 = &EventDestroy,
        cuEventRecord = &EventRecord,
        cuEventSynchronize = &EventSynchronize,
        cuEventElapsedTime = &EventElapsedTime,
        cuModuleLoadDataEx = &ModuleLoadDataEx,
        cuModuleUnload = &ModuleUnload,
        cuModuleGetFunction = &ModuleGetFunction,
        cuFuncGetAttribute = &FuncGetAttribute,
        cuFuncSetAttribute = &FuncSetAttribute,
        cuLaunchKernel = &LaunchKernel,
        cuLaunchKernelEx = &LaunchKernelEx,
        cuStreamBeginCapture_v2 = &StreamBeginCapture,
        cuStreamEndCapture = &StreamEndCapture,
        cuGraphInstantiateWithFlags = &GraphInstantiate,
        cuGraphLaunch = &GraphLaunch,
        cuGraphExecDestroy = &GraphExecDestroy,
        cuGraphDestroy = &GraphDestroy,
    };

    [UnmanagedCallersOnly]
    private static CudaResult Init(uint flags) => Enter("cuInit");

    [UnmanagedCallersOnly]
    private static CudaResult DriverGetVersion(int* version)
    {
        *version = s_current!.Version;
        return Enter("cuDriverGetVersion");
    }

    [UnmanagedCallersOnly]
    private static CudaResult GetErrorName(CudaResult error, byte** name)
    {
        *name = (byte*)Text(error, $"CUDA_ERROR_{error}".ToUpperInvariant());
        return CudaResult.Success;
    }

    [UnmanagedCallersOnly]
    private static CudaResult GetErrorString(CudaResult error, byte** text)
    {
        *text = null;
        return CudaResult.InvalidValue; // this driver has no texts
    }

    [UnmanagedCallersOnly]
    private static CudaResult DeviceGetCount(int* count)
    {
        *count = s_current!.Devices;
        return Enter("cuDeviceGetCount");
    }

    [UnmanagedCallersOnly]
    private static CudaResult DeviceGet(int* device, int ordinal)
    {
        *device = 10 + ordinal;
        return Enter("cuDeviceGet");
    }

    [UnmanagedCallersOnly]
    private static CudaResult DeviceGetName(byte* name, int length, int device)
    {
        Write(name, length, $"Fake {device - 10}");
        return Enter("cuDeviceGetName");
    }

    [UnmanagedCallersOnly]
    private static CudaResult DeviceGetPciBusId(byte* id, int length, int device)
    {
        Write(id, length, $"0000:0{device - 10}:00.0");
        return Enter("cuDeviceGetPCIBusId");
    }

    [UnmanagedCallersOnly]
    private static CudaResult DeviceGetAttribute(int* value, CudaDeviceAttribute attribute, int device)
    {
        *value = attribute switch
        {
            CudaDeviceAttribute.ComputeCapabilityMajor => s_current!.Major,
            CudaDeviceAttribute.MultiprocessorCount => 4,
            CudaDeviceAttribute.SharedBytesPerBlockOptIn => 163 << 10,
            CudaDeviceAttribute.CooperativeLaunch => 1,
            _ => 0,
        };
        return Enter("cuDeviceGetAttribute");
    }

    [UnmanagedCallersOnly]
    private static CudaResult DeviceTotalMem(nuint* bytes, int device)
    {
        *bytes = s_current!.TotalBytes;
        return Enter("cuDeviceTotalMem_v2");
    }

    [UnmanagedCallersOnly]
    private static CudaResult PrimaryCtxRetain(nint* context, int device)
    {
        CudaResult result = Enter("cuDevicePrimaryCtxRetain");
        if (result != CudaResult.Success) return result;
        *context = device;
        s_current!._handles[device] = "context";
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult PrimaryCtxRelease(int device) => End("context", device, "cuDevicePrimaryCtxRelease_v2");

    [UnmanagedCallersOnly]
    private static CudaResult CtxSetCurrent(nint context) => Enter("cuCtxSetCurrent");

    [UnmanagedCallersOnly]
    private static CudaResult MemGetInfo(nuint* free, nuint* total)
    {
        *total = s_current!.TotalBytes;
        *free = s_current.TotalBytes - s_current.Used + s_current.Overstated;
        return Enter("cuMemGetInfo_v2");
    }

    [UnmanagedCallersOnly]
    private static CudaResult MemAlloc(ulong* pointer, nuint bytes)
    {
        CudaResult result = Enter("cuMemAlloc_v2");
        if (result != CudaResult.Success) return result;
        FakeDriver d = s_current!;
        if (bytes > d.TotalBytes - d.Used) return CudaResult.OutOfMemory;
        *pointer = (ulong)NativeMemory.AllocZeroed(bytes);
        d._memory[*pointer] = bytes;
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult MemFree(ulong pointer)
    {
        CudaResult result = Enter("cuMemFree_v2");
        if (!s_current!._memory.Remove(pointer)) return CudaResult.InvalidValue;
        NativeMemory.Free((void*)pointer);
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult MemHostAlloc(void** pointer, nuint bytes, CudaHostAllocFlags flags)
    {
        CudaResult result = Enter("cuMemHostAlloc");
        if (result != CudaResult.Success) return result;
        *pointer = NativeMemory.AllocZeroed(bytes);
        s_current!._handles[(nint)(*pointer)] = "host memory";
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult MemFreeHost(void* pointer)
    {
        CudaResult result = End("host memory", (nint)pointer, "cuMemFreeHost");
        if (result != CudaResult.InvalidHandle) NativeMemory.Free(pointer);
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult MemcpyHtoD(ulong destination, void* source, nuint bytes, nint stream) =>
        Run("cuMemcpyHtoDAsync_v2", () => NativeMemory.Copy(source, (void*)destination, bytes));

    [UnmanagedCallersOnly]
    private static CudaResult MemcpyDtoH(void* destination, ulong source, nuint bytes, nint stream) =>
        Run("cuMemcpyDtoHAsync_v2", () => NativeMemory.Copy((void*)source, destination, bytes));

    [UnmanagedCallersOnly]
    private static CudaResult MemcpyDtoD(ulong destination, ulong source, nuint bytes, nint stream) =>
        Run("cuMemcpyDtoDAsync_v2", () => NativeMemory.Copy((void*)source, (void*)destination, bytes));

    [UnmanagedCallersOnly]
    private static CudaResult MemsetD8(ulong destination, byte value, nuint bytes, nint stream) =>
        Run("cuMemsetD8Async", () => NativeMemory.Fill((void*)destination, bytes, value));

    [UnmanagedCallersOnly]
    private static CudaResult StreamCreate(nint* stream, CudaStreamFlags flags) => Make("stream", stream, "cuStreamCreate");

    [UnmanagedCallersOnly]
    private static CudaResult StreamDestroy(nint stream) => End("stream", stream, "cuStreamDestroy_v2");

    [UnmanagedCallersOnly]
    private static CudaResult StreamSynchronize(nint stream) =>
        s_current!._recording is null ? Enter("cuStreamSynchronize") : CudaResult.StreamCaptureUnsupported;

    [UnmanagedCallersOnly]
    private static CudaResult EventCreate(nint* @event, CudaEventFlags flags) => Make("event", @event, "cuEventCreate");

    [UnmanagedCallersOnly]
    private static CudaResult EventDestroy(nint @event) => End("event", @event, "cuEventDestroy_v2");

    [UnmanagedCallersOnly]
    private static CudaResult EventRecord(nint @event, nint stream) => Enter("cuEventRecord");

    [UnmanagedCallersOnly]
    private static CudaResult EventSynchronize(nint @event) => Enter("cuEventSynchronize");

    [UnmanagedCallersOnly]
    private static CudaResult EventElapsedTime(float* milliseconds, nint start, nint end)
    {
        *milliseconds = 1.5f;
        return Enter("cuEventElapsedTime");
    }

    [UnmanagedCallersOnly]
    private static CudaResult ModuleLoadDataEx(nint* module, void* image, uint count, CudaJitOption* options, void** values)
    {
        if (s_current!.JitError is not { } error) return Make("module", module, "cuModuleLoadDataEx");
        for (uint i = 0; i < count; i++)
        {
            if (options[i] == CudaJitOption.ErrorLogBuffer) Write((byte*)values[i], error.Length + 1, error);
        }

        return CudaResult.InvalidPtx;
    }

    [UnmanagedCallersOnly]
    private static CudaResult ModuleUnload(nint module) => End("module", module, "cuModuleUnload");

    [UnmanagedCallersOnly]
    private static CudaResult ModuleGetFunction(nint* function, nint module, byte* name)
    {
        CudaResult result = Enter("cuModuleGetFunction");
        if (result != CudaResult.Success) return result;
        *function = s_current!._nextHandle++;
        s_current._functions[*function] = Marshal.PtrToStringUTF8((nint)name)!;
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult FuncGetAttribute(int* value, CudaFunctionAttribute attribute, nint function)
    {
        *value = attribute == CudaFunctionAttribute.LocalBytes ? s_current!.LocalBytes : 32;
        return Enter("cuFuncGetAttribute");
    }

    [UnmanagedCallersOnly]
    private static CudaResult FuncSetAttribute(nint function, CudaFunctionAttribute attribute, int value) => Enter("cuFuncSetAttribute");

    [UnmanagedCallersOnly]
    private static CudaResult LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** parameters, void** extra) =>
        blockX * blockY * blockZ is 0 or > 1024 ? CudaResult.InvalidValue : Run("cuLaunchKernel", Kernel(function, parameters));

    [UnmanagedCallersOnly]
    private static CudaResult LaunchKernelEx(CudaLaunchConfig* config, nint function, void** parameters, void** extra)
    {
        s_current!.LastAttributes = [.. new ReadOnlySpan<CudaLaunchAttribute>(config->Attributes, (int)config->AttributeCount)];
        return Run("cuLaunchKernelEx", Kernel(function, parameters));
    }

    [UnmanagedCallersOnly]
    private static CudaResult StreamBeginCapture(nint stream, CudaCaptureMode mode)
    {
        CudaResult result = Enter("cuStreamBeginCapture_v2");
        if (result == CudaResult.Success) s_current!._recording = [];
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult StreamEndCapture(nint stream, nint* graph)
    {
        List<Action>? recording = s_current!._recording;
        s_current._recording = null;
        *graph = 0;
        if (recording is null) return CudaResult.StreamCaptureInvalidated;
        CudaResult result = Make("graph", graph, "cuStreamEndCapture");
        if (result == CudaResult.Success) s_current._graphs[*graph] = recording;
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult GraphInstantiate(nint* executable, nint graph, ulong flags)
    {
        CudaResult result = Make("executable graph", executable, "cuGraphInstantiateWithFlags");
        if (result == CudaResult.Success) s_current!._graphs[*executable] = s_current._graphs[graph];
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult GraphLaunch(nint executable, nint stream)
    {
        CudaResult result = Enter("cuGraphLaunch");
        if (result != CudaResult.Success) return result;
        foreach (Action work in s_current!._graphs[executable]) work();
        return result;
    }

    [UnmanagedCallersOnly]
    private static CudaResult GraphExecDestroy(nint executable) => End("executable graph", executable, "cuGraphExecDestroy");

    [UnmanagedCallersOnly]
    private static CudaResult GraphDestroy(nint graph) => End("graph", graph, "cuGraphDestroy");
}
