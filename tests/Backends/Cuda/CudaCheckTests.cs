using Foretoken.Ptx;
using Foretoken.Tests.Backends.Cuda.Kernels;
using Foretoken.Tests.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary><c>doctor --cuda</c> on the PTX machine: what perf/gpu.sh runs on a device.</summary>
public sealed class CudaCheckTests
{
    [Fact]
    public void Doctor_holds_the_device_to_the_processor_and_to_itself()
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1, Hidden = 32, HeadDim = 8, Intermediate = 48 }.Write(directory.Path);
        using var machine = new MachineDevice(new PtxMachineOptions { Threads = 1, Count = false });
        CliResult result = new CliTestHost { Cuda = machine.Platform }.Run("doctor", "--cuda", "--threads", "1", "--model", directory.Path);
        Assert.True(result.Code == 0, result.Output + result.Error);
        Assert.Matches(@"cuda kernels +\d+ compiled in \d+\.\d s, at most \d+ registers, none spills", result.Output);
        Assert.Matches(@"cuda logits f32 +\d\.\dE-0\d\d from the processor's, at most 1E-003", result.Output);
        Assert.Matches(@"cuda logits bf16 +\d\.\dE-0\d\d from the processor's, at most 2E-002", result.Output);
        Assert.Contains("cuda tokens       24 equal to the processor's", result.Output, StringComparison.Ordinal);
        Assert.Contains("cuda rows bf16    equal bits in passes of 1, 7 and 24 rows", result.Output, StringComparison.Ordinal);
        Assert.Contains("cuda answers int8 equal tokens and log-probabilities", result.Output, StringComparison.Ordinal);
        Assert.Empty(machine.Driver.Leaks);
    }

    [Fact]
    public void A_device_that_computes_otherwise_is_found()
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1, Hidden = 32, HeadDim = 8, Intermediate = 48 }.Write(directory.Path);
        using var fake = new FakeDriver { TotalBytes = 256 << 20 }; // it runs kernels as nothing
        CliResult result = new CliTestHost { Cuda = fake.Platform() }.Run("doctor", "--cuda", "--threads", "1", "--model", directory.Path);
        Assert.Equal(1, result.Code);
        Assert.Matches("cuda logits f32 +FAILED: ", result.Output);
        Assert.Matches("cuda tokens +FAILED: ", result.Output);
    }

    [Fact]
    public void Without_a_driver_the_check_says_why() => new CliTestHost { Cuda = Foretoken.Backends.Cuda.CudaPlatform.Without("there is none") }
        .Run("doctor", "--cuda").FailsWith(1, "The device cuda is not available: there is none");
}
