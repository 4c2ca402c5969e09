using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>The runtime's switches are honoured, and every instruction set computes the same bits.</summary>
public class IsaSwitchTests
{
    [Theory]
    [InlineData("without-emitter", "FORETOKEN_EMITTER")]
    [InlineData("avx2", "DOTNET_EnableAVX512")]
    [InlineData("avx2-without-vnni", "DOTNET_EnableAVX512", "DOTNET_EnableAVXVNNI")]
    [InlineData("portable", "DOTNET_EnableAVX2")]
    public async Task Kernels_pass_their_tests_with_instruction_sets_switched_off(string mode, params string[] switches)
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64) return; // the switches are those of x64
        var start = new ProcessStartInfo(DotnetPath()) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add("exec");
        start.ArgumentList.Add(typeof(IsaChild).Assembly.Location);
        start.ArgumentList.Add(IsaChild.Command);
        start.ArgumentList.Add(mode);
        foreach (string name in switches) start.Environment[name] = "0";
        using Process child = Process.Start(start)!;
        Task<string> errors = child.StandardError.ReadToEndAsync();
        string output = await child.StandardOutput.ReadToEndAsync();
        await child.WaitForExitAsync();
        string[] digests = output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.True(child.ExitCode == 0, await errors);
        Assert.Equal(IsaChild.Digests(), digests);
    }

    private static string DotnetPath()
    {
        string root = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
        string path = Path.Combine(root, OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet");
        Assert.True(File.Exists(path), $"No dotnet host at {path}.");
        return path;
    }
}
