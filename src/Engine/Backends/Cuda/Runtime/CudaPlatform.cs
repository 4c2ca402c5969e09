using System.Globalization;
using System.Runtime.InteropServices;

namespace Foretoken.Backends.Cuda;

/// <summary>CUDA was asked for and is not to be had here. The message says why and what to do.</summary>
public sealed class CudaUnavailableException(string message) : Exception(message);

/// <summary>A device as the driver describes it.</summary>
/// <param name="Ordinal">Its place in the driver's list.</param>
/// <param name="Handle">The driver's handle.</param>
/// <param name="Name">What its maker calls it.</param>
/// <param name="Capabilities">What it can do.</param>
/// <param name="Refusal">Why the kernels cannot run there; null when they can.</param>
internal sealed record CudaDeviceInfo(int Ordinal, int Handle, string Name, CudaCapabilities Capabilities, string? Refusal)
{
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Name}, compute capability {Capabilities.Major}.{Capabilities.Minor}, {Capabilities.Multiprocessors} SMs, {Capabilities.TotalBytes / 1e9:F1} GB");
}

/// <summary>What a device can do, as far as the engine asks. Sizes in bytes.</summary>
/// <param name="Major">Compute capability, before the dot.</param>
/// <param name="Minor">Compute capability, behind the dot.</param>
/// <param name="Multiprocessors">Streaming multiprocessors.</param>
/// <param name="TotalBytes">Memory of the device.</param>
/// <param name="SharedPerBlock">Most shared memory of a block, with the driver's permission (opt-in).</param>
/// <param name="SharedPerMultiprocessor">Shared memory that the blocks of a multiprocessor divide.</param>
/// <param name="L2Bytes">Second-level cache, which all multiprocessors share.</param>
/// <param name="Cooperative">Blocks of one launch can wait for each other.</param>
/// <param name="PciBusId">Domain, bus and device: how other libraries (NVML) find the same device.</param>
internal sealed record CudaCapabilities(
    int Major, int Minor, int Multiprocessors, long TotalBytes, int SharedPerBlock, int SharedPerMultiprocessor, int L2Bytes,
    bool Cooperative, string PciBusId);

/// <summary>What this process sees of CUDA: the driver, or the reason why there is none, and its devices.</summary>
internal sealed class CudaPlatform
{
    /// <summary>The kernels are PTX 8.0, which drivers of CUDA 12.0 and later read (1000·major + 10·minor).</summary>
    public const int NeededDriverVersion = 12000;

    /// <summary>The kernels use instructions of compute capability 8.0 (Ampere).</summary>
    public const int NeededMajor = 8;

    private static readonly Lazy<CudaPlatform> ThisProcess = new(() => CudaDriver.TryLoad(out string reason) is { } driver ? Over(driver) : Without(reason));

    private CudaPlatform(CudaDriver? driver, int driverVersion, IReadOnlyList<CudaDeviceInfo> devices, string reason) =>
        (Driver, DriverVersion, Devices, Reason) = (driver, driverVersion, devices, reason);

    /// <summary>Null where there is none.</summary>
    public CudaDriver? Driver { get; }

    /// <summary>1000·major + 10·minor; 0 without driver.</summary>
    public int DriverVersion { get; }

    /// <summary>All devices that the driver shows, also those that are too old.</summary>
    public IReadOnlyList<CudaDeviceInfo> Devices { get; }

    /// <summary>Why no device can be used, as half a sentence; empty when one can.</summary>
    public string Reason { get; }

    public bool IsUsable => Reason.Length == 0;

    /// <summary>The platform of this process, looked up once.</summary>
    public static CudaPlatform Find() => ThisProcess.Value;

    /// <summary>A process without driver.</summary>
    public static CudaPlatform Without(string reason) => new(null, 0, [], reason);

