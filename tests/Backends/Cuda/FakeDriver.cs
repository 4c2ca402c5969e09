using System.Runtime.InteropServices;
using System.Text;
using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>
/// A driver that knows handles, memory, streams and recordings but no PTX: it runs the kernel <c>probe</c> in C#, and any other as nothing. It counts what is not
/// freed, answers with a given error at a given call, and keeps every call's name. One per thread.
/// </summary>
internal sealed unsafe partial class FakeDriver : IDisposable
{
    [ThreadStatic]
    private static FakeDriver? s_current;

    private readonly Dictionary<nint, string> _handles = [];
    private readonly Dictionary<ulong, nuint> _memory = [];
    private readonly Dictionary<nint, List<Action>> _graphs = [];
    private readonly Dictionary<nint, string> _functions = [];
    private readonly Dictionary<CudaResult, nint> _texts = [];
    private List<Action>? _recording;
    private nint _nextHandle = 0x1000;
    private bool _lost;

    public FakeDriver() => s_current = this;

    /// <summary>Names of all calls so far.</summary>
    public List<string> Calls { get; } = [];

    /// <summary>Kernels that ran, recorded ones at every replay.</summary>
    public List<string> Launches { get; } = [];

    public int Devices { get; init; } = 1;

    public int Version { get; init; } = 12040;

    public int Major { get; init; } = 8;

    public nuint TotalBytes { get; init; } = 1 << 20;

    /// <summary>Bytes that other processes hold.</summary>
    public nuint Taken { get; init; }

    public int LocalBytes { get; init; }

    /// <summary>The compiler's complaint about every module; null = none.</summary>
    public string? JitError { get; init; }

    /// <summary>The call, counted from 0, that answers with <see cref="Fault"/>; -1 = none.</summary>
    public int FaultAt { get; init; } = -1;

    public CudaResult Fault { get; init; } = CudaResult.Unknown;

    /// <summary>Bytes that cuMemGetInfo claims beyond those that cuMemAlloc gives: another process that takes them in between.</summary>
    public nuint Overstated { get; init; }

    /// <summary>Attributes of the last launch that had any.</summary>
    public CudaLaunchAttribute[] LastAttributes { get; private set; } = [];

    /// <summary>What was not given back.</summary>
    public string Leaks => string.Join(", ", _handles.Values.Concat(_memory.Keys.Select(_ => "memory")).Order(StringComparer.Ordinal));

    /// <summary>Bytes of device memory that are allocated.</summary>
    public long DeviceBytes => _memory.Values.Sum(b => (long)b);

    private nuint Used => Taken + (nuint)_memory.Values.Sum(b => (long)b);

    public CudaPlatform Platform() => CudaPlatform.Over(new CudaDriver(Table()));

    public void Dispose()
    {
        foreach (nint text in _texts.Values) Marshal.FreeCoTaskMem(text);
        foreach (ulong pointer in _memory.Keys) NativeMemory.Free((void*)pointer);
        s_current = null;
    }

    /// <summary>Notes a call; answers with the fault when it is its turn, and with it for ever where the fault is the loss of the device.</summary>
    private static CudaResult Enter(string call)
    {
        FakeDriver d = s_current!;
        d.Calls.Add(call);
        if (d.Calls.Count - 1 != d.FaultAt && !d._lost) return CudaResult.Success;
        d._lost = d.Fault == CudaResult.IllegalAddress;
        return d.Fault;
    }

    private static CudaResult Make(string kind, nint* handle, string call)
    {
        CudaResult result = Enter(call);
        if (result != CudaResult.Success) return result;
        FakeDriver d = s_current!;
        *handle = d._nextHandle++;
        d._handles[*handle] = kind;
        return result;
    }

    /// <summary>Releases even where the call reports the loss of the device, as the end of a context does.</summary>
    private static CudaResult End(string kind, nint handle, string call)
    {
        CudaResult result = Enter(call);
        FakeDriver d = s_current!;
        if (!d._handles.TryGetValue(handle, out string? known) || known != kind) return CudaResult.InvalidHandle;
        d._handles.Remove(handle);
        return result;
    }

    private static CudaResult Run(string call, Action work)
    {
        CudaResult result = Enter(call);
        if (result != CudaResult.Success) return result;
        if (s_current!._recording is { } recording) recording.Add(work);
        else work();
        return result;
    }

    private static Action Kernel(nint function, void** arguments)
    {
        FakeDriver d = s_current!;
        string name = d._functions[function];
        if (name != Probe.EntryPoint) return () => d.Launches.Add(name);

        // the driver copies the arguments when a kernel is enqueued
        ulong seed = *(ulong*)arguments[0], values = *(ulong*)arguments[2];
        float scale = *(float*)arguments[1];
        int count = *(int*)arguments[3];
        return () =>
        {
            d.Launches.Add(name);
            for (int i = 0; i < count; i++) ((uint*)values)[i] = CudaSelfTest.Expected(*(uint*)seed, scale, i);
        };
    }

    private static nint Text(CudaResult result, string text)
    {
        FakeDriver d = s_current!;
        if (!d._texts.TryGetValue(result, out nint native)) d._texts[result] = native = Marshal.StringToCoTaskMemUTF8(text);
        return native;
    }

    private static void Write(byte* target, int length, string text)
    {
        var bytes = new Span<byte>(target, length);
        bytes.Clear();
        Encoding.UTF8.GetBytes(text, bytes);
    }
}
