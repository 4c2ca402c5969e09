using System.Runtime.InteropServices;
using System.Text;
using Foretoken.Ptx.Execution;

namespace Foretoken.Ptx.Driver;

/// <summary>Exports: modules, functions, launches, streams, events, graphs.</summary>
public sealed unsafe partial class PtxDriver
{
    private const int InfoLog = 3, InfoLogBytes = 4, ErrorLog = 5, ErrorLogBytes = 6; // CUjit_option
    private const int NewestPtx = 88;

    [UnmanagedCallersOnly]
    private static int ModuleLoadDataEx(nint* module, byte* image, uint count, int* options, void** values) => Enter("cuModuleLoadDataEx", out PtxDriver d, out int result)
        ? d.Guard(() => d.LoadModule(module, image, count, options, values))
        : result;

    [UnmanagedCallersOnly]
    private static int ModuleLoadData(nint* module, byte* image) => Enter("cuModuleLoadData", out PtxDriver d, out int result) ? d.Guard(() => d.LoadModule(module, image, 0, null, null)) : result;

    /// <summary>Logs go to the buffers of the options, cut to their size; the size used is written back into its slot (ptx.md §6).</summary>
    private int LoadModule(nint* module, byte* image, uint count, int* options, void** values)
    {
        *module = 0;
        if (IsForbidden(out int forbidden))
            return forbidden;
        string text = Marshal.PtrToStringUTF8((nint)image)!;
        try
        {
            PtxModule code = Machine.LoadModule(text);
            if ((code.Version.Major * 10) + code.Version.Minor > NewestPtx)
            {
                code.Dispose();
                Log(count, options, values, ErrorLog, ErrorLogBytes, $"PTX {code.Version.Major}.{code.Version.Minor} is newer than this driver");
                return CuResult.UnsupportedPtxVersion;
            }

            Log(count, options, values, InfoLog, InfoLogBytes, "");
            Log(count, options, values, ErrorLog, ErrorLogBytes, "");
            *module = Add(new Module(code));
            return CuResult.Success;
        }
        catch (PtxParseException e)
        {
            Log(count, options, values, ErrorLog, ErrorLogBytes, e.Message);
            LastFault = e;
            return CuResult.InvalidPtx;
        }
    }

    private static void Log(uint count, int* options, void** values, int bufferOption, int sizeOption, string text)
    {
        byte* buffer = null;
        int size = 0, sizeSlot = -1;
        for (int n = 0; n < count; n++)
        {
            if (options[n] == bufferOption)
                buffer = (byte*)values[n];
            else if (options[n] == sizeOption)
                (size, sizeSlot) = ((int)(nint)values[n], n);
        }

        if (buffer == null || size <= 0)
            return;
        int used = Math.Min(Encoding.UTF8.GetByteCount(text), size - 1);
        Encoding.UTF8.GetBytes(text).AsSpan(0, used).CopyTo(new Span<byte>(buffer, used));
        buffer[used] = 0;
        values[sizeSlot] = (void*)(nint)used;
    }

