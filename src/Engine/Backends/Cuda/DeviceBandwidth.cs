using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>How fast a device reads its memory, measured with the loads that the products use: what their speed is compared with.</summary>
internal static class DeviceBandwidth
{
    private const long MostBytes = 2L << 30;
    private const int Repeats = 8, Threads = 256, BlocksPerMultiprocessor = 8;

    /// <summary>Gigabytes per second, the best of a few runs over a buffer that no cache holds.</summary>
    public static double Measure(CudaDevice device, CudaStream stream, long mostBytes = MostBytes)
    {
        var plan = new MemoryPlan();
        int blocks = BlocksPerMultiprocessor * device.Info.Capabilities.Multiprocessors;
        long bytes = Math.Min(mostBytes, device.FreeBytes() / 2) / 16 * 16, sums = (long)blocks * Threads;
        using DeviceArena arena = DeviceArena.Allocate(device, DeviceArena.Padded(bytes) + DeviceArena.Padded(sums * sizeof(uint)), "The bandwidth probe", plan);
        DevicePointer<byte> data = arena.Take<byte>("probe", "data", $"[{bytes}] bytes", bytes);
        DevicePointer<uint> to = arena.Take<uint>("probe", "sums", $"[{sums}] u32", sums);
        stream.Fill(data, 1, bytes);
        using CudaEvent start = CudaEvent.Create(device, timing: true), end = CudaEvent.Create(device, timing: true);
        double best = 0;
        for (int i = 0; i < Repeats; i++)
        {
            start.Record(stream);
            new ReadAll { Data = data, Count = bytes / 16, Sums = to, Grid = blocks, Block = Threads }.Launch(stream);
            end.Record(stream);
            end.Synchronize();
            best = Math.Max(best, bytes / Math.Max(1e-6, end.MillisecondsSince(start)) / 1e6);
        }

        return best;
    }
}
