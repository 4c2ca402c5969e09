using System.Text.Json;
using Foretoken.Ptx;
using Foretoken.Tests.Backends.Cuda.Kernels;
using Foretoken.Tests.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary><c>bench --device cuda</c> on the PTX machine: what perf/gpu.sh runs on a device.</summary>
public sealed class CudaBenchTests
{
    [Fact]
    public void Rows_on_cuda_report_bandwidth_tokens_and_the_cost_of_rows()
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1 }.Write(directory.Path);
        using var machine = new MachineDevice(new PtxMachineOptions { Threads = 2, GlobalBytes = 16 << 20 });
        CliResult result = new CliTestHost { Cuda = machine.Platform }.Run(
            "bench", "rows", "--device", "cuda", "--model", directory.Path, "--tokens", "2", "--rows", "2", "--repeat", "1", "--json");
        Assert.True(result.Code == 0, result.Error);
        JsonElement root = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal("bf16", root.GetProperty("type").GetString());
        Assert.True(root.GetProperty("read_gb_per_second").GetDouble() > 0);
        Assert.Equal([1, 2], root.GetProperty("passes").EnumerateArray().Select(p => p.GetProperty("rows").GetInt32()));
        Assert.Equal(0, root.GetProperty("spilling_kernels").GetArrayLength());
        Assert.Empty(machine.Driver.Leaks);
    }

    [Fact]
    public void Tests_that_cuda_does_not_have_are_refused() =>
        new CliTestHost().Run("bench", "prefill", "--device", "cuda", "--shape", "llama-3.2-1b").FailsWith(2, "--device cuda is for decode and rows");
}