    [UnmanagedCallersOnly]
    private static int ModuleUnload(nint handle) => Enter("cuModuleUnload", out PtxDriver d, out int result, release: true)
        ? d.Release(result, () =>
        {
            if (d.Find<Module>(handle) is not { } module)
                return CuResult.InvalidHandle;
            d.DrainAll();
            foreach (nint function in d._objects.Where(o => o.Value is Function f && f.Owner == module).Select(o => o.Key).ToArray())
                d._objects.Remove(function);
            d._objects.Remove(handle);
            module.Code.Dispose();
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int ModuleGetFunction(nint* function, nint handle, byte* name) => Enter("cuModuleGetFunction", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            *function = 0;
            string entry = Marshal.PtrToStringUTF8((nint)name)!;
            if (d.Find<Module>(handle) is not { } module)
                return CuResult.InvalidHandle;
            if (!module.Code.Kernels.Contains(entry))
                return CuResult.NotFound;
            *function = d.Add(new Function(module, entry));
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int ModuleGetGlobal(ulong* pointer, nuint* bytes, nint handle, byte* name) => Enter("cuModuleGetGlobal_v2", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<Module>(handle) is not { } module)
                return CuResult.InvalidHandle;
            if (module.Code.Variable(Marshal.PtrToStringUTF8((nint)name)!) is not { } variable)
                return CuResult.NotFound;
            if (pointer != null)
                *pointer = variable.Address;
            if (bytes != null)
                *bytes = (nuint)variable.Bytes;
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int FuncGetAttribute(int* value, int attribute, nint handle) => Enter("cuFuncGetAttribute", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<Function>(handle) is not { } function)
                return CuResult.InvalidHandle;
            Kernel kernel = function.Owner.Code.Kernel(function.Name);
            (int major, int minor) = function.Owner.Code.Version;
            int? known = attribute switch
            {
                0 => kernel.MaxThreads > 0 ? (int)kernel.MaxThreads : 1024, 1 => kernel.StaticSharedBytes, 2 => 0, 3 => kernel.LocalBytes, 4 => Math.Clamp(kernel.RegisterCount, 16, 255),
                5 => (major * 10) + minor, 6 => d.Machine.Options.ComputeCapability, 7 => 0, 8 => function.MaxDynamicShared, 9 => -1, _ => null,
            };
            *value = known ?? 0;
            return known is null ? CuResult.InvalidValue : CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int FuncSetAttribute(nint handle, int attribute, int value) => Enter("cuFuncSetAttribute", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<Function>(handle) is not { } function)
                return CuResult.InvalidHandle;
            if (attribute == 9)
                return CuResult.Success;
            if (attribute != 8 || value < 0 || value + function.Owner.Code.Kernel(function.Name).StaticSharedBytes > d.Machine.Options.SharedBytesPerBlock)
                return CuResult.InvalidValue;
            function.MaxDynamicShared = value;
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int Occupancy(int* blocks, nint handle, int threads, nuint sharedBytes) => Enter("cuOccupancyMaxActiveBlocksPerMultiprocessor", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<Function>(handle) is not { } function || threads <= 0)
                return CuResult.InvalidValue;
            long perBlock = function.Owner.Code.Kernel(function.Name).StaticSharedBytes + (long)sharedBytes + 1024;
            *blocks = (int)Math.Min(Math.Min(2048 / ((threads + 31) / 32 * 32), 32), (d.Machine.Options.SharedBytesPerBlock + 1024) / perBlock);
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int LaunchKernel(nint function, uint gx, uint gy, uint gz, uint bx, uint by, uint bz, uint shared, nint stream, void** parameters, void** extra) =>
        Enter("cuLaunchKernel", out PtxDriver d, out int result) ? d.Guard(() => d.Launch(function, new Dim3(gx, gy, gz), new Dim3(bx, by, bz), shared, stream, parameters, extra)) : result;

    /// <summary>CUlaunchConfig: seven u32, stream at 32, attributes at 40, their number at 48 (ptx.md §6). Clusters and cooperation are refused.</summary>
    [UnmanagedCallersOnly]
    private static int LaunchKernelEx(byte* config, nint function, void** parameters, void** extra) => Enter("cuLaunchKernelEx", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            uint* size = (uint*)config;
            byte* attributes = *(byte**)(config + 40);
            for (uint n = 0; n < *(uint*)(config + 48); n++)
            {
                int id = *(int*)(attributes + (72 * n));
                if (id is 2 or 4)
                    return CuResult.NotSupported;
            }

            return d.Launch(function, new Dim3(size[0], size[1], size[2]), new Dim3(size[3], size[4], size[5]), size[6], *(nint*)(config + 32), parameters, extra);
        })
        : result;

    private int Launch(nint handle, Dim3 grid, Dim3 block, uint sharedBytes, nint stream, void** parameters, void** extra)
    {
        if (Find<Function>(handle) is not { } function)
            return CuResult.InvalidHandle;
        Kernel kernel = function.Owner.Code.Kernel(function.Name);
        if (sharedBytes > (uint)function.MaxDynamicShared)
            return CuResult.InvalidValue;
        var arguments = new byte[kernel.ParameterBytes]; // the driver copies them when the kernel is enqueued
        if (extra != null)
        {
            if (!FromExtra(extra, arguments))
                return CuResult.InvalidValue;
        }
        else
        {
            for (int n = 0; n < kernel.Parameters.Length; n++)
                new ReadOnlySpan<byte>(parameters[n], kernel.Parameters[n].Bytes).CopyTo(arguments.AsSpan(kernel.Parameters[n].Offset));
        }

        _ = new Launch(Machine.Options, Machine.Global, kernel, grid, block, (int)sharedBytes, arguments); // impossible launches fail here, before anything runs
        return Enqueue(stream, function.Name, () =>
        {
            Launches.Add(function.Name);
            Machine.Launch(kernel, grid, block, (int)sharedBytes, arguments);
        });
    }

    /// <summary>CU_LAUNCH_PARAM_BUFFER_POINTER (1), BUFFER_SIZE (2), END (0).</summary>
    private static bool FromExtra(void** extra, byte[] arguments)
    {
        byte* buffer = null;
        nuint size = 0;
        for (int n = 0; extra[n] != null; n += 2)
        {
            if ((nint)extra[n] == 1)
                buffer = (byte*)extra[n + 1];
            else if ((nint)extra[n] == 2)
                size = *(nuint*)extra[n + 1];
            else
                return false;
        }

        if (buffer == null || (int)size < arguments.Length)
            return false;
        new ReadOnlySpan<byte>(buffer, arguments.Length).CopyTo(arguments);
        return true;
    }

    [UnmanagedCallersOnly]
    private static int StreamCreate(nint* stream, uint flags) => Enter("cuStreamCreate", out PtxDriver d, out int result) ? d.Make(stream, new Stream()) : result;

    [UnmanagedCallersOnly]
    private static int StreamCreateWithPriority(nint* stream, uint flags, int priority) => Enter("cuStreamCreateWithPriority", out PtxDriver d, out int result) ? d.Make(stream, new Stream()) : result;

    private int Make(nint* handle, object value)
    {
        lock (_lock)
            *handle = Add(value);
        return CuResult.Success;
    }

    private int Drop<T>(nint handle)
        where T : class => Guard(() => Find<T>(handle) is not null && _objects.Remove(handle) ? CuResult.Success : CuResult.InvalidHandle);

    [UnmanagedCallersOnly]
    private static int StreamDestroy(nint handle) => Enter("cuStreamDestroy_v2", out PtxDriver d, out int result, release: true)
        ? d.Release(result, () =>
        {
            if (d.Find<Stream>(handle) is not { } stream)
                return CuResult.InvalidHandle;
            if (stream.Capturing is { } capture && capture.Origin == stream)
                d._capture = null;
            d.Drain(stream);
            d._objects.Remove(handle);
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int StreamSynchronize(nint handle) => Enter("cuStreamSynchronize", out PtxDriver d, out int result)
        ? d.Guard(() => d.StreamOf(handle) is { } stream ? d.WaitFor(stream) : CuResult.InvalidHandle)
        : result;

    /// <summary>The first query finds pending work busy; then it is done, so that polling ends.</summary>
    [UnmanagedCallersOnly]
    private static int StreamQuery(nint handle) => Enter("cuStreamQuery", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.StreamOf(handle) is not { } stream)
                return CuResult.InvalidHandle;
            if (stream.Work.Count > 0 && !stream.Asked)
            {
                stream.Asked = true;
                return CuResult.NotReady;
            }

            return d.WaitFor(stream);
        })
        : result;

    [UnmanagedCallersOnly]
    private static int StreamWaitEvent(nint stream, nint handle, uint flags) => Enter("cuStreamWaitEvent", out PtxDriver d, out int result) ? d.Guard(() => d.WaitEvent(stream, handle)) : result;

    [UnmanagedCallersOnly]
    private static int EventCreate(nint* handle, uint flags) => Enter("cuEventCreate", out PtxDriver d, out int result) ? d.Make(handle, new Event { Timing = (flags & 2) == 0 }) : result;

    [UnmanagedCallersOnly]
    private static int EventDestroy(nint handle) => Enter("cuEventDestroy_v2", out PtxDriver d, out int result, release: true) ? d.Release(result, () => d.Drop<Event>(handle)) : result;

    [UnmanagedCallersOnly]
    private static int EventRecord(nint handle, nint stream) => Enter("cuEventRecord", out PtxDriver d, out int result) ? d.Guard(() => d.RecordEvent(handle, stream)) : result;

    [UnmanagedCallersOnly]
    private static int EventSynchronize(nint handle) => Enter("cuEventSynchronize", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<Event>(handle) is not { } awaited)
                return CuResult.InvalidHandle;
            if (awaited.Captured is { } capture && capture == d._capture)
            {
                capture.Invalid = true;
                return CuResult.CaptureUnsupported;
            }

            return awaited.Pending is { } stream ? d.WaitFor(stream) : CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int EventQuery(nint handle) => Enter("cuEventQuery", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<Event>(handle) is not { } asked)
                return CuResult.InvalidHandle;
            if (asked.Pending is not { } stream)
                return CuResult.Success;
            if (!stream.Asked)
            {
                stream.Asked = true;
                return CuResult.NotReady;
            }

            return d.WaitFor(stream);
        })
        : result;

