using System.Runtime.Intrinsics.X86;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Emitter;

namespace Foretoken.Tests.Backends.Cpu;

public class EmitterTests
{
    [Fact]
    public void The_emitter_is_on_exactly_where_the_machine_allows_it()
    {
        if (EmitterSupport.IsSupported)
        {
            Assert.True(Avx512F.IsSupported);
            Assert.NotEqual(0, X86Base.CpuId(7, 0).Ecx >> 11 & 1);
            Assert.Equal(IsaLevel.Emitted, IsaLevels.Best);
        }
        else
        {
            Assert.NotEqual(IsaLevel.Emitted, IsaLevels.Best);
            Assert.NotEmpty(EmitterSupport.WhyNot!);
        }
    }

    /// <summary>Code pages are readable and executable and not writable.</summary>
    [Fact]
    public unsafe void Code_pages_are_never_writable_and_executable_at_once()
    {
        if (!OperatingSystem.IsLinux()) return;
        byte* code = CodeMemory.TryInstall([0xC3]);
        if (code is null) return; // the system forbids it: the emitter is off
        string address = ((long)code).ToString("x", System.Globalization.CultureInfo.InvariantCulture);
        string map = File.ReadLines("/proc/self/maps").Single(l => l.StartsWith(address + "-", StringComparison.Ordinal) || Covers(l, (long)code));
        Assert.Contains(" r-xp ", map, StringComparison.Ordinal);
    }

    /// <summary>Two engines compute in emitted code while a third thread allocates and collects: no result changes, nothing crashes.</summary>
    [Fact]
    public async Task Results_survive_collections_and_parallel_engines()
    {
        if (!EmitterSupport.IsSupported) return;
        using var stop = new CancellationTokenSource();
        Task[] engines =
        [
            .. Enum.GetValues<WeightType>().Select(type => Task.Factory.StartNew(() => Repeat(type, stop.Token), TaskCreationOptions.LongRunning)),
        ];
        var keep = new List<byte[]>();
        for (int i = 0; i < 400; i++)
        {
            for (int j = 0; j < 200; j++) keep.Add(new byte[100 + j * 7]);
            if (keep.Count > 4000) keep.Clear();
            GC.Collect(i % 8 == 0 ? 2 : 0);
        }

        await stop.CancelAsync();
        await Task.WhenAll(engines);
    }

    private static void Repeat(WeightType type, CancellationToken stop)
    {
        using var rig = new CpuRig(type, KvType.BF16, IsaLevel.Emitted);
        int[] tokens = CpuBackendTests.Tokens(3, 24);
        float[][] first = CpuBackendTests.Run(rig, tokens, 8);
        do
        {
            float[][] again = CpuBackendTests.Run(rig, tokens, 8);
            for (int r = 0; r < first.Length; r++) Assert.True(first[r].AsSpan().SequenceEqual(again[r]), $"{type}, row {r}");
        }
        while (!stop.IsCancellationRequested);
    }

    private static bool Covers(string line, long address)
    {
        string[] range = line[..line.IndexOf(' ', StringComparison.Ordinal)].Split('-');
        return Convert.ToInt64(range[0], 16) <= address && address < Convert.ToInt64(range[1], 16);
    }
}
