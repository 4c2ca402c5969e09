using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Ptx;
using Foretoken.Ptx.Driver;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>The engine's driver layer over the PTX machine: nothing but the table of functions differs from a GPU.</summary>
public sealed class PtxMachineDriverTests
{
    private static readonly PtxMachineOptions Options = new() { GlobalBytes = 16 << 20 };

    private static CudaPlatform Platform() => CudaPlatform.Over(new CudaDriver(PtxDriver.Fill<CudaDriverTable>()));

    [Fact]
    public void Self_test_runs_its_PTX_and_leaves_nothing_behind()
    {
        using var driver = new PtxDriver(Options);
        Assert.Null(CudaSelfTest.Run(Platform(), 0));
        Assert.Equal([Probe.EntryPoint], driver.Launches);
        Assert.Empty(driver.Leaks);
        Assert.Empty(driver.Machine.LiveAllocations);
    }

    [Fact]
    public void Every_kernel_that_the_engine_carries_is_understood()
    {
        using var machine = new PtxMachine(Options);
        foreach (string module in KernelRegistry.All.ToArray().Select(k => k.Module).Distinct())
            machine.LoadModule(CudaKernels.ReadPtx(module), $"cu/ptx/{module}.ptx").Dispose();
    }

    [Theory]
    [InlineData(CuResult.OutOfMemory)]
    [InlineData(CuResult.IllegalAddress)] // the device is lost: every later call fails too
    public void Fault_at_any_call_of_the_self_test_is_reported_and_leaks_nothing(int fault)
    {
        long calls;
        using (var driver = new PtxDriver(Options))
        {
            Assert.Null(CudaSelfTest.Run(Platform(), 0));
            calls = driver.Calls;
        }

        for (long call = 1; call <= calls; call++)
        {
            using var driver = new PtxDriver(Options) { FaultAtCall = call, FaultResult = fault };
            string? report = CudaSelfTest.Run(Platform(), 0);
            Assert.True(report is null or { Length: > 20 }, report); // a release that fails is no error of the work before it
            Assert.True(driver.Leaks.Count == 0, $"call {call}: {string.Join(", ", driver.Leaks)}");
        }
    }
}
