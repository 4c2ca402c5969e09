using System.Runtime.InteropServices;
using Foretoken.Ptx.Execution;
using Foretoken.Ptx.Memory;

namespace Foretoken.Ptx;

/// <summary>
/// Runs PTX on the CPU: load a module from its text, allocate and fill buffers, launch kernels by name, read results and counters. What a kernel does wrong
/// (addresses, alignment, unwritten memory and registers, races in shared memory, divergent barriers) is a <see cref="PtxFaultException"/> that names the
/// PTX line, block and thread. README.md beside this file shows the use and says what is and is not modelled.
/// </summary>
public sealed unsafe class PtxMachine : IDisposable
{
    private readonly Dictionary<string, PtxCounters> _counters = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();

    public PtxMachine(PtxMachineOptions? options = null)
    {
        Options = options ?? new PtxMachineOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(Options.GlobalBytes, 256, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegative(Options.SharedBytesPerBlock, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(Options.Multiprocessors, 1, nameof(options));
        Global = new GlobalMemory(Options.GlobalBytes) { CheckInitialised = Options.CheckInitialised };
    }

    public PtxMachineOptions Options { get; }

    internal GlobalMemory Global { get; }

    /// <summary>Sums of the counters by kernel, since the machine was made or <see cref="ResetCounters"/>.</summary>
    public IReadOnlyDictionary<string, PtxCounters> Counters
    {
        get
        {
            lock (_lock)
                return new Dictionary<string, PtxCounters>(_counters, StringComparer.Ordinal);
        }
    }

    /// <summary>Buffers that were allocated and not freed, module variables included.</summary>
    public IReadOnlyList<(ulong Address, long Bytes, string Purpose)> LiveAllocations => Global.Live();

    public void ResetCounters()
    {
        lock (_lock)
            _counters.Clear();
    }

    public void Dispose() => Global.Dispose();

    /// <summary>Parses a module; with <paramref name="decodeAll"/> every kernel too, so that an unknown instruction anywhere is found at once.</summary>
    /// <exception cref="PtxParseException">With the line.</exception>
    public PtxModule LoadModule(string text, string name = "module.ptx", bool decodeAll = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        ThrowIfDisposed();
        var module = new PtxModule(text, name, Global, Options.ComputeCapability);
        if (!decodeAll)
            return module;
        try
        {
            module.DecodeAll();
            return module;
        }
        catch
        {
            module.Dispose();
            throw;
        }
    }

    /// <summary>A buffer nobody wrote: reading it is a fault.</summary>
    /// <exception cref="OutOfMemoryException">The device's memory is full.</exception>
    public PtxBuffer Allocate(long bytes, string purpose = "buffer")
    {
        ThrowIfDisposed();
        ulong address = Global.Allocate(bytes, purpose);
        return address != 0 ? new PtxBuffer(address, bytes) : throw new OutOfMemoryException($"{purpose}: {bytes:N0} bytes do not fit in the device's {Options.GlobalBytes:N0}.");
    }

    /// <summary>A buffer with the values.</summary>
    public PtxBuffer Upload<T>(ReadOnlySpan<T> values, string purpose = "buffer")
        where T : unmanaged
    {
        PtxBuffer buffer = Allocate(Math.Max((long)values.Length * sizeof(T), 1), purpose);
        Write(buffer.Address, values);
        return buffer;
    }

    public PtxBuffer Upload<T>(T[] values, string purpose = "buffer")
        where T : unmanaged => Upload((ReadOnlySpan<T>)values, purpose);

    /// <summary>Copies to the device.</summary>
    /// <exception cref="PtxFaultException">The range lies outside every buffer.</exception>
    public void Write<T>(ulong address, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        long bytes = (long)values.Length * sizeof(T);
        MemoryMarshal.AsBytes(values).CopyTo(new Span<byte>(Host(address, bytes), (int)bytes));
        Global.MarkWritten(address, bytes);
    }

    /// <summary>Copies from the device; unwritten bytes come as they are (0xFF).</summary>
    public T[] Read<T>(ulong address, int count)
        where T : unmanaged
    {
        var result = new T[count];
        long bytes = (long)count * sizeof(T);
        new ReadOnlySpan<byte>(Host(address, bytes), (int)bytes).CopyTo(MemoryMarshal.AsBytes(result.AsSpan()));
        return result;
    }

    public T[] Read<T>(PtxBuffer buffer)
        where T : unmanaged => Read<T>(buffer.Address, (int)(buffer.Bytes / sizeof(T)));

    /// <summary>True when every byte of the range was written.</summary>
    public bool IsWritten(ulong address, long bytes)
    {
        Host(address, bytes);
        return Global.IsWritten(address, bytes);
    }

    /// <exception cref="PtxFaultException">The buffer was freed before.</exception>
    public void Free(PtxBuffer buffer)
    {
        ThrowIfDisposed();
        if (!Global.Free(buffer.Address))
            throw new PtxFaultException(PtxFaultKind.OutOfBounds, $"0x{buffer.Address:x} is not the start of a buffer: freed twice?");
    }

    /// <summary>
    /// Runs a kernel to its end. Arguments in the kernel's order: <see cref="PtxBuffer"/> or a number of just the parameter's size (structs as byte[]).
    /// </summary>
    /// <exception cref="PtxFaultException">The launch is impossible, or the kernel did something wrong.</exception>
    public PtxCounters Launch(PtxModule module, string kernel, Dim3 grid, Dim3 block, int sharedBytes, params ReadOnlySpan<object> arguments)
    {
        ArgumentNullException.ThrowIfNull(module);
        ThrowIfDisposed();
        Kernel code = module.Kernel(kernel);
        return Launch(code, grid, block, sharedBytes, ArgumentBytes(code, arguments));
    }

    internal PtxCounters Launch(Kernel kernel, Dim3 grid, Dim3 block, int sharedBytes, byte[] arguments)
    {
        var launch = new Launch(Options, Global, kernel, grid, block, sharedBytes, arguments);
        PtxCounters counters;
        try
        {
            counters = launch.Run();
        }
        finally
        {
            launch.ForgetMarks();
        }

        lock (_lock)
        {
            if (!_counters.TryGetValue(kernel.Name, out PtxCounters? sum))
                _counters[kernel.Name] = sum = new PtxCounters();
            sum.Add(counters);
        }

        return counters;
    }

    private static byte[] ArgumentBytes(Kernel kernel, ReadOnlySpan<object> arguments)
    {
        if (arguments.Length != kernel.Parameters.Length)
            throw new PtxFaultException(PtxFaultKind.InvalidLaunch, $"InvalidLaunch: kernel {kernel.Name} takes {kernel.Parameters.Length} arguments, {arguments.Length} were given");
        var bytes = new byte[kernel.ParameterBytes];
        for (int n = 0; n < arguments.Length; n++)
        {
            KernelParameter parameter = kernel.Parameters[n];
            byte[] value = Bytes(arguments[n]);
            if (value.Length != parameter.Bytes)
                throw new PtxFaultException(
                    PtxFaultKind.InvalidLaunch,
                    $"InvalidLaunch: kernel {kernel.Name}: argument {n} ({parameter.Name}) has {parameter.Bytes} bytes, a {arguments[n].GetType().Name} was given");
            value.CopyTo(bytes, parameter.Offset);
        }

        return bytes;
    }

    private static byte[] Bytes(object argument) => argument switch
    {
        PtxBuffer buffer => BitConverter.GetBytes(buffer.Address),
        ulong v => BitConverter.GetBytes(v),
        long v => BitConverter.GetBytes(v),
        uint v => BitConverter.GetBytes(v),
        int v => BitConverter.GetBytes(v),
        ushort v => BitConverter.GetBytes(v),
        short v => BitConverter.GetBytes(v),
        byte v => [v],
        sbyte v => [(byte)v],
        bool v => [v ? (byte)1 : (byte)0],
        float v => BitConverter.GetBytes(v),
        double v => BitConverter.GetBytes(v),
        Half v => BitConverter.GetBytes(v),
        byte[] v => v,
        null => throw new ArgumentException("A kernel argument is null."),
        _ => throw new ArgumentException($"A kernel argument of type {argument.GetType().Name} is not known; pass structs as byte[]."),
    };

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(Global.Data == null, this);

    private byte* Host(ulong address, long bytes)
    {
        ThrowIfDisposed();
        byte* host = Global.Host(address, bytes);
        return host != null ? host : throw new PtxFaultException(PtxFaultKind.OutOfBounds, $"OutOfBounds: {bytes} bytes from the host; {Global.Describe(address)}");
    }
}

/// <summary>A buffer in the machine's global memory.</summary>
public readonly record struct PtxBuffer(ulong Address, long Bytes)
{
    /// <summary>The part from a byte on.</summary>
    public PtxBuffer At(long offset) => new(Address + (ulong)offset, Bytes - offset);
}
