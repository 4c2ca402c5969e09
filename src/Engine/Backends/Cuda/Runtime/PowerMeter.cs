using System.Text;

namespace Foretoken.Backends.Cuda;

/// <summary>What NVML reads of one device. A value that the device does not give is null.</summary>
/// <param name="Watts">Power draw.</param>
/// <param name="Joules">Energy since the driver was loaded: the difference of two readings is exact where power readings are averages.</param>
/// <param name="UsedBytes">Memory in use by all processes.</param>
internal readonly record struct PowerReading(double? Watts, double? Joules, long? UsedBytes);

/// <summary>Reads power, energy and memory of a device through NVML where that is present.</summary>
internal sealed class PowerMeter : IDisposable
{
    private readonly Nvml _nvml;
    private readonly nint _device;
    private bool _disposed;

    private PowerMeter(Nvml nvml, nint device) => (_nvml, _device) = (nvml, device);

    /// <summary>Null with the reason where NVML is absent or does not know the device.</summary>
    /// <param name="pciBusId">The device's, as the CUDA driver writes it.</param>
    /// <param name="reason">Why there is none; empty where there is one.</param>
    public static PowerMeter? TryOpen(string pciBusId, out string reason) =>
        Nvml.TryLoad(out reason) is { } nvml ? TryOpen(nvml, pciBusId, out reason) : null;

    /// <summary>The same over a given library.</summary>
    public static unsafe PowerMeter? TryOpen(Nvml nvml, string pciBusId, out string reason)
    {
        NvmlResult started = nvml.Init();
        if (started != NvmlResult.Success)
        {
            reason = FormattableString.Invariant($"nvmlInit_v2 answers {(int)started}");
            return null;
        }

        fixed (byte* id = (byte[])[.. Encoding.UTF8.GetBytes(pciBusId), 0])
        {
            NvmlResult found = nvml.DeviceGetHandleByPciBusId(id, out nint device);
            if (found == NvmlResult.Success)
            {
                reason = "";
                return new PowerMeter(nvml, device);
            }

            _ = nvml.Shutdown();
            reason = FormattableString.Invariant($"NVML does not know the device {pciBusId} ({(int)found})");
            return null;
        }
    }

    public PowerReading Read()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        bool power = _nvml.DeviceGetPowerUsage(_device, out uint milliwatts) == NvmlResult.Success;
        bool energy = _nvml.DeviceGetTotalEnergyConsumption(_device, out ulong millijoules) == NvmlResult.Success;
        bool memory = _nvml.DeviceGetMemoryInfo(_device, out NvmlMemory bytes) == NvmlResult.Success;
        return new PowerReading(power ? milliwatts / 1e3 : null, energy ? millijoules / 1e3 : null, memory ? checked((long)bytes.Used) : null);
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _ = _nvml.Shutdown();
    }
}
