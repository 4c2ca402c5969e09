using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cuda;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Backends.Cuda.Kernels;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>Whole models on the PTX machine against the CPU, and against themselves under other cuts of the work.</summary>
public sealed class CudaBackendTests
{
    private const string Question = "What is 12 + 5?";

    [Fact]
    public void Tokens_of_the_reasoner_equal_those_of_the_CPU()
    {
        using var machine = new MachineDevice();
        int[] expected = Answer(Reasoner(new LanguageModelOptions { KvType = KvType.F32, Threads = 1 }), 8);
        int[] actual = Answer(
            Reasoner(new LanguageModelOptions { Device = ComputeDevice.Cuda, CudaPlatform = machine.Platform, Cuda = new CudaOptions { FloatActivations = true }, KvType = KvType.F32 }), 8);
        Assert.Equal(expected, actual);
        Assert.Empty(machine.Driver.Leaks);
    }

    [Theory]
    [InlineData("qwen3", WeightType.BF16, true, KvType.F32, 1e-3)]
    [InlineData("llama", WeightType.BF16, true, KvType.F32, 1e-3)]
    [InlineData("qwen2", WeightType.BF16, true, KvType.BF16, 2e-2)]
    [InlineData("qwen3", WeightType.BF16, true, KvType.F16, 2e-2)]
    [InlineData("llama", WeightType.BF16, true, KvType.Int8, 5e-2)]
    [InlineData("mistral", WeightType.Int8, false, KvType.F32, 1e-3)]
    public void Logits_equal_those_of_the_CPU(string family, WeightType type, bool floats, KvType kvType, double tolerance)
    {
        using var directory = new TempDirectory();
        new TinyModel { Family = family, SlidingWindow = family == "mistral" ? 9 : null }.Write(directory.Path);
        int[] ids = [.. Enumerable.Range(0, 21).Select(i => (i * 37 + 11) % 250)];
        using CpuBackend cpu = CpuBackend.Create(new CpuOptions { Threads = 1 });
        float[][] expected = new BackendRun(cpu, directory.Path, type, kvType).Logits(ids, 21);
        using var machine = new MachineDevice();
        using CudaBackend cuda = CudaBackend.Create(machine.Platform, new CudaOptions { FloatActivations = floats });
        float[][] actual = new BackendRun(cuda, directory.Path, type, kvType).Logits(ids, 8);
        double scale = Math.Max(1, expected.SelectMany(r => r).Max(Math.Abs) / 4);
        for (int r = 0; r < ids.Length; r++)
        {
            for (int v = 0; v < expected[r].Length; v++)
                Assert.True(Math.Abs(expected[r][v] - actual[r][v]) < tolerance * scale, $"row {r}, token {v}: {actual[r][v]} instead of {expected[r][v]}");
        }
    }

    [Theory]
    [InlineData("llama-tiny", true, 1e-3)]
    [InlineData("qwen2-bias", true, 1e-3)]
    [InlineData("llama-tiny", false, 2e-2)]
    [InlineData("qwen2-bias", false, 2e-2)]
    [InlineData("reasoner", true, 1e-3)]
    [InlineData("reasoner", false, 2e-2)]
    public void Logits_of_shipped_and_parity_models_are_close_to_those_of_the_CPU(string name, bool floats, double tolerance)
    {
        string directory = name == "reasoner" ? Path.Combine(RepoFiles.Root, "models", name) : RepoFiles.Parity(name);
        int[] ids = [.. Enumerable.Range(0, 16).Select(i => (i * 37 + 11) % 250)];
        using CpuBackend cpu = CpuBackend.Create(new CpuOptions { Threads = 1 });
        float[][] expected = new BackendRun(cpu, directory, WeightType.BF16, KvType.F32).Logits(ids, 16);
        using var machine = new MachineDevice();
        using CudaBackend cuda = CudaBackend.Create(machine.Platform, new CudaOptions { FloatActivations = floats });
        float[][] actual = new BackendRun(cuda, directory, WeightType.BF16, KvType.F32).Logits(ids, 16);
        double squares = 0, scale = 0, worst = 0;
        for (int r = 0; r < ids.Length; r++)
        {
            for (int v = 0; v < expected[r].Length; v++)
            {
                double difference = expected[r][v] - (double)actual[r][v];
                squares += difference * difference;
                scale += (double)expected[r][v] * expected[r][v];
                worst = Math.Max(worst, Math.Abs(difference));
            }
        }

        Assert.True(Math.Sqrt(squares / scale) < tolerance, $"root mean square {Math.Sqrt(squares / scale):E2} of the logits', worst {worst:E2}");
    }

