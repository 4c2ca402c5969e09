using System.Diagnostics;
using System.Globalization;
using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Ptx;
using Foretoken.Tests.Backends.Cuda.Kernels;
using Foretoken.Tests.Seam;
using Xunit.Abstractions;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>
/// The seam's matrix on the PTX machine, dense: drafts of every shape, batches, chunks, forks, preemption, prefix reuse, greedy and sampled, with penalties (the host
/// samples) and without (the device samples, accepts and commits) change no bit of what plain decoding alone says on the device.
/// </summary>
public sealed class CudaSeamTests(CudaSeamModels models, ITestOutputHelper output) : IClassFixture<CudaSeamModels>
{
    // drafts, batch, chunk, policy, KV type, weights, preempted, prefixes, order of warps and blocks, sampled, penalties, forked, window, shared tokens
    private static readonly int[] s_fast = [3, 2, 4, 1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 2];
    private static readonly int[] s_slow = [5, 2, 4, 1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 2];

    [Fact]
    public void Any_two_ways_to_serve_give_the_bits_of_plain_decoding_alone_on_the_device() => CheckAll(s_fast, 2);

    [Fact]
    [Trait("Category", "Slow")]
    public void Any_three_ways_to_serve_give_the_bits_of_plain_decoding_alone_on_the_device() => CheckAll(s_slow, 3);

    [Theory]
    [InlineData("model tree")]
    [InlineData("medusa")]
    [InlineData("eagle")]
    [InlineData("mtp+ngram")]
    public void Shipped_drafters_on_the_processor_give_the_bits_of_plain_decoding_alone_on_the_device(string drafter)
    {
        var totals = new SeamTotals();
        SeamDrafts drafts = SeamDrafts.Shipped.Single(d => d.Name == drafter);
        foreach ((WeightType weights, bool sampled) in new[] { (WeightType.BF16, false), (WeightType.Int8, true) })
        {
            SeamCombination c = Covering(s_fast, 2).First(c => c.Sampled == sampled && !c.Penalties && !c.Preempted);
            SeamRun.Check(c with { Drafts = drafts, Weights = weights, Batch = SeamBatch.Four, Forked = false, Threads = 1 }, models, totals);
        }

        Assert.True(totals.Drafted > totals.Accepted && totals.Accepted > 0, $"{totals}");
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Thirty_two_requests_in_random_order_get_the_bits_of_plain_decoding_alone_on_the_device() => SeamRun.Check(
        Covering(s_slow, 2).First(c => c.Drafts.Oracle!.Siblings == 0 && c.Forked && c.Prefixes) with { Batch = SeamBatch.ThirtyTwoShuffled, Kv = KvType.BF16, Weights = WeightType.Int8 },
        models, new SeamTotals());

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData(KvType.BF16, false, false)]
    [InlineData(KvType.F32, true, true)]
    public void Pages_of_the_device_that_run_out_preempt_and_change_no_answer(KvType kv, bool forked, bool prefixes) =>
        new SeamBudgetTests(models, output).Pages_that_run_out_preempt_and_change_no_answer(SeamPolicy.Dense, 6, kv, forked, prefixes);

    [Theory]
    [InlineData(SeamDefect.SiblingsRow)]
    [InlineData(SeamDefect.LogProbBit)]
    public void Canary_planted_defect_is_caught_on_the_device(SeamDefect defect)
    {
        SeamCombination c = Covering(s_fast, 2).First(c => c.Drafts.Oracle!.Siblings > 0) with { Batch = SeamBatch.One, Forked = false };
        SeamRun.Check(c, models, new SeamTotals());
        var caught = Assert.ThrowsAny<Exception>(() => SeamRun.Check(c, models, new SeamTotals(), defect));
        Assert.Contains("differs from plain decoding alone in", caught.Message, StringComparison.Ordinal);
    }

    private static IEnumerable<SeamCombination> Covering(int[] levels, int strength) =>
        CoveringArray.Rows(levels, strength).Select((row, i) => SeamCombination.FromValues(row, SeamDrafts.Oracles, i));

    private void CheckAll(int[] levels, int strength)
    {
        var totals = new SeamTotals();
        long start = Stopwatch.GetTimestamp();
        foreach (SeamCombination c in Covering(levels, strength)) SeamRun.Check(c, models, totals);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{totals}; {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s, {models.PlaceSeconds:F1} of them for loading"));
        Assert.True(totals.Preemptions > 0 && totals.ReusedTokens > 0 && totals.SharedTokens > 0 && totals.Accepted > 0);
    }
}

/// <summary>The seam's model on PTX machines, a new one per loop. Weights asked for as f32 are bf16 with f32 activations there.</summary>
public sealed class CudaSeamModels() : SeamModels(layers: 2)
{
    /// <summary>Time that went into loading so far.</summary>
    public double PlaceSeconds { get; private set; }

    protected override int AloneChunk => 50;

    protected override int MostPromptRows => 1024;

    protected override SeamPlace Place(SeamCombination c, DecodeLoopOptions options, int logitRows, Func<TransformerShape, IKvStore?, KvCacheOptions> cache)
    {
        long start = Stopwatch.GetTimestamp();
        PtxOrder order = c.Threads == 1 ? PtxOrder.Ascending : PtxOrder.Shuffled;
        var owned = new Device(new PtxMachineOptions { Threads = 1, Count = false, WarpOrder = order, BlockOrder = order, Seed = (ulong)c.Index });
        try
        {
            CudaBackend backend = owned.Backend = CudaBackend.Create(owned.Machine.Platform, new CudaOptions { FloatActivations = c.Weights == WeightType.F32 });
            PagedKvCache? made = null;
            LoadedModel model = ModelLoader.Load(Directory, new LoadOptions
            {
                Backend = backend, Plan = new MemoryPlan(), MaxRows = options.MaxRows, MaxLogitRows = logitRows,
                WeightType = c.Weights == WeightType.Int8 ? WeightType.Int8 : WeightType.BF16,
                Announced = config => made = new PagedKvCache(cache(config.Shape, backend.KvStore), new MemoryPlan()),
            });
            PlaceSeconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
            return new SeamPlace(model.Transformer, made!, c.Threads, owned);
        }
        catch
        {
            owned.Dispose();
            throw;
        }
    }

    /// <summary>Nothing of the device is left when its loop goes.</summary>
    private sealed class Device(PtxMachineOptions options) : IDisposable
    {
        public MachineDevice Machine { get; } = new(options);

        public CudaBackend? Backend { get; set; }

        public void Dispose()
        {
            Backend?.Dispose();
            Assert.Empty(Machine.Driver.Leaks);
            Machine.Dispose();
        }
    }
}
