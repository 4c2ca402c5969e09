using System.Globalization;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cuda;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>
/// Holds a CUDA device to the processor and to itself, with a model: every kernel compiles without spilling, logits are close to the processor's, passes cut otherwise
/// give the same bits, and answers are those of plain decoding alone, whoever drafts and whoever else is served.
/// </summary>
internal sealed class CudaCheck(string directory, CudaPlatform platform, int threads, CancellationToken cancel)
{
    /// <summary>How a finding that must not be begins.</summary>
    public const string Failure = "FAILED: ";

    private const int Positions = 24, Context = 96, MaxRows = 32, AnswerTokens = 24;

    /// <summary>One line per finding, as it is found. A step that fails with an error is a finding too: the others go on.</summary>
    public IEnumerable<(string Name, string Value)> Run()
    {
        yield return ("cuda kernels", Finding(Kernels));
        yield return ("cuda logits f32", Finding(() => Close(WeightType.BF16, new CudaOptions { FloatActivations = true }, 1e-3)));
        yield return ("cuda logits bf16", Finding(() => Close(WeightType.BF16, new CudaOptions(), 2e-2)));
        yield return ("cuda logits int8", Finding(() => Close(WeightType.Int8, new CudaOptions(), 2e-2)));
        yield return ("cuda tokens", Finding(SameTokens));
        foreach (WeightType type in new[] { WeightType.BF16, WeightType.Int8 })
        {
            string name = type.ToString().ToLowerInvariant();
            yield return ($"cuda rows {name}", Finding(() => SameBits(type)));
            yield return ($"cuda answers {name}", Finding(() => SameAnswers(type)));
        }
    }

    private static string Finding(Func<string> step)
    {
        try
        {
            return step();
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            return $"{Failure}{e.GetType().Name}: {e.Message}";
        }
    }

    private string Kernels()
    {
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        using CudaDevice device = CudaDevice.Open(platform);
        double seconds = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;
        string all = string.Create(CultureInfo.InvariantCulture, $"{device.Kernels.Uses.Count} compiled in {seconds:F1} s, at most {device.Kernels.Uses.Max(u => u.Registers)} registers");
        string[] spilling = [.. device.Kernels.Spilling.Select(u => $"{u.Kernel.EntryPoint} ({u.LocalBytes} bytes)")];
        return spilling.Length == 0 ? $"{all}, none spills" : $"{Failure}{all}; local memory: {string.Join(", ", spilling)}";
    }

    /// <summary>The root mean square of the difference to the processor's logits, of theirs.</summary>
    private string Close(WeightType type, CudaOptions options, double tolerance)
    {
        float[][] expected, actual;
        using (CpuBackend cpu = CpuBackend.Create(new CpuOptions { Threads = threads })) expected = new Passes(cpu, directory, type, cancel).Logits(Positions, 0);
        using (CudaBackend cuda = CudaBackend.Create(platform, options)) actual = new Passes(cuda, directory, type, cancel).Logits(Positions, 0);
        double squares = 0, scale = 0;
        for (int r = 0; r < Positions; r++)
        {
            for (int v = 0; v < expected[r].Length; v++)
            {
                double difference = expected[r][v] - (double)actual[r][v];
                squares += difference * difference;
                scale += (double)expected[r][v] * expected[r][v];
            }
        }

        double distance = Math.Sqrt(squares / scale);
        return string.Create(CultureInfo.InvariantCulture, $"{(distance < tolerance ? "" : Failure)}{distance:E1} from the processor's, at most {tolerance:E0}"); // NaN fails
    }

    private string SameTokens()
    {
        int[] processor = Greedy(new LanguageModelOptions { Threads = threads }), device = Greedy(new LanguageModelOptions
        {
            Device = ComputeDevice.Cuda, CudaPlatform = platform, Cuda = new CudaOptions { FloatActivations = true },
        });
        int common = processor.AsSpan().CommonPrefixLength(device);
        return common == processor.Length ? $"{common} equal to the processor's" : $"{Failure}token {common} is {device[common]}, the processor's {processor[common]}";
    }

    private int[] Greedy(LanguageModelOptions options)
    {
        using ModelSource source = ModelLoader.Open(directory);
        using LanguageModel model = LanguageModel.Load(source, tokenizer: null, options with
        {
            WeightType = WeightType.BF16, KvType = KvType.F32, ContextLength = Context, MaxSequences = 1, MaxRows = MaxRows, PrefillChunk = 16, Cancellation = cancel,
        });
        using GenerationSession session = model.Generate(Tokens(9, 0, source.Config.Shape.VocabSize), new GenerationOptions { MaxTokens = AnswerTokens, IgnoreEndTokens = true });
        return [.. session.Complete().Tokens];
    }

    /// <summary>The same positions in passes of other sizes, as graphs, with another sequence in front of them.</summary>
    private string SameBits(WeightType type)
    {
        using CudaBackend plain = CudaBackend.Create(platform, new CudaOptions { Graphs = false }), graphs = CudaBackend.Create(platform);
        float[][] expected = new Passes(plain, directory, type, cancel).Logits(Positions, 0);
        var passes = new Passes(graphs, directory, type, cancel);
        foreach ((int chunk, int company) in new[] { (1, 0), (7, 0), (1, 5), (16, 9) })
        {
            float[][] actual = passes.Logits(chunk, company);
            for (int r = 0; r < Positions; r++)
            {
                if (!expected[r].AsSpan().SequenceEqual(actual[r])) return $"{Failure}row {r} differs in passes of {chunk} rows beside {company} others";
            }
        }

        return "equal bits in passes of 1, 7 and 24 rows, alone and beside others, enqueued and as graphs";
    }

