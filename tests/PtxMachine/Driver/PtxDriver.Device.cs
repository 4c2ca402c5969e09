using System.Runtime.InteropServices;
using System.Text;

namespace Foretoken.Ptx.Driver;

/// <summary>Exports: start, devices, contexts, memory.</summary>
public sealed unsafe partial class PtxDriver
{
    private const string DeviceName = "Foretoken PTX machine";

    private static readonly (int Code, string Name, string Text)[] ErrorTexts =
    [
        (0, "CUDA_SUCCESS", "no error"), (1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"), (2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"),
        (3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"), (100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"),
        (101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"), (201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"),
        (218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"), (222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."),
        (400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"), (500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"), (600, "CUDA_ERROR_NOT_READY", "device not ready"),
        (700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"), (701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"),
        (715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"), (716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"),
        (719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"), (800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"),
        (801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"), (900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"),
        (901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"),
        (904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capture was not joined"), (906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing blocking stream"),
        (908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"),
        (910, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", "the graph update was not performed"), (999, "CUDA_ERROR_UNKNOWN", "unknown error"),
    ];

    [UnmanagedCallersOnly]
    private static int Init(uint flags)
    {
        if (!Enter("cuInit", out PtxDriver d, out int result, needsContext: false))
            return result;
        d._initialised = true;
        return d.DeviceCount > 0 ? CuResult.Success : CuResult.NoDevice;
    }

    [UnmanagedCallersOnly]
    private static int DriverGetVersion(int* version)
    {
        if (!Enter("cuDriverGetVersion", out PtxDriver d, out int result, needsContext: false))
            return result;
        *version = d.DriverVersion;
        return CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int GetErrorName(int error, byte** name) => ErrorText(error, name, wantsName: true);

    [UnmanagedCallersOnly]
    private static int GetErrorString(int error, byte** text) => ErrorText(error, text, wantsName: false);

    /// <summary>Asking for texts is no call that can fail: not counted, so that reporting an injected fault changes nothing.</summary>
    private static int ErrorText(int error, byte** text, bool wantsName)
    {
        PtxDriver d = Current;
        *text = null;
        foreach ((int code, string name, string description) in ErrorTexts)
        {
            if (code != error)
                continue;
            int key = (error * 2) + (wantsName ? 1 : 0);
            lock (d._lock)
            {
                if (!d._texts.TryGetValue(key, out nint kept))
                    d._texts[key] = kept = Marshal.StringToCoTaskMemUTF8(wantsName ? name : description);
                *text = (byte*)kept;
            }

            return CuResult.Success;
        }

        return CuResult.InvalidValue;
    }

    [UnmanagedCallersOnly]
    private static int DeviceGetCount(int* count)
    {
        if (!Enter("cuDeviceGetCount", out PtxDriver d, out int result, needsContext: false))
            return result;
        *count = d.DeviceCount;
        return CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int DeviceGet(int* device, int ordinal)
    {
        if (!Enter("cuDeviceGet", out PtxDriver d, out int result, needsContext: false))
            return result;
        *device = ordinal;
        return (uint)ordinal < (uint)d.DeviceCount ? CuResult.Success : CuResult.InvalidDevice;
    }

    [UnmanagedCallersOnly]
    private static int DeviceGetName(byte* name, int length, int device) =>
        Enter("cuDeviceGetName", out _, out int result, needsContext: false) ? Text(name, length, DeviceName) : result;

    [UnmanagedCallersOnly]
    private static int DeviceGetPciBusId(byte* name, int length, int device) =>
        Enter("cuDeviceGetPCIBusId", out _, out int result, needsContext: false) ? Text(name, length, $"0000:{device + 1:x2}:00.0") : result;

    private static int Text(byte* target, int length, string text)
    {
        if (length <= 0)
            return CuResult.InvalidValue;
        int count = Math.Min(text.Length, length - 1);
        Encoding.ASCII.GetBytes(text.AsSpan(0, count), new Span<byte>(target, count));
        target[count] = 0;
        return CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int DeviceTotalMem(nuint* bytes, int device)
    {
        if (!Enter("cuDeviceTotalMem_v2", out PtxDriver d, out int result, needsContext: false))
            return result;
        *bytes = (nuint)d.Machine.Options.GlobalBytes;
        return CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int DeviceGetAttribute(int* value, int attribute, int device)
    {
        if (!Enter("cuDeviceGetAttribute", out PtxDriver d, out int result, needsContext: false))
            return result;
        PtxMachineOptions o = d.Machine.Options;
        int? known = attribute switch
        {
            1 => 1024, 2 or 3 => 1024, 4 => 64, 5 => int.MaxValue, 6 or 7 => 65535, 8 => 48 << 10, 10 => 32, 12 => 65536, 13 => 1_410_000, 16 => o.Multiprocessors, 18 => 0, 32 => 0,
            33 => device + 1, 34 => 0, 50 => 0, 36 => 1_215_000, 37 => 5120, 38 => 40 << 20, 39 => 2048, 41 => 1, 75 => o.ComputeCapability / 10, 76 => o.ComputeCapability % 10,
            81 => o.SharedBytesPerBlock + 1024, 82 => 65536, 88 => 0, 95 => 0, 97 => o.SharedBytesPerBlock, 106 => 32, 111 => 1024, 115 => 0, 120 => 0, _ => null,
        };
        *value = known ?? 0;
        return known is null ? CuResult.InvalidValue : CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int PrimaryCtxRetain(nint* context, int device)
    {
        if (!Enter("cuDevicePrimaryCtxRetain", out PtxDriver d, out int result, needsContext: false))
            return result;
        if ((uint)device >= (uint)d.DeviceCount)
            return CuResult.InvalidDevice;
        lock (ContextsLock)
        {
            if (d._context == 0)
                Contexts[d._context = (nint)Interlocked.Add(ref s_handles, 16)] = d;
        }

        d._retained++;
        *context = d._context;
        return CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int PrimaryCtxRelease(int device)
    {
        if (!Enter("cuDevicePrimaryCtxRelease_v2", out PtxDriver d, out int result, release: true))
            return result;
        if (d._retained == 0)
            return CuResult.InvalidContext;
        if (--d._retained > 0)
            return result;
        lock (ContextsLock)
            Contexts.Remove(d._context);
        d._context = 0; // and with it everything that belongs to it, the error that stuck included
        d._sticky = 0;
        return result;
    }

    [UnmanagedCallersOnly]
    private static int CtxSetCurrent(nint context)
    {
        lock (ContextsLock)
        {
            if (context != 0 && Contexts.TryGetValue(context, out PtxDriver? owner))
                s_current = owner;
        }

        if (!Enter("cuCtxSetCurrent", out PtxDriver d, out int result, needsContext: false))
            return result;
        return context == 0 || context == d._context ? CuResult.Success : CuResult.InvalidContext;
    }

    [UnmanagedCallersOnly]
    private static int CtxGetCurrent(nint* context)
    {
        if (!Enter("cuCtxGetCurrent", out PtxDriver d, out int result, needsContext: false))
            return result;
        *context = d._context;
        return CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int CtxSynchronize() => Enter("cuCtxSynchronize", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.IsForbidden(out int forbidden))
                return forbidden;
            d.DrainAll();
            return d._sticky;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int MemGetInfo(nuint* free, nuint* total)
    {
        if (!Enter("cuMemGetInfo_v2", out PtxDriver d, out int result))
            return result;
        *total = (nuint)d.Machine.Options.GlobalBytes;
        *free = (nuint)(d.Machine.Options.GlobalBytes - d.Machine.Global.UsedBytes);
        return CuResult.Success;
    }

    [UnmanagedCallersOnly]
    private static int MemAlloc(ulong* pointer, nuint bytes) => Enter("cuMemAlloc_v2", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.IsForbidden(out int forbidden))
                return forbidden;
            if (bytes == 0)
                return CuResult.InvalidValue;
            *pointer = d.Machine.Allocate((long)bytes, "cuMemAlloc").Address;
            d._deviceMemory.Add(*pointer);
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int MemFree(ulong pointer) => Enter("cuMemFree_v2", out PtxDriver d, out int result, release: true)
        ? d.Release(result, () =>
        {
            if (d.IsForbidden(out int forbidden))
                return forbidden;
            d.DrainAll(); // freeing waits for work that may use it
            if (pointer == 0)
                return CuResult.Success;
            if (!d._deviceMemory.Remove(pointer))
                return CuResult.InvalidValue;
            d.Machine.Global.Free(pointer);
            return d._sticky;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int MemHostAlloc(void** pointer, nuint bytes, uint flags) => Enter("cuMemHostAlloc", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.IsForbidden(out int forbidden))
                return forbidden;
            if (bytes == 0)
                return CuResult.InvalidValue;
            *pointer = NativeMemory.AlignedAlloc(bytes, 4096);
            new Span<byte>(*pointer, checked((int)bytes)).Fill(0xCD);
            d._hostMemory[(nint)(*pointer)] = bytes;
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int MemFreeHost(void* pointer) => Enter("cuMemFreeHost", out PtxDriver d, out int result, release: true)
        ? d.Release(result, () =>
        {
            d.DrainAll();
            if (!d._hostMemory.Remove((nint)pointer))
                return CuResult.InvalidValue;
            NativeMemory.AlignedFree(pointer);
            return d._sticky;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int MemcpyHtoD(ulong target, void* source, nuint bytes) => Enter("cuMemcpyHtoD_v2", out PtxDriver d, out int result) ? d.Guard(() => d.Now(() => d.ToDevice(target, source, bytes))) : result;

    [UnmanagedCallersOnly]
    private static int MemcpyDtoH(void* target, ulong source, nuint bytes) => Enter("cuMemcpyDtoH_v2", out PtxDriver d, out int result) ? d.Guard(() => d.Now(() => d.ToHost(target, source, bytes))) : result;

    [UnmanagedCallersOnly]
    private static int MemcpyDtoD(ulong target, ulong source, nuint bytes) => Enter("cuMemcpyDtoD_v2", out PtxDriver d, out int result) ? d.Guard(() => d.Now(() => d.OnDevice(target, source, bytes))) : result;

    [UnmanagedCallersOnly]
    private static int MemcpyHtoDAsync(ulong target, void* source, nuint bytes, nint stream) => Enter("cuMemcpyHtoDAsync_v2", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.IsPinned(source, bytes) || d.StreamOf(stream)?.Capturing is not null)
                return d.Enqueue(stream, "copy", () => d.ToDevice(target, source, bytes)); // read when it runs
            byte[] staged = new ReadOnlySpan<byte>(source, checked((int)bytes)).ToArray(); // pageable memory is staged at once
            return d.Enqueue(stream, "copy", () =>
            {
                fixed (byte* kept = staged)
                    d.ToDevice(target, kept, bytes);
            });
        })
        : result;

    [UnmanagedCallersOnly]
    private static int MemcpyDtoHAsync(void* target, ulong source, nuint bytes, nint stream) => Enter("cuMemcpyDtoHAsync_v2", out PtxDriver d, out int result)
        ? d.Guard(() => d.Enqueue(stream, "copy", () => d.ToHost(target, source, bytes)))
        : result;

    [UnmanagedCallersOnly]
    private static int MemcpyDtoDAsync(ulong target, ulong source, nuint bytes, nint stream) => Enter("cuMemcpyDtoDAsync_v2", out PtxDriver d, out int result)
        ? d.Guard(() => d.Enqueue(stream, "copy", () => d.OnDevice(target, source, bytes)))
        : result;

    [UnmanagedCallersOnly]
    private static int MemsetD8(ulong target, byte value, nuint bytes) => Enter("cuMemsetD8_v2", out PtxDriver d, out int result) ? d.Guard(() => d.Now(() => d.Set(target, value, bytes, 1))) : result;

    [UnmanagedCallersOnly]
    private static int MemsetD32(ulong target, uint value, nuint count) => Enter("cuMemsetD32_v2", out PtxDriver d, out int result) ? d.Guard(() => d.Now(() => d.Set(target, value, count, 4))) : result;

    [UnmanagedCallersOnly]
    private static int MemsetD8Async(ulong target, byte value, nuint bytes, nint stream) => Enter("cuMemsetD8Async", out PtxDriver d, out int result)
        ? d.Guard(() => d.Enqueue(stream, "memset", () => d.Set(target, value, bytes, 1)))
        : result;

    [UnmanagedCallersOnly]
    private static int MemsetD32Async(ulong target, uint value, nuint count, nint stream) => Enter("cuMemsetD32Async", out PtxDriver d, out int result)
        ? d.Guard(() => d.Enqueue(stream, "memset", () => d.Set(target, value, count, 4)))
        : result;

    private int Now(Action work)
    {
        if (IsForbidden(out int forbidden))
            return forbidden;
        DrainAll();
        if (_sticky == 0)
            work();
        return _sticky;
    }

    private bool IsPinned(void* pointer, nuint bytes)
    {
        foreach ((nint start, nuint size) in _hostMemory)
        {
            if ((nuint)pointer >= (nuint)start && (nuint)pointer + bytes <= (nuint)start + size)
                return true;
        }

        return false;
    }

    private void ToDevice(ulong target, void* source, nuint bytes) => Machine.Write(target, new ReadOnlySpan<byte>(source, checked((int)bytes)));

    private void ToHost(void* target, ulong source, nuint bytes)
    {
        byte* from = Place(source, bytes);
        Buffer.MemoryCopy(from, target, bytes, bytes);
    }

    private void OnDevice(ulong target, ulong source, nuint bytes)
    {
        byte* from = Place(source, bytes), to = Place(target, bytes);
        Buffer.MemoryCopy(from, to, bytes, bytes);
        Machine.Global.CopyShadow(target, source, (long)bytes);
    }

    private void Set(ulong target, uint value, nuint count, int size)
    {
        byte* to = Place(target, count * (nuint)size);
        if (size == 1)
            new Span<byte>(to, checked((int)count)).Fill((byte)value);
        else
            new Span<uint>(to, checked((int)count)).Fill(value);
        Machine.Global.MarkWritten(target, (long)count * size);
    }

    private byte* Place(ulong address, nuint bytes)
    {
        byte* host = Machine.Global.Host(address, (long)bytes);
        return host != null || bytes == 0 ? host : throw new PtxFaultException(PtxFaultKind.InvalidLaunch, $"a copy of {bytes} bytes; {Machine.Global.Describe(address)}");
    }
}