    [UnmanagedCallersOnly]
    private static int EventElapsedTime(float* milliseconds, nint start, nint end) => Enter("cuEventElapsedTime", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<Event>(start) is not { Timing: true } first || d.Find<Event>(end) is not { Timing: true } last || first.Version == 0 || last.Version == 0)
                return CuResult.InvalidHandle;
            if (first.Pending is not null || last.Pending is not null)
                return CuResult.NotReady;
            *milliseconds = (float)System.Diagnostics.Stopwatch.GetElapsedTime(first.Happened, last.Happened).TotalMilliseconds;
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int StreamBeginCapture(nint stream, int mode) => Enter("cuStreamBeginCapture_v2", out PtxDriver d, out int result) ? d.Guard(() => d.BeginCapture(stream, mode)) : result;

    [UnmanagedCallersOnly]
    private static int StreamEndCapture(nint stream, nint* graph) => Enter("cuStreamEndCapture", out PtxDriver d, out int result, release: true) ? d.Release(result, () => d.EndCapture(stream, graph, result)) : result;

    /// <summary>0 none, 1 active, 2 invalidated.</summary>
    [UnmanagedCallersOnly]
    private static int StreamIsCapturing(nint handle, int* status) => Enter("cuStreamIsCapturing", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.StreamOf(handle) is not { } stream)
                return CuResult.InvalidHandle;
            *status = stream.Capturing is not { } capture ? 0 : capture.Invalid ? 2 : 1;
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int GraphInstantiate(nint* executable, nint handle, ulong flags) => Enter("cuGraphInstantiateWithFlags", out PtxDriver d, out int result)
        ? d.Guard(() => d.Find<Graph>(handle) is { } graph ? d.Make(executable, new GraphExec { Nodes = [.. graph.Nodes], Kinds = [.. graph.Kinds] }) : CuResult.InvalidHandle)
        : result;

