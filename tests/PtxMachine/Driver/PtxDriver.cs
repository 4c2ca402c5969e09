using System.Runtime.InteropServices;

namespace Foretoken.Ptx.Driver;

/// <summary>Results of driver calls (ptx.md §6).</summary>
public static class CuResult
{
    public const int Success = 0, InvalidValue = 1, OutOfMemory = 2, NotInitialized = 3, NoDevice = 100, InvalidDevice = 101, InvalidContext = 201, InvalidPtx = 218,
        UnsupportedPtxVersion = 222, InvalidHandle = 400, NotFound = 500, NotReady = 600, IllegalAddress = 700, LaunchOutOfResources = 701, IllegalInstruction = 715,
        MisalignedAddress = 716, LaunchFailed = 719, NotPermitted = 800, NotSupported = 801, CaptureUnsupported = 900, CaptureInvalidated = 901,
        CaptureUnjoined = 904, CaptureImplicit = 906, CaptureWrongThread = 908, GraphExecUpdateFailure = 910, Unknown = 999;
}

/// <summary>
/// The CUDA driver's functions over a <see cref="PtxMachine"/>, as unmanaged function pointers by export name (<see cref="Export"/>, <see cref="Fill{T}"/>).
/// Streams are lazy: asynchronous work runs when somebody waits for it, so that a missing synchronisation shows. A kernel's fault becomes the CUresult that
/// a GPU would give, sticks to the context as it does there, and is kept whole in <see cref="LastFault"/>.
/// <para>One driver serves the thread that made it, and every thread that makes one of its contexts current.</para>
/// </summary>
public sealed unsafe partial class PtxDriver : IDisposable
{
    [ThreadStatic]
    private static PtxDriver? s_current;
    private static PtxDriver? s_latest;
    private static long s_handles = 0x5000_0000;
    private static readonly Dictionary<nint, PtxDriver> Contexts = [];
    private static readonly Lock ContextsLock = new();

    private readonly Dictionary<nint, object> _objects = [];
    private readonly Dictionary<nint, nuint> _hostMemory = [];
    private readonly Dictionary<int, nint> _texts = [];
    private readonly HashSet<ulong> _deviceMemory = [];
    private readonly Dictionary<string, int> _callCounts = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private int _sticky;
    private int _retained;
    private nint _context;
    private bool _initialised;

    public PtxDriver(PtxMachineOptions? options = null)
    {
        Machine = new PtxMachine(options);
        s_current = s_latest = this;
    }

    public PtxMachine Machine { get; }

    /// <summary>The fault behind the error that sticks, null when there was none.</summary>
    public Exception? LastFault { get; private set; }

    /// <summary>Calls so far, those that failed included.</summary>
    public long Calls { get; private set; }

    /// <summary>Calls by export name.</summary>
    public IReadOnlyDictionary<string, int> CallCounts => _callCounts;

    /// <summary>Kernels in the order in which they ran.</summary>
    public List<string> Launches { get; } = [];

    /// <summary>Number of the call, from 1, that fails with <see cref="FaultResult"/>; 0: none.</summary>
    public long FaultAtCall { get; set; }

    /// <summary>What the injected fault returns; a call that releases something does so all the same. Results from 700 to 719 stick, as they do on a device that is lost.</summary>
    public int FaultResult { get; set; } = CuResult.OutOfMemory;

    /// <summary>Export that the injected fault met; null before.</summary>
    public string? FaultCall { get; private set; }

    /// <summary>Number of devices shown.</summary>
    public int DeviceCount { get; set; } = 1;

    /// <summary>1000·major + 10·minor.</summary>
    public int DriverVersion { get; set; } = 12080;

    /// <summary>What was made and not released: kinds and buffers, empty when nothing leaked. Modules' own variables are not counted.</summary>
    public IReadOnlyList<string> Leaks
    {
        get
        {
            lock (_lock)
            {
                IEnumerable<string> objects = _objects.Where(o => o.Value is not Function).Select(o => o.Value.GetType().Name);
                return [.. objects, .. _deviceMemory.Select(a => $"device memory 0x{a:x}"), .. _hostMemory.Select(h => $"host memory of {h.Value} bytes"), .. Enumerable.Repeat("primary context", _retained)];
            }
        }
    }

    /// <summary>Makes this the driver of the calling thread.</summary>
    public void Use() => s_current = this;

