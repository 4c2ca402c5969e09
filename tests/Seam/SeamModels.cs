using System.Collections.Concurrent;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Seam;

/// <summary>
/// One tiny random model, loaded once per weight type and thread count; caches and loops around it, one per combination; and the answers of plain
/// decoding alone, computed when they are asked for. What asks for one thread runs beside others, in a lane with a loaded model of its own.
/// </summary>
public class SeamModels : IDisposable
{
    public const int Vocab = 61, Context = 320, SlotsPerPage = 16;
    private const int MaxRows = SeamCombination.WholePrompt + SeamRequest.Count * RowBatch.MaxTreeRows;
    private readonly TempDirectory _directory;
    private readonly Dictionary<(WeightType Weights, int Threads), (CpuBackend Backend, Transformer Model)> _loaded = [];
    private readonly List<SeamModels> _lanes = []; // all but the first, which is this
    private readonly ConcurrentDictionary<((SeamPolicy, int, KvType, WeightType, bool, bool, int) Model, int Request, int Sample), SeamAnswer> _answers;

    public SeamModels()
        : this(layers: 2)
    {
    }

    protected SeamModels(int layers)
    {
        (_directory, _answers) = (new TempDirectory(), new());
        var model = new TinyModel { Layers = layers, Hidden = 32, HeadDim = 8, Intermediate = 48, Vocab = Vocab, MaxPositions = Context, Seed = 8 };
        model.Write(_directory.Path);
        new TinyHeads().Medusa(SeamDrafts.HeadsOf(_directory.Path, "medusa"), "medusa", model);
        foreach (string layout in new[] { "eagle3", "mtp-deepseek" }) new TinyHeads().Eagle(SeamDrafts.HeadsOf(_directory.Path, layout), layout, model);
    }

    private SeamModels(SeamModels first) => (_directory, _answers) = (first._directory, first._answers);

    /// <summary>Where the model lies.</summary>
    public string Directory => _directory.Path;

    /// <summary>A loop over the model.</summary>
    /// <param name="c">Weights, threads, policy and KV type.</param>
    /// <param name="size">What is planned.</param>
    /// <param name="drafter">Who drafts.</param>
    /// <param name="defect">What is planted.</param>
    public SeamLoop Loop(SeamCombination c, SeamSize size, ISeamDrafter drafter, SeamDefect defect = SeamDefect.None)
    {
        int nodes = drafter.MaxNodes, chunk = Math.Min(size.Chunk, MostPromptRows);
        var options = new DecodeLoopOptions
        {
            ContextLength = Context, MaxSequences = size.Sequences, PrefillChunk = chunk, MaxRows = chunk + size.Sequences * (1 + nodes),
            KvAdmission = size.Budget > 0 ? KvAdmission.Measured : KvAdmission.WorstCase, ExpectedAnswerTokens = size.Budget > 0 ? size.Answer : 0,
        };
        SeamPlace place = Place(c, options, options.MaxLogitRows(nodes), (shape, store) =>
        {
            var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, c.Kv, SlotsPerPage);
            return new KvCacheOptions
            {
                Layout = layout, MaxSequences = size.Sequences, MaxTokensPerSequence = Context, MaxRowsPerSequence = options.MaxRowsPerSequence(nodes),
                MaxPrefixes = size.Prefixes, Store = store,
                BudgetBytes = PagedKvCache.BytesFor(
                    layout, size.Budget > 0 ? 1 : size.Sequences + size.Prefixes, size.Budget > 0 ? size.Budget : Context + RowBatch.MaxTreeRows),
                Policy = defect == SeamDefect.WindowByPass ? new WindowByPass(2 * c.Window) : c.EvictionPolicy,
            };
        });
        var taps = new FeatureTaps(place.Model.Shape, options.MaxRows, new MemoryPlan());
        IDrafter made = drafter.Create(new DrafterContext
        {
            Taps = taps,
            Target = place.Model, TargetCache = place.Cache, Plan = new MemoryPlan(), MaxSequences = size.Sequences, ContextLength = Context,
            CreateBackend = () => BackendFactory.CreateBeside(place.Model.Backend, c.Threads),
        });
        IAcceptanceRule? rule = defect is SeamDefect.SiblingsRow or SeamDefect.LogProbBit ? new PlantedRule(defect) : null;
        return new SeamLoop(new DecodeLoop(place.Model, place.Cache, made, options, rule: rule, taps: taps), place.Cache, made, place.Threads, place.Owned);
    }

    /// <summary>What plain decoding alone answers: one request, one thread, no drafts, nothing shared.</summary>
    public SeamAnswer Alone(SeamCombination c, int request, int sample = 0)
    {
        if (!c.Sampled) sample = 0; // all samples are the same
        if (_answers.TryGetValue((c.Model, request, sample), out SeamAnswer? known)) return known;
        return _answers[(c.Model, request, sample)] = Alone(c, SeamRequest.Number(request, c, sample));
    }

    public SeamAnswer Alone(SeamCombination c, SeamRequest request, IEnumerable<int>? stopTokens = null, string[]? stopStrings = null)
    {
        using SeamLoop plain = Loop(c with { Threads = 1 }, new SeamSize(1, AloneChunk), SeamPlain.Instance);
        Sequence sequence = request.Sequence(0, stopTokens, stopStrings);
        plain.Loop.Submit(sequence);
        while (plain.Loop.Step())
        {
        }

        return SeamAnswer.Of(sequence);
    }

    /// <summary>Checks all combinations, as many at a time as the processor has threads for.</summary>
    public void InLanes(IEnumerable<SeamCombination> combinations, Action<SeamModels, SeamCombination> check)
    {
        foreach (IGrouping<int, SeamCombination> sameThreads in combinations.GroupBy(c => c.Threads))
        {
            int lanes = Math.Max(1, Environment.ProcessorCount / sameThreads.Key);
            while (_lanes.Count < lanes - 1) _lanes.Add(new SeamModels(this));
            var waiting = new ConcurrentQueue<SeamCombination>(sameThreads);
            Parallel.For(0, lanes, lane =>
            {
                try
                {
                    while (waiting.TryDequeue(out SeamCombination? c)) check(lane == 0 ? this : _lanes[lane - 1], c);
                }
                catch
                {
                    waiting.Clear();
                    throw;
                }
            });
        }
    }

    public void Dispose()
    {
        foreach ((CpuBackend backend, _) in _lanes.Append(this).SelectMany(lane => lane._loaded.Values)) backend.Dispose();
        _directory.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Prompt rows of a pass of plain decoding alone: a size that no combination has.</summary>
    protected virtual int AloneChunk => 5;

    /// <summary>Most prompt rows of a pass, for those who ask for whole prompts.</summary>
    protected virtual int MostPromptRows => SeamCombination.WholePrompt;

    /// <summary>The model with a cache of its own.</summary>
    /// <param name="c">Weights and threads.</param>
    /// <param name="options">Rows of a pass.</param>
    /// <param name="logitRows">Most of them with logits.</param>
    /// <param name="cache">The cache for a shape and the backend's store.</param>
    protected virtual SeamPlace Place(SeamCombination c, DecodeLoopOptions options, int logitRows, Func<TransformerShape, IKvStore?, KvCacheOptions> cache)
    {
        (CpuBackend backend, Transformer model) = Load(c.Weights, c.Threads);
        return new SeamPlace(model, new PagedKvCache(cache(model.Shape, null), new MemoryPlan()), backend.Team.Threads);
    }

    private (CpuBackend Backend, Transformer Model) Load(WeightType weights, int threads)
    {
        if (_loaded.TryGetValue((weights, threads), out var known)) return known;
        CpuBackend backend = CpuBackend.Create(new CpuOptions { Threads = threads });
        LoadedModel model = ModelLoader.Load(_directory.Path, new LoadOptions
        {
            Backend = backend, Plan = new MemoryPlan(), MaxRows = MaxRows, MaxLogitRows = MaxRows - SeamCombination.WholePrompt, WeightType = weights,
        });
        return _loaded[(weights, threads)] = (backend, model.Transformer);
    }
}

