namespace Foretoken.Backends.Cuda;

/// <summary>nvmlReturn_t: what the engine tells apart.</summary>
internal enum NvmlResult
{
    Success = 0,
    NotSupported = 3,
    NoPermission = 4,
}

/// <summary>nvmlMemory_t, bytes.</summary>
internal struct NvmlMemory
{
    public ulong Total;
    public ulong Free;
    public ulong Used;
}

/// <summary>
/// The functions of NVML (NVIDIA management library) that the engine calls: power, energy and memory of a device. NVML counts devices in an order of its own;
/// they are matched by PCI bus id.
/// </summary>
[NativeTable(typeof(NvmlResult), "libnvidia-ml.so.1", "nvml.dll")]
internal sealed unsafe partial class Nvml
{
    [NativeFunction("nvmlInit_v2")]
    public partial NvmlResult Init();

    [NativeFunction("nvmlShutdown")]
    public partial NvmlResult Shutdown();

    [NativeFunction("nvmlDeviceGetHandleByPciBusId_v2")]
    public partial NvmlResult DeviceGetHandleByPciBusId(byte* id, out nint device);

    [NativeFunction("nvmlDeviceGetMemoryInfo")]
    public partial NvmlResult DeviceGetMemoryInfo(nint device, out NvmlMemory memory);

    /// <param name="device">The library's handle.</param>
    /// <param name="milliwatts">Mean of the last second from Ampere on, but for GA100.</param>
    [NativeFunction("nvmlDeviceGetPowerUsage")]
    public partial NvmlResult DeviceGetPowerUsage(nint device, out uint milliwatts);

    /// <param name="device">The library's handle.</param>
    /// <param name="millijoules">Since the driver was loaded.</param>
    [NativeFunction("nvmlDeviceGetTotalEnergyConsumption")]
    public partial NvmlResult DeviceGetTotalEnergyConsumption(nint device, out ulong millijoules);
}
