using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cuda;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Tests.Backends.Cuda.Kernels;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>What drafters read of a model on the device: hidden states of a pass, and weights.</summary>
public sealed class CudaFeatureTests : IDisposable
{
    private const int Rows = 11;
    private static readonly int[] s_points = [0, 1, 2, FeatureTaps.Normed];
    private readonly TempDirectory _directory = new();

    public CudaFeatureTests() => new TinyModel { Layers = 2, Hidden = 48, HeadDim = 16, Intermediate = 70 }.Write(_directory.Path);

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Hidden_states_are_those_of_the_processor_and_reading_them_changes_no_logit()
    {
        using CpuBackend cpu = CpuBackend.Create(new CpuOptions { Threads = 1 });
        (float[][] expected, float[][] expectedLogits) = Run(cpu, tapped: true);
        using var machine = new MachineDevice();
        using CudaBackend cuda = CudaBackend.Create(machine.Platform, new CudaOptions { FloatActivations = true }), plain = CudaBackend.Create(machine.Platform, new CudaOptions { FloatActivations = true });
        (float[][] actual, float[][] logits) = Run(cuda, tapped: true);
        for (int t = 0; t < s_points.Length; t++)
        {
            for (int i = 0; i < expected[t].Length; i++) Assert.Equal(expected[t][i], actual[t][i], 1e-3);
        }

        Assert.Equal(Run(plain, tapped: false).Logits, logits);
        Assert.Equal(expectedLogits.Length, logits.Length);
        Assert.True(cuda.Graphs > 0, "no pass with taps was recorded");
    }

    [Theory]
    [InlineData(WeightType.BF16)]
    [InlineData(WeightType.Int8)]
    public void Weights_are_read_back_out_of_their_fragments(WeightType type)
    {
        using var machine = new MachineDevice();
        using CudaBackend cuda = CudaBackend.Create(machine.Platform);
        LoadedModel model = ModelLoader.Load(_directory.Path, new LoadOptions
        {
            Backend = cuda, Plan = new MemoryPlan(), MaxRows = 4, MaxLogitRows = 1, WeightType = type, ContextLength = 16,
        });
        int pinned = cuda.Device.Live(CudaHandleKind.HostMemory);
        IRowSource rows = cuda.RowsOf(model.Transformer.Weights.Head, out WeightType held);
        Assert.Equal(type, held);
        float[] expected = new TinyModel { Layers = 2, Hidden = 48, HeadDim = 16, Intermediate = 70 }.Tensors().Single(t => t.Name == "lm_head.weight").Values;
        Assert.Equal((277, 48), (rows.OutFeatures, rows.InFeatures));
        var row = new float[48];
        for (int r = 0; r < rows.OutFeatures; r++)
        {
            rows.ReadRow(r, row);
            for (int k = 0; k < 48; k++)
            {
                double largest = Enumerable.Range(k / 32 * 32, Math.Min(32, 48 - k / 32 * 32)).Max(i => Math.Abs(expected[r * 48 + i])); // of the block
                Assert.Equal(expected[r * 48 + k], row[k], type == WeightType.BF16 ? Math.Abs(expected[r * 48 + k]) / 256 + 1e-9 : largest / 200); // half a step of the block, and its scale rounded to f16
            }
        }

        ((IDisposable)rows).Dispose();
        Assert.Equal(pinned, cuda.Device.Live(CudaHandleKind.HostMemory));
    }

    /// <summary>Three passes of a chain; the taps of the last. // [points][rows, hidden], [rows][vocab]</summary>
    private (float[][] Taps, float[][] Logits) Run(IBackend backend, bool tapped)
    {
        var plan = new MemoryPlan();
        PagedKvCache? cache = null;
        LoadedModel model = ModelLoader.Load(_directory.Path, new LoadOptions
        {
            Backend = backend, Plan = plan, MaxRows = Rows, MaxLogitRows = Rows, WeightType = WeightType.BF16, ContextLength = 64,
            Announced = config =>
            {
                var layout = new KvLayout(config.Shape.LayerCount, config.Shape.KvHeadCount, config.Shape.HeadDim, KvType.F32, 16);
                cache = new PagedKvCache(
                    new KvCacheOptions
                    {
                        Layout = layout, MaxSequences = 1, MaxTokensPerSequence = 64, MaxRowsPerSequence = Rows, Store = backend.KvStore,
                        BudgetBytes = PagedKvCache.BytesFor(layout, 1, 64 + Rows),
                    },
                    plan);
            },
        });
        TransformerShape shape = model.Config.Shape;
        var taps = new FeatureTaps(shape, Rows, plan);
        int[] numbers = [.. s_points.Select(taps.Tap)];
        var rows = new RowBatch(Rows);
        int sequence = cache!.TryAcquire();
        Assert.True(cache.TryReserve(sequence, 64));
        float[][] logits = [];
        for (int pass = 0; pass < 3; pass++)
        {
            rows.Clear();
            for (int i = 0; i < Rows; i++) rows.Add((pass * 31 + i * 7 + 3) % 250, pass * Rows + i, sequence, i - 1, true);
            cache.BeginPass(rows);
            model.Transformer.Forward(rows, cache.View, taps: tapped ? taps : null);
            logits = [.. Enumerable.Range(0, Rows).Select(i => model.Transformer.LogitsOf(i).ToArray())];
            cache.Commit(sequence, [.. Enumerable.Range(0, Rows)]);
        }

        return ([.. numbers.Select(n => Enumerable.Range(0, Rows).SelectMany(r => taps.Of(n, r).ToArray()).ToArray())], logits);
    }
}