    private string SameAnswers(WeightType type)
    {
        string[] alone = [.. Enumerable.Range(0, 4).Select(i => Answers(type, null, [i], 1)[0])];
        foreach (DrafterOptions draft in new DrafterOptions[] { new NgramOptions { MinMatch = 1 }, new RecyclingOptions() })
        {
            string[] together = Answers(type, draft, [0, 1, 2, 3], 3);
            for (int i = 0; i < alone.Length; i++)
            {
                if (alone[i] != together[i]) return $"{Failure}request {i} with {draft.Name} drafts beside others differs from plain decoding alone";
            }
        }

        return "equal tokens and log-probabilities with ngram and recycling drafts, three at a time, over stored prefixes";
    }

    /// <summary>Requests that begin alike, greedy and sampled in turn; tokens and the bits of their log-probabilities.</summary>
    private string[] Answers(WeightType type, DrafterOptions? draft, int[] requests, int sequences)
    {
        using ModelSource source = ModelLoader.Open(directory);
        using LanguageModel model = LanguageModel.Load(source, tokenizer: null, new LanguageModelOptions
        {
            Device = ComputeDevice.Cuda, CudaPlatform = platform, WeightType = type, ContextLength = 2 * Context, MaxSequences = sequences, MaxRows = 4 * MaxRows, PrefillChunk = 16,
            MaxPrefixes = sequences > 1 ? 4 : 0, Draft = draft, Cancellation = cancel,
        });
        int vocabulary = source.Config.Shape.VocabSize;
        GenerationSession[] sessions = [.. requests.Select(i => model.Generate([.. Tokens(40, 99, vocabulary), .. Tokens(3 + 5 * i, i, vocabulary)], Request(i)))];
        string[] answers = [.. sessions.Select(s => s.Complete()).Select(r => $"{string.Join(' ', r.Tokens)} | {string.Join(' ', r.LogProbs.Select(BitConverter.SingleToInt32Bits))}")];
        foreach (GenerationSession session in sessions) session.Dispose();
        return answers;

        static GenerationOptions Request(int i) => new()
        {
            MaxTokens = AnswerTokens, IgnoreEndTokens = true,
            Sampling = i % 2 == 0 ? new SamplingOptions { LogProbs = true } : new SamplingOptions { Temperature = 0.8f, TopK = 40, TopP = 0.9f, Seed = (ulong)i, LogProbs = true },
        };
    }

    private static int[] Tokens(int count, int seed, int vocabulary) => [.. Enumerable.Range(0, count).Select(i => (i * (37 + seed) + 11 + seed) % vocabulary)];

    /// <summary>A model on a backend, with a cache of its own.</summary>
    private sealed class Passes
    {
        private readonly Transformer _model;
        private readonly PagedKvCache _cache;
        private readonly RowBatch _rows = new(MaxRows);
        private readonly int _vocabulary;

        public Passes(IBackend backend, string directory, WeightType type, CancellationToken cancel)
        {
            var plan = new MemoryPlan();
            PagedKvCache? cache = null;
            LoadedModel model = ModelLoader.Load(directory, new LoadOptions
            {
                Backend = backend, Plan = plan, MaxRows = MaxRows, MaxLogitRows = MaxRows, WeightType = type, ContextLength = Context, Cancellation = cancel,
                Announced = config => cache = MakeCache(config.Shape, backend, plan),
            });
            (_model, _cache, _vocabulary) = (model.Transformer, cache!, model.Config.Shape.VocabSize);
        }

        /// <summary>Logits of the positions, in passes of <paramref name="chunk"/> rows behind so many of another sequence. // [positions][vocab]</summary>
        public float[][] Logits(int chunk, int company)
        {
            int[] tokens = Tokens(Positions, 0, _vocabulary);
            int other = _cache.TryAcquire(), sequence = _cache.TryAcquire();
            if (!_cache.TryReserve(sequence, Context) || !_cache.TryReserve(other, Context)) throw new InvalidOperationException("The cache does not hold what it was made for.");
            var logits = new float[Positions][];
            for (int start = 0; start < Positions; start += chunk)
            {
                int count = Math.Min(chunk, Positions - start), beside = Math.Min(company, Context - _cache.Length(other)), at = _cache.Length(other);
                _rows.Clear();
                for (int i = 0; i < beside; i++) _rows.Add((i + 5) % _vocabulary, at + i, other, i - 1, false);
                for (int i = 0; i < count; i++) _rows.Add(tokens[start + i], start + i, sequence, i == 0 ? -1 : _rows.Count - 1, true);
                _cache.BeginPass(_rows);
                _model.Forward(_rows, _cache.View);
                for (int i = 0; i < count; i++) logits[start + i] = _model.LogitsOf(i).ToArray();
                if (beside > 0) _cache.Commit(other, [.. Enumerable.Range(0, beside)]);
                _cache.Commit(sequence, [.. Enumerable.Range(beside, count)]);
            }

            _cache.Release(sequence);
            _cache.Release(other);
            return logits;
        }

        private static PagedKvCache MakeCache(TransformerShape shape, IBackend backend, MemoryPlan plan)
        {
            var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, KvType.F32);
            var options = new KvCacheOptions
            {
                Layout = layout, MaxSequences = 2, MaxTokensPerSequence = Context, MaxRowsPerSequence = MaxRows, Store = backend.KvStore,
                BudgetBytes = PagedKvCache.BytesFor(layout, 2, Context + MaxRows),
            };
            return new PagedKvCache(options, plan);
        }
    }
}