    /// <summary>Asks a driver for its devices.</summary>
    public static CudaPlatform Over(CudaDriver driver)
    {
        int version = 0;
        try
        {
            driver.Init(0);
            driver.DriverGetVersion(out version);
            if (version < NeededDriverVersion)
                return new CudaPlatform(null, version, [], $"the driver runs CUDA {VersionText(version)}, and the kernels need {VersionText(NeededDriverVersion)}");
            driver.DeviceGetCount(out int count);
            var devices = new CudaDeviceInfo[count];
            for (int i = 0; i < count; i++) devices[i] = Describe(driver, i);
            return new CudaPlatform(driver, version, devices, ReasonOf(devices));
        }
        catch (CudaException e) when ((CudaResult)e.Result == CudaResult.NoDevice)
        {
            return new CudaPlatform(null, version, [], ReasonOf([]));
        }
        catch (CudaException e)
        {
            return new CudaPlatform(null, version, [], $"the driver is there but does not start: {e.Message.TrimEnd('.')}");
        }
    }

    /// <summary>The device to run on.</summary>
    /// <exception cref="CudaUnavailableException">There is none of that number that the kernels run on.</exception>
    public CudaDeviceInfo Require(int ordinal)
    {
        if (!IsUsable)
        {
            throw new CudaUnavailableException(
                $"The device cuda is not available: {Reason}. It needs an NVIDIA GPU of compute capability {NeededMajor}.0 or newer and its driver (525 or newer, no "
                + "CUDA toolkit); in a container, access to the GPU. 'foretoken doctor' shows what is found; without --device the model runs on the processor.");
        }

        if (ordinal < 0 || ordinal >= Devices.Count)
            throw new CudaUnavailableException($"There is no CUDA device {ordinal}: the driver shows {Devices.Count}, numbered from 0.");
        return Devices[ordinal].Refusal is { } refusal
            ? throw new CudaUnavailableException($"CUDA device {ordinal} cannot be used: {refusal}. 'foretoken doctor' lists the others.")
            : Devices[ordinal];
    }

    /// <summary>1000·major + 10·minor as text.</summary>
    public static string VersionText(int version) => string.Create(CultureInfo.InvariantCulture, $"{version / 1000}.{version % 1000 / 10}");

    private static string ReasonOf(IReadOnlyList<CudaDeviceInfo> devices)
    {
        if (devices.Count == 0) return "the driver shows no device";
        return devices.Any(d => d.Refusal is null) ? "" : devices[0].Refusal!;
    }

    private static unsafe CudaDeviceInfo Describe(CudaDriver driver, int ordinal)
    {
        const int nameBytes = 256;
        byte* text = stackalloc byte[nameBytes];
        driver.DeviceGet(out int device, ordinal);
        driver.DeviceGetName(text, nameBytes, device);
        string name = Marshal.PtrToStringUTF8((nint)text) ?? "";
        driver.DeviceGetPciBusId(text, nameBytes, device);
        string pci = Marshal.PtrToStringUTF8((nint)text) ?? "";
        driver.DeviceTotalMem(out nuint bytes, device);
        int Attribute(CudaDeviceAttribute attribute)
        {
            driver.DeviceGetAttribute(out int value, attribute, device);
            return value;
        }

        var capabilities = new CudaCapabilities(
            Attribute(CudaDeviceAttribute.ComputeCapabilityMajor), Attribute(CudaDeviceAttribute.ComputeCapabilityMinor),
            Attribute(CudaDeviceAttribute.MultiprocessorCount), checked((long)bytes), Attribute(CudaDeviceAttribute.SharedBytesPerBlockOptIn),
            Attribute(CudaDeviceAttribute.SharedBytesPerMultiprocessor), Attribute(CudaDeviceAttribute.L2Bytes),
            Attribute(CudaDeviceAttribute.CooperativeLaunch) != 0, pci);
        string? refusal = capabilities.Major >= NeededMajor
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"{name} has compute capability {capabilities.Major}.{capabilities.Minor}, and the kernels need {NeededMajor}.0");
        return new CudaDeviceInfo(ordinal, device, name, capabilities, refusal);
    }
}