    [UnmanagedCallersOnly]
    private static int GraphLaunch(nint handle, nint stream) => Enter("cuGraphLaunch", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<GraphExec>(handle) is not { } executable)
                return CuResult.InvalidHandle;
            Action[] nodes = [.. executable.Nodes]; // a later update does not change what is under way
            return d.Enqueue(stream, "graph", () =>
            {
                foreach (Action node in nodes)
                {
                    if (d._sticky == 0)
                        node();
                }
            });
        })
        : result;

    /// <summary>The same kernels and copies in the same order, with other arguments; anything else is refused.</summary>
    [UnmanagedCallersOnly]
    private static int GraphExecUpdate(nint handle, nint graphHandle, int* info) => Enter("cuGraphExecUpdate_v2", out PtxDriver d, out int result)
        ? d.Guard(() =>
        {
            if (d.Find<GraphExec>(handle) is not { } executable || d.Find<Graph>(graphHandle) is not { } graph)
                return CuResult.InvalidHandle;
            bool same = executable.Kinds.SequenceEqual(graph.Kinds);
            if (info != null)
                *info = same ? 0 : 1;
            if (!same)
                return CuResult.GraphExecUpdateFailure;
            executable.Nodes = [.. graph.Nodes];
            return CuResult.Success;
        })
        : result;

    [UnmanagedCallersOnly]
    private static int GraphExecDestroy(nint handle) => Enter("cuGraphExecDestroy", out PtxDriver d, out int result, release: true) ? d.Release(result, () => d.Drop<GraphExec>(handle)) : result;

    [UnmanagedCallersOnly]
    private static int GraphDestroy(nint handle) => Enter("cuGraphDestroy", out PtxDriver d, out int result, release: true) ? d.Release(result, () => d.Drop<Graph>(handle)) : result;

    /// <summary>Takes base names ("cuMemAlloc") and exact ones.</summary>
    [UnmanagedCallersOnly]
    private static int GetProcAddress(byte* symbol, nint* function, int version, ulong flags, int* status)
    {
        if (!Enter("cuGetProcAddress_v2", out _, out int result, needsContext: false))
            return result;
        string name = Marshal.PtrToStringUTF8((nint)symbol)!;
        *function = Export(name + "_v2") is var second && second != 0 ? second : Export(name);
        if (status != null)
            *status = *function != 0 ? 0 : 1;
        return *function != 0 ? CuResult.Success : CuResult.NotFound;
    }
}
