using Foretoken.Backends.Cuda;
using Foretoken.Tests.Cli;

namespace Foretoken.Tests.Backends.Cuda;

public sealed class CudaPlatformTests
{
    [Fact]
    public void Every_device_is_seen_with_its_capabilities()
    {
        using var fake = new FakeDriver { Devices = 3 };
        CudaPlatform platform = fake.Platform();
        Assert.True(platform.IsUsable);
        Assert.Equal(["Fake 0", "Fake 1", "Fake 2"], platform.Devices.Select(d => d.Name));
        Assert.Equal((8, 4, 1L << 20, 163 << 10, true, "0000:02:00.0"), Short(platform.Require(2).Capabilities));
        Assert.Contains("no CUDA device 3: the driver shows 3", Assert.Throws<CudaUnavailableException>(() => platform.Require(3)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Old_driver_old_device_and_no_device_are_reasons()
    {
        Assert.Equal("the driver runs CUDA 11.4, and the kernels need 12.0", Reason(new FakeDriver { Version = 11040 }));
        Assert.Equal("Fake 0 has compute capability 7.0, and the kernels need 8.0", Reason(new FakeDriver { Major = 7 }));
        Assert.Equal("the driver shows no device", Reason(new FakeDriver { Devices = 0 }));
        Assert.Equal("the driver shows no device", Reason(new FakeDriver { FaultAt = 0, Fault = CudaResult.NoDevice }));
        Assert.Equal(
            "the driver is there but does not start: cuInit failed with CUDA_ERROR_STUBLIBRARY (34): the driver has no text for it",
            Reason(new FakeDriver { FaultAt = 0, Fault = CudaResult.StubLibrary }));
    }

    [Fact]
    public void Absent_library_is_a_reason_that_names_the_files()
    {
        if (System.Runtime.InteropServices.NativeLibrary.TryLoad("libcuda.so.1", out _) || System.Runtime.InteropServices.NativeLibrary.TryLoad("nvcuda.dll", out _))
            return; // this machine has a driver
        Assert.Equal("libcuda.so.1 and nvcuda.dll cannot be loaded", CudaPlatform.Find().Reason);
        Assert.Equal(0, CudaPlatform.Find().DriverVersion);
    }

    [Fact]
    public void Doctor_lists_devices_with_their_self_test()
    {
        using var fake = new FakeDriver { Devices = 2 };
        CudaPlatform platform = fake.Platform();
        CliResult result = new CliTestHost { Cuda = platform }.Run("doctor", "--threads", "1");
        Assert.Contains("driver for CUDA 12.4", result.Output, StringComparison.Ordinal);
        Assert.Contains("cuda device 1     Fake 1, compute capability 8.0, 4 SMs, 0.0 GB, self-test passed", result.Output, StringComparison.Ordinal);
    }

    private static string Reason(FakeDriver fake)
    {
        using (fake) return fake.Platform().Reason;
    }

    private static (int, int, long, int, bool, string) Short(CudaCapabilities c) =>
        (c.Major, c.Multiprocessors, c.TotalBytes, c.SharedPerBlock, c.Cooperative, c.PciBusId);
}
