using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <summary>Runs the kernel <c>probe</c> on a device and compares its answer: the whole chain from PTX to numbers on the host.</summary>
internal static class CudaSelfTest
{
    private const int Count = 1000;
    private const uint Seed = 20240229;
    private const float Scale = 0.75f;

    /// <summary>Opens the device, runs the kernel and closes it again. Null when the numbers are right, else what is wrong.</summary>
    public static string? Run(CudaPlatform platform, int ordinal)
    {
        try
        {
            using CudaDevice device = CudaDevice.Open(platform, ordinal, [Probe.Module]);
            return Run(device);
        }
        catch (Exception e) when (e is CudaException or CudaUnavailableException or OutOfMemoryBudgetException)
        {
            return e.Message;
        }
    }

    /// <summary>What <c>probe</c> stores at <paramref name="i"/>.</summary>
    internal static uint Expected(uint seed, float scale, int i)
    {
        uint x = seed ^ (uint)i;
        x = (x ^ (x >> 16)) * 0x7feb352du;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        return x ^ (x >> 16) ^ (uint)(int)MathF.FusedMultiplyAdd(i, scale, 0.5f);
    }

    private static string? Run(CudaDevice device)
    {
        var plan = new MemoryPlan();
        CudaStream stream = CudaStream.Create(device);
        DeviceArena arena = DeviceArena.Allocate(device, (2 * DeviceArena.Alignment) + (Count * sizeof(uint)), "The self-test", plan);
        DevicePointer<uint> seed = arena.Take<uint>("self-test", "seed", "[1] u32", 1); // [1]
        DevicePointer<uint> values = arena.Take<uint>("self-test", "values", "[1000] u32", Count); // [count]
        PinnedBuffer host = PinnedBuffer.Allocate(device, "self-test", "host", "[1000] u32", Count * sizeof(uint), plan);
        host.Span<uint>(0, 1)[0] = Seed;
        stream.Upload(host, 0, seed, sizeof(uint));
        new Probe { Seed = seed, Scale = Scale, Values = values, Count = Count, Grid = 3, Block = 128 }.Launch(stream);
        stream.Synchronize();
        stream.Download(values, host, 0, Count * sizeof(uint));
        stream.Synchronize();
        Span<uint> answer = host.Span<uint>(0, Count);
        for (int i = 0; i < Count; i++)
        {
            if (answer[i] != Expected(Seed, Scale, i))
                return FormattableString.Invariant($"the kernel probe stored {answer[i]} at {i} instead of {Expected(Seed, Scale, i)}");
        }

        return null;
    }
}
