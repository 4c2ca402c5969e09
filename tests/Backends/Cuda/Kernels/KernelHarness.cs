using Foretoken.Backends.Cuda;
using Foretoken.Memory;
using Foretoken.Numerics;
using Foretoken.Ptx;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>A device that is the PTX machine, with buffers for one test.</summary>
internal sealed class KernelHarness : IDisposable
{
    private readonly MachineDevice _machine;

    public KernelHarness(params string[] modules)
        : this(null, modules)
    {
    }

    public KernelHarness(PtxMachineOptions? options, params string[] modules)
    {
        _machine = new MachineDevice(options);
        Device = CudaDevice.Open(_machine.Platform, 0, modules);
        Stream = CudaStream.Create(Device);
    }

    public CudaDevice Device { get; }

    public PtxMachine Machine => _machine.Machine;

    public CudaStream Stream { get; }

    public MemoryPlan Plan { get; } = new();

    public DevicePointer<T> Allocate<T>(long count)
        where T : unmanaged
    {
        int size = System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
        return DeviceArena.Allocate(Device, Math.Max(1, count) * size, "A test", Plan).Take<T>("test", "buffer", "", Math.Max(1, count));
    }

    public DevicePointer<T> Upload<T>(params T[] values)
        where T : unmanaged
    {
        DevicePointer<T> to = Allocate<T>(values.Length);
        using var copy = new StagedCopy(Stream, 1 << 20, Plan);
        copy.Upload<T>(values, to);
        Stream.Synchronize();
        return to;
    }

    public T[] Download<T>(DevicePointer<T> from, int count)
        where T : unmanaged
    {
        var values = new T[count];
        Download(Stream, from, values, Plan);
        return values;
    }

    /// <summary>Copies from a device and waits.</summary>
    public static void Download<T>(CudaStream stream, DevicePointer<T> from, T[] values, MemoryPlan plan)
        where T : unmanaged
    {
        if (values.Length == 0) return;
        long bytes = (long)values.Length * System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
        using PinnedBuffer pinned = PinnedBuffer.Allocate(stream.Device, "test", "download", "", bytes, plan);
        stream.Download(from, pinned, 0, bytes);
        stream.Synchronize();
        pinned.Span<T>(0, values.Length).CopyTo(values);
    }

    /// <summary>Numbers in (−1, 1), the same for the same seed.</summary>
    public static float[] Random(int count, ulong seed, float scale = 1)
    {
        var values = new float[count];
        for (int i = 0; i < count; i++) values[i] = (float)(CounterRandom.Uniform(seed, (ulong)i) * 2 - 1) * scale;
        return values;
    }

    public void Dispose()
    {
        Device.Dispose();
        _machine.Dispose();
    }
}
