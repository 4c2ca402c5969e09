using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.Cli.Benchmarks;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>perf/gpu.sh around an executable that answers as <c>foretoken</c> would on a GPU: what it writes, and what it makes of failures.</summary>
public sealed class GpuScriptTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    private string Results => Path.Combine(_directory.Path, "results");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void All_steps_become_a_table_and_a_line_of_JSON_per_model()
    {
        if (OperatingSystem.IsWindows()) return;
        Assert.Equal(0, RunScript(Stub(), out string output));
        string table = File.ReadAllText(Single("*.md"));
        Assert.EndsWith(table, output, StringComparison.Ordinal);
        Assert.Contains("    cuda kernels      50 compiled in 1.0 s, at most 96 registers, none spills\n", table, StringComparison.Ordinal);
        Assert.DoesNotContain("memory", table, StringComparison.Ordinal);
        Assert.Contains("    llama-tiny\n    cuda tokens       24 equal to the processor's\n", table, StringComparison.Ordinal);
        Assert.Contains("- answer: equal to the processor's\n", table, StringComparison.Ordinal);
        Assert.Contains("- PyTorch: no-such-python is not installed\n", table, StringComparison.Ordinal);
        Assert.Contains("| llama-3.1-8b | int8 | 400 | 0.5 | 0.3125 | 1: 1, 8: 1.12 |\n", table, StringComparison.Ordinal);
        Assert.Contains("Device: Fake, 80 GB; driver for CUDA 12.8; read bandwidth 2000 GB/s; ", table, StringComparison.Ordinal);
        Assert.Equal(4, File.ReadAllLines(Single("*.jsonl")).Length);
    }

    [Fact]
    public void Steps_that_fail_are_named_and_the_others_go_on()
    {
        if (OperatingSystem.IsWindows()) return;
        Assert.Equal(1, RunScript(Stub(check: "echo 'cuda tokens       FAILED: token 3 is 8, the processor 9'; exit 1", device: "echo 18", lost: "bf16"), out _));
        string table = File.ReadAllText(Single("*.md"));
        Assert.Contains("    cuda tokens       FAILED: token 3 is 8, the processor 9\n", table, StringComparison.Ordinal);
        Assert.Contains("- check: FAILED with exit code 1: \n", table, StringComparison.Ordinal);
        Assert.Contains("- answer: DIFFERS from the processor's\n", table, StringComparison.Ordinal);
        Assert.Contains("- rows of llama-3.1-8b bf16: FAILED with exit code 3: error: the device is lost\n", table, StringComparison.Ordinal);
        Assert.Contains("| llama-3.1-8b | int8 | 400 |", table, StringComparison.Ordinal);
        Assert.Equal(2, File.ReadAllLines(Single("*.jsonl")).Length);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_step_that_hangs_is_cut_off_and_what_has_no_time_left_is_named()
    {
        if (OperatingSystem.IsWindows()) return;
        Assert.Equal(1, RunScript(Stub(check: "echo 'cuda kernels      50 compiled'; sleep 60"), out _, seconds: "6"));
        string table = File.ReadAllText(Single("*.md"));
        Assert.Contains("    cuda kernels      50 compiled\n", table, StringComparison.Ordinal);
        Assert.Contains("- check: CUT OFF after 6 s\n", table, StringComparison.Ordinal);
        Assert.Contains("- rows of llama-3.2-1b bf16: NOT RUN, the time was up\n", table, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_without_the_executable_is_refused_by_name()
    {
        if (OperatingSystem.IsWindows()) return;
        Assert.Equal(2, RunScript(_directory.Path, out string output));
        Assert.Equal($"error: {_directory.Path}/foretoken is not there: publish first (dotnet cake --target=Gpu)\n", output);
    }

    /// <summary>A folder with the stand-in.</summary>
    /// <param name="check">What <c>doctor --cuda</c> does.</param>
    /// <param name="device">What the device answers.</param>
    /// <param name="lost">Type of weights with which the device gets lost.</param>
    private string Stub(string check = "echo 'cuda kernels      50 compiled in 1.0 s, at most 96 registers, none spills'", string device = "echo 17", string lost = "none")
    {
        var result = new CudaBenchResult
        {
            Device = "Fake, 80 GB", DriverVersion = 12080, ReadGigabytesPerSecond = 2000, WeightBytes = 2.5e9, JoulesPerToken = 0.3125, Spilling = [],
            Passes = [new CudaPass(1, 2.5), new CudaPass(8, 2.8)],
        };
        string Line(WeightType type) => CudaBench.Json("SHAPE", type, result);
        string folder = Path.Combine(_directory.Path, "published"), path = Path.Combine(folder, "foretoken");
        Directory.CreateDirectory(folder);
        File.WriteAllText(path, $"""
            #!/bin/sh
            case "$*" in
              "doctor --cuda") echo "foretoken         0.1.0"; echo "memory            1 GB"; {check};;
              "doctor --cuda --model "*) echo "cuda kernels      50 compiled"; echo "cuda tokens       24 equal to the processor's";;
              "run --device cuda"*) {device};;
              run*) echo 17;;
              *"--type {lost} "*) echo "error: the device is lost" >&2; exit 3;;
              "bench rows --device cuda --shape "*" --type bf16 "*) echo '{Line(WeightType.BF16)}' | sed "s/SHAPE/$6/";;
              "bench rows --device cuda --shape "*" --type int8 "*) echo '{Line(WeightType.Int8)}' | sed "s/SHAPE/$6/";;
              *) echo "error: $*" >&2; exit 2;;
            esac
            """.Replace("\r\n", "\n", StringComparison.Ordinal));
        return folder;
    }

    private string Single(string pattern) => Assert.Single(Directory.GetFiles(Results, pattern));

    private int RunScript(string folder, out string output, string seconds = "60")
    {
        var start = new ProcessStartInfo("bash", [Path.Combine(RepoFiles.Root, "perf", "gpu.sh"), folder, Results]) { RedirectStandardOutput = true };
        start.Environment["GPU_SECONDS"] = seconds;
        start.Environment["FORETOKEN_PYTHON"] = "no-such-python";
        using Process process = Process.Start(start)!;
        output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode;
    }
}
