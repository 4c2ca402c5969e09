using System.Runtime.InteropServices;
using Foretoken.Backends.Cuda;

namespace Foretoken.Tests.Backends.Cuda;

public sealed unsafe class PowerMeterTests
{
    [Fact]
    public void Readings_are_in_watts_joules_and_bytes_and_missing_ones_are_null()
    {
        using PowerMeter meter = PowerMeter.TryOpen(new Nvml(Table()), "0000:01:00.0", out string reason)!;
        Assert.Equal("", reason);
        Assert.Equal(new PowerReading(Watts: 82.5, Joules: null, UsedBytes: 3_000_000_000), meter.Read());
    }

    [Fact]
    public void Device_that_nvml_does_not_know_is_a_reason()
    {
        Assert.Null(PowerMeter.TryOpen(new Nvml(Table()), "0000:02:00.0", out string reason));
        Assert.Equal("NVML does not know the device 0000:02:00.0 (6)", reason);
    }

    private static NvmlTable Table() => new()
    {
        nvmlInit_v2 = &Init,
        nvmlShutdown = &Init,
        nvmlDeviceGetHandleByPciBusId_v2 = &Handle,
        nvmlDeviceGetMemoryInfo = &Memory,
        nvmlDeviceGetPowerUsage = &Power,
        nvmlDeviceGetTotalEnergyConsumption = &Energy,
    };

    [UnmanagedCallersOnly]
    private static NvmlResult Init() => NvmlResult.Success;

    [UnmanagedCallersOnly]
    private static NvmlResult Handle(byte* id, nint* device)
    {
        *device = 5;
        return Marshal.PtrToStringUTF8((nint)id) == "0000:01:00.0" ? NvmlResult.Success : (NvmlResult)6;
    }

    [UnmanagedCallersOnly]
    private static NvmlResult Memory(nint device, NvmlMemory* memory)
    {
        *memory = new NvmlMemory { Total = 4_000_000_000, Free = 1_000_000_000, Used = 3_000_000_000 };
        return NvmlResult.Success;
    }

    [UnmanagedCallersOnly]
    private static NvmlResult Power(nint device, uint* milliwatts)
    {
        *milliwatts = 82_500;
        return NvmlResult.Success;
    }

    [UnmanagedCallersOnly]
    private static NvmlResult Energy(nint device, ulong* millijoules) => NvmlResult.NotSupported;
}
