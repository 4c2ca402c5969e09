using System.Globalization;
using System.Text.Json;
using Foretoken.Backends;
using Foretoken.Ptx;
using Foretoken.Tests.Backends.Cuda.Kernels;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>
/// What the kernels ask of the memory, counted by the PTX machine and compared exactly with perf/baselines/cuda-kernels.json. A change of a kernel changes
/// the figures: look at them, and copy them into the file if they are meant.
/// </summary>
public sealed class KernelGateTests
{
    private const double MostTraffic = 1.03; // of the least that a product can move

    [Theory]
    [InlineData(WeightType.BF16, 1)]
    [InlineData(WeightType.BF16, 8)]
    [InlineData(WeightType.Int8, 1)]
    [InlineData(WeightType.Int8, 8)]
    public void Products_move_little_more_than_the_weights_and_meet_no_bank_conflict(WeightType type, int rows)
    {
        const int features = 1024, width = 2048;
        using var test = new ProductTest(type, false, features, width, Options());
        test.Harness.Machine.ResetCounters();
        test.Run(ProductKernelTests.Rows(rows, width, 1));
        string kernel = type == WeightType.Int8 ? "product_int8_n8" : "product_bf16_n8";
        PtxCounters counters = test.Harness.Machine.Counters[kernel];
        long weights = type == WeightType.Int8 ? features * width * 34L / 32 : features * width * 2L;
        long input = type == WeightType.Int8 ? rows * (width + width / 32 * 4L) : rows * width * 2L, output = rows * features * 4L;
        long moved = 32 * (counters.GlobalLoadDistinctSectors + counters.GlobalStoreDistinctSectors);
        Assert.True(moved <= MostTraffic * (weights + input + output), $"{moved} bytes are moved, the least is {weights + input + output}");
        Assert.Equal(0, counters.SharedBankConflicts);
        Assert.Equal((long)features * width * 8, counters.MmaMultiplyAdds); // one tile of 8 columns, nothing twice
        Compare($"{kernel} [{features}, {width}], rows {rows}", counters);
    }

    [Fact]
    public void Attention_reads_keys_and_values_once_per_query_group()
    {
        const int tokens = 400, headDim = 64;
        var counters = new PtxCounters[2];
        for (int i = 0; i < 2; i++)
        {
            int group = i == 0 ? 1 : 4;
            AttentionCase test = new() { Type = KvType.BF16, Heads = 2 * group, KvHeads = 2, HeadDim = headDim, MaxTokens = 512 };
            using var harness = new CudaAttentionHarness(test, 256, Options());
            int sequence = harness.NewSequence();
            foreach (int[] chunk in Enumerable.Range(0, tokens - 1).Select(t => t % 16).Chunk(200)) harness.RunChain(sequence, chunk, attend: false);
            harness.Machine.ResetCounters();
            harness.RunChain(sequence, [5]);
            counters[i] = harness.Machine.Counters["attend_kv_bf16"];
            Compare($"attend_kv_bf16, {tokens} keys, {group} queries per KV head of {headDim}", counters[i]);
        }

        long keysAndValues = 2L * 2 * tokens * headDim * 2; // both, KV heads, bytes
        long more = counters[1].GlobalLoadSectors - counters[0].GlobalLoadSectors;
        Assert.InRange(32 * counters[0].GlobalLoadDistinctSectors, keysAndValues, 1.05 * keysAndValues);
        Assert.True(32 * more < keysAndValues / 5, $"three more queries per group ask for {more} more sectors");
    }

    private static PtxMachineOptions Options() => new() { Threads = 2, CountDistinctSectors = true };

    private static void Compare(string name, PtxCounters counters)
    {
        var figures = new SortedDictionary<string, long>(StringComparer.Ordinal)
        {
            ["bank conflicts"] = counters.SharedBankConflicts,
            ["bytes loaded"] = counters.GlobalLoadBytes,
            ["bytes stored"] = counters.GlobalStoreBytes,
            ["distinct sectors loaded"] = counters.GlobalLoadDistinctSectors,
            ["distinct sectors stored"] = counters.GlobalStoreDistinctSectors,
            ["mma"] = counters.MmaInstructions,
            ["sectors loaded"] = counters.GlobalLoadSectors,
            ["warp instructions"] = counters.WarpInstructions,
        };
        string file = Path.Combine(RepoFiles.Root, "perf", "baselines", "cuda-kernels.json");
        var all = JsonSerializer.Deserialize<Dictionary<string, Dictionary<string, long>>>(File.ReadAllText(file))!;
        string actual = $"\"{name}\": {{ {string.Join(", ", figures.Select(f => string.Create(CultureInfo.InvariantCulture, $"\"{f.Key}\": {f.Value}")))} }}";
        Assert.True(all.TryGetValue(name, out Dictionary<string, long>? expected), $"perf/baselines/cuda-kernels.json has no entry {name}; now: {actual}");
        foreach ((string figure, long value) in figures)
            Assert.True(expected.GetValueOrDefault(figure, -1) == value, $"{name}: {figure} was {expected.GetValueOrDefault(figure, -1)} and is {value}; now: {actual}");
    }
}