    [Theory]
    [InlineData(WeightType.BF16)]
    [InlineData(WeightType.Int8)]
    public void Chunks_graphs_and_company_change_no_bit(WeightType type)
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1 }.Write(directory.Path);
        int[] ids = [.. Enumerable.Range(0, 18).Select(i => (i * 31 + 7) % 250)];
        using var machine = new MachineDevice();
        float[][] expected;
        using (CudaBackend plain = CudaBackend.Create(machine.Platform, new CudaOptions { Graphs = false }))
            expected = new BackendRun(plain, directory.Path, type, KvType.BF16).Logits(ids, 18);
        using CudaBackend graphs = CudaBackend.Create(machine.Platform, new CudaOptions());
        var run = new BackendRun(graphs, directory.Path, type, KvType.BF16);
        Assert.Equal(expected, run.Logits(ids, 3));
        Assert.Equal(expected, run.Logits(ids, 1));
        Assert.Equal(expected, run.Logits(ids, 3, company: 5));
        Assert.True(graphs.Graphs >= 2, $"{graphs.Graphs} graphs were recorded");
    }

    [Fact]
    public void Device_sampling_accepts_drafts_and_equals_plain_decoding_and_the_host()
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1 }.Write(directory.Path);
        using var machine = new MachineDevice();
        int[] prompt = [3, 50, 77, 20, 9];
        var sampling = new SamplingOptions { Temperature = 0.9f, TopK = 40, TopP = 0.95f, Seed = 3 };
        int[] plain = Answer(directory.Path, machine, prompt, sampling, null);
        Assert.Equal(plain, Answer(directory.Path, machine, prompt, sampling, new NgramOptions()));
        int[] greedy = Answer(directory.Path, machine, prompt, SamplingOptions.Greedy, null);
        int[] host = Answer(directory.Path, machine, prompt, SamplingOptions.Greedy with { PresencePenalty = 1e-30f }, null); // a penalty makes the host sample
        Assert.Equal(greedy, host);
    }

    /// <summary>A penalty makes the host sample: passes with and without sampling on the device take turns, and each keeps its graph.</summary>
    [Fact]
    public void Graphs_are_kept_while_the_host_and_the_device_take_turns_in_sampling_and_the_memory_of_loading_is_given_back()
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1, Hidden = 32, Intermediate = 64, Vocab = 300 }.Write(directory.Path);
        using var machine = new MachineDevice();
        using LanguageModel model = LanguageModel.Load(directory.Path, new LanguageModelOptions
        {
            Device = ComputeDevice.Cuda, CudaPlatform = machine.Platform, ContextLength = 32, MaxSequences = 1, MaxRows = 8, PrefillChunk = 8,
        });
        var backend = (CudaBackend)model.Loaded.Transformer.Backend;
        int pinned = backend.Device.Live(CudaHandleKind.HostMemory);
        for (int i = 0; i < 4; i++)
        {
            SamplingOptions sampling = i % 2 == 0 ? SamplingOptions.Greedy : SamplingOptions.Greedy with { PresencePenalty = 1e-30f };
            using GenerationSession session = model.Generate([3, 50, 77], new GenerationOptions { MaxTokens = 2, IgnoreEndTokens = true, Sampling = sampling });
            session.Complete();
        }

        Assert.Equal(4, backend.Graphs); // the prompt and one token, of both kinds
        Assert.Equal(pinned - 1, backend.Device.Live(CudaHandleKind.HostMemory));
    }

    [Fact]
    public void Company_drafts_and_stored_prefixes_give_the_bits_of_plain_decoding_alone()
    {
        using var directory = new TempDirectory();
        new TinyModel { Layers = 1 }.Write(directory.Path);
        using var machine = new MachineDevice();
        int[] shared = [.. Enumerable.Range(0, 37).Select(i => i % 11 * 20 + 3)];
        int[][] prompts = [.. Enumerable.Range(0, 4).Select(i => (int[])[.. shared, .. Enumerable.Range(0, 3 + i).Select(t => 40 + i * t)])];
        GenerationOptions Request(int i) => new()
        {
            MaxTokens = 12, IgnoreEndTokens = true, Sampling = new SamplingOptions { Temperature = i % 2, TopP = 0.9f, Seed = (ulong)i, LogProbs = true },
        };
        LanguageModelOptions options = new()
        {
            Device = ComputeDevice.Cuda, CudaPlatform = machine.Platform, ContextLength = 96, MaxSequences = 1, MaxRows = 24, PrefillChunk = 16,
        };
        var alone = new List<(int[] Tokens, float[] LogProbs)>();
        using (LanguageModel model = LanguageModel.Load(directory.Path, options))
        {
            for (int i = 0; i < prompts.Length; i++)
            {
                using GenerationSession session = model.Generate(prompts[i], Request(i));
                while (session.MoveNext()) { }
                alone.Add((session.Tokens.ToArray(), session.LogProbs.ToArray()));
            }
        }

        using LanguageModel busy = LanguageModel.Load(directory.Path, options with { MaxSequences = 3, MaxPrefixes = 8, Draft = new NgramOptions() });
        using (GenerationSession first = busy.Generate(prompts[0], Request(0)))
            while (first.MoveNext()) { } // leaves its prefix
        GenerationSession[] sessions = [.. prompts.Select((p, i) => busy.Generate(p, Request(i)))];
        for (bool more = true; more;) more = sessions.Count(s => s.MoveNext()) > 0;
        for (int i = 0; i < prompts.Length; i++)
        {
            Assert.Equal(alone[i].Tokens, sessions[i].Tokens.ToArray());
            Assert.Equal(alone[i].LogProbs, sessions[i].LogProbs.ToArray());
            Assert.True(sessions[i].Statistics.ReusedTokens > 0, "no prefix was reused");
            sessions[i].Dispose();
        }
    }

    private static int[] Answer(string directory, MachineDevice machine, int[] prompt, SamplingOptions sampling, DrafterOptions? draft)
    {
        using LanguageModel model = LanguageModel.Load(directory, new LanguageModelOptions
        {
            Device = ComputeDevice.Cuda, CudaPlatform = machine.Platform, ContextLength = 64, MaxSequences = 2, MaxRows = 16, PrefillChunk = 8, Draft = draft,
        });
        using GenerationSession session = model.Generate(prompt, new GenerationOptions { MaxTokens = 20, Sampling = sampling });
        while (session.MoveNext()) { }
        return [.. session.Tokens];
    }

    private static LanguageModel Reasoner(LanguageModelOptions options) =>
        LanguageModel.Load(Path.Combine(RepoFiles.Root, "models", "reasoner"), options with { ContextLength = 96, MaxSequences = 1, MaxRows = 16, PrefillChunk = 16 });

    private static int[] Answer(LanguageModel model, int tokens)
    {
        using (model)
        using (GenerationSession session = model.Generate(Question, new GenerationOptions { MaxTokens = tokens }))
        {
            while (session.MoveNext()) { }
            return [.. session.Tokens];
        }
    }

    /// <summary>A model on a backend, with a cache of its own.</summary>
    private sealed class BackendRun
    {
        private const int MaxRows = 32;
        private readonly LoadedModel _model;
        private readonly PagedKvCache _cache;
        private readonly RowBatch _rows = new(MaxRows);

        public BackendRun(IBackend backend, string directory, WeightType type, KvType kvType)
        {
            var plan = new MemoryPlan();
            PagedKvCache? cache = null;
            _model = ModelLoader.Load(directory, new LoadOptions
            {
                Backend = backend, Plan = plan, MaxRows = MaxRows, MaxLogitRows = MaxRows, WeightType = type, ContextLength = 64,
                Announced = config => cache = MakeCache(config.Shape, kvType, backend, plan),
            });
            _cache = cache!;
        }

        /// <summary>Logits of every position, in passes of <paramref name="chunk"/> rows, with rows of another sequence in front of them.</summary>
        public float[][] Logits(int[] ids, int chunk, int company = 0)
        {
            int other = _cache.TryAcquire(), sequence = _cache.TryAcquire();
            Assert.True(_cache.TryReserve(sequence, ids.Length) && _cache.TryReserve(other, 64));
            var logits = new float[ids.Length][];
            for (int start = 0; start < ids.Length; start += chunk)
            {
                int count = Math.Min(chunk, ids.Length - start), at = _cache.Length(other);
                _rows.Clear();
                for (int i = 0; i < company; i++) _rows.Add(i + 5, at + i, other, i - 1, i == 2);
                for (int i = 0; i < count; i++) _rows.Add(ids[start + i], start + i, sequence, i == 0 ? -1 : _rows.Count - 1, true);
                _cache.BeginPass(_rows);
                _model.Transformer.Forward(_rows, _cache.View);
                int before = company > 2 ? 1 : 0;
                for (int i = 0; i < count; i++) logits[start + i] = _model.Transformer.LogitsOf(before + i).ToArray();
                if (company > 0) _cache.Commit(other, [.. Enumerable.Range(0, company)]);
                _cache.Commit(sequence, [.. Enumerable.Range(company, count)]);
            }

            _cache.Release(sequence);
            _cache.Release(other);
            return logits;
        }

        private static PagedKvCache MakeCache(TransformerShape shape, KvType kvType, IBackend backend, MemoryPlan plan)
        {
            var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, kvType, 16);
            var options = new KvCacheOptions
            {
                Layout = layout, MaxSequences = 2, MaxTokensPerSequence = 64, MaxRowsPerSequence = MaxRows, Store = backend.KvStore,
                BudgetBytes = PagedKvCache.BytesFor(layout, 2, 64 + MaxRows),
            };
            return new PagedKvCache(options, plan);
        }
    }
}