/// <summary>A model with layers to leave out, for drafters that need them.</summary>
public sealed class DeepSeamModels() : SeamModels(layers: 4);

/// <summary>What a loop is planned for.</summary>
/// <param name="Sequences">Sequences that run at a time.</param>
/// <param name="Chunk">Most prompt rows of a pass.</param>
/// <param name="Prefixes">Most stored prefixes.</param>
/// <param name="Budget">KV budget in tokens of one sequence, under measured admission; 0 = room for everything.</param>
/// <param name="Answer">Tokens that answers are expected to have before one has ended: fewer than they have admits more than there is room for.</param>
public sealed record SeamSize(int Sequences, int Chunk, int Prefixes = 0, int Budget = 0, int Answer = 1);

/// <summary>Where a loop runs.</summary>
/// <param name="Owned">What goes with it; null = nothing.</param>
public sealed record SeamPlace(Transformer Model, PagedKvCache Cache, int Threads, IDisposable? Owned = null);

/// <summary>A loop with what belongs to it.</summary>
public sealed record SeamLoop(DecodeLoop Loop, PagedKvCache Cache, IDrafter Drafter, int Threads, IDisposable? Owned) : IDisposable
{
    public void Dispose()
    {
        Drafter.Dispose();
        Owned?.Dispose();
        Cache.Dispose();
    }
}

/// <summary>A drafter that is made when the cache is there.</summary>
public interface ISeamDrafter
{
    int MaxNodes { get; }

    IDrafter Create(DrafterContext context);
}

/// <summary>No drafts.</summary>
public sealed class SeamPlain : ISeamDrafter
{
    public static SeamPlain Instance { get; } = new();

    public int MaxNodes => 0;

    public IDrafter Create(DrafterContext context) => new NoDrafter();
}

/// <summary>An answer with the bits of its log-probabilities.</summary>
public sealed record SeamAnswer(int[] Tokens, int[] LogProbBits, FinishReason Reason, int TextTokens, long ShownBytes)
{
    public static SeamAnswer Of(Sequence s) => new(
        s.History.Generated.ToArray(), [.. s.History.LogProbs.ToArray().Select(BitConverter.SingleToInt32Bits)], s.FinishReason, s.TextTokens, s.ShownBytes);
}