    public void Dispose()
    {
        foreach (nint memory in _hostMemory.Keys)
            NativeMemory.AlignedFree((void*)memory);
        foreach (nint text in _texts.Values)
            Marshal.FreeCoTaskMem(text);
        foreach (Module module in _objects.Values.OfType<Module>())
            module.Code.Dispose();
        lock (ContextsLock)
            Contexts.Remove(_context);
        if (s_current == this)
            s_current = null;
        Interlocked.CompareExchange(ref s_latest, null, this);
        Machine.Dispose();
    }

    /// <summary>The address of an export, 0 when the driver does not have it. Callable with the platform's C convention.</summary>
    public static nint Export(string name) => Exports.TryGetValue(name, out nint address) ? address : 0;

    /// <summary>
    /// A structure of function pointers whose fields have the names of exports (such as a generated driver table), filled.
    /// </summary>
    /// <exception cref="EntryPointNotFoundException">A field names no export that this driver has.</exception>
    public static T Fill<T>()
        where T : unmanaged
    {
        T table = default;
        var slots = new Span<nint>(&table, sizeof(T) / sizeof(nint));
        System.Reflection.FieldInfo[] fields = typeof(T).GetFields(System.Reflection.BindingFlags.Instance | System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.NonPublic);
        Array.Sort(fields, (a, b) => a.MetadataToken.CompareTo(b.MetadataToken)); // sequential layout: the order of declaration
        if (fields.Length != slots.Length)
            throw new ArgumentException($"{typeof(T).Name} is no structure of function pointers.");
        for (int n = 0; n < slots.Length; n++)
            slots[n] = Export(fields[n].Name) is var address && address != 0 ? address : throw new EntryPointNotFoundException($"the PTX machine's driver has no {fields[n].Name}");
        return table;
    }

    private static PtxDriver Current => s_current ?? s_latest ?? throw new InvalidOperationException("No PtxDriver was made on this thread.");

    /// <summary>Every export begins here: counts the call, injects the fault, reports the error that sticks.</summary>
    private static bool Enter(string name, out PtxDriver driver, out int result, bool needsContext = true, bool release = false)
    {
        driver = Current;
        lock (driver._lock)
        {
            result = CuResult.Success;
            driver.Calls++;
            driver._callCounts[name] = driver._callCounts.GetValueOrDefault(name) + 1;
            bool injected = driver.Calls == driver.FaultAtCall;
            if (injected)
            {
                result = driver.FaultResult;
                driver.FaultCall = name;
                if (result is >= 700 and < 720)
                    driver._sticky = result;
            }
            else if (!driver._initialised && name is not ("cuInit" or "cuGetErrorName" or "cuGetErrorString" or "cuDriverGetVersion" or "cuGetProcAddress_v2"))
            {
                result = CuResult.NotInitialized;
            }
            else if (needsContext && driver._sticky != 0)
            {
                result = driver._sticky;
            }
            else if (needsContext && driver._context == 0)
            {
                result = CuResult.InvalidContext;
            }

            return result == CuResult.Success || (release && (injected || result == driver._sticky)); // releases release, whatever they report
        }
    }

    /// <summary>Runs a call's body; exceptions become results.</summary>
    private int Guard(Func<int> body)
    {
        try
        {
            lock (_lock)
                return body();
        }
        catch (PtxFaultException e)
        {
            return Fail(e);
        }
        catch (OutOfMemoryException)
        {
            return CuResult.OutOfMemory;
        }
        catch (Exception e) // nothing may cross into unmanaged code
        {
            LastFault = e;
            return CuResult.Unknown;
        }
    }

    /// <summary>A release, which reports the error it began with even though it is done.</summary>
    private int Release(int error, Func<int> body)
    {
        int result = Guard(body);
        return error != CuResult.Success ? error : result;
    }

    private int Fail(PtxFaultException e)
    {
        LastFault = e;
        int result = e.Kind switch
        {
            PtxFaultKind.Misaligned => CuResult.MisalignedAddress,
            PtxFaultKind.OutOfBounds => CuResult.IllegalAddress,
            PtxFaultKind.IllegalInstruction => CuResult.IllegalInstruction,
            PtxFaultKind.InvalidLaunch => CuResult.InvalidValue,
            _ => CuResult.LaunchFailed,
        };
        if (e.Kind != PtxFaultKind.InvalidLaunch)
            _sticky = result;
        return result;
    }

    private nint Add(object value)
    {
        nint handle = (nint)Interlocked.Add(ref s_handles, 16);
        _objects[handle] = value;
        return handle;
    }

    private T? Find<T>(nint handle)
        where T : class => _objects.GetValueOrDefault(handle) as T;

    private sealed record Module(PtxModule Code);

    private sealed record Function(Module Owner, string Name)
    {
        public int MaxDynamicShared { get; set; } = 48 << 10;
    }
}
