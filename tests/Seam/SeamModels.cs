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
/// decoding alone, computed when they are asked for.
/// </summary>
public sealed class SeamModels : IDisposable
{
    public const int Vocab = 61, Context = 320, SlotsPerPage = 16;
    private const int MaxRows = SeamCombination.WholePrompt + SeamRequest.Count * RowBatch.MaxTreeRows;
    private readonly TempDirectory _directory = new();
    private readonly Dictionary<(WeightType Weights, int Threads), (CpuBackend Backend, Transformer Model)> _loaded = [];
    private readonly Dictionary<((SeamPolicy, KvType, WeightType, bool) Model, int Request), SeamAnswer> _answers = [];

    public SeamModels() => new TinyModel
    {
        Hidden = 32, HeadDim = 8, Intermediate = 48, Vocab = Vocab, MaxPositions = Context, Seed = 8,
    }.Write(_directory.Path);

    /// <summary>A loop over the model. The caller disposes the cache.</summary>
    /// <param name="c">Weights, threads, policy and KV type.</param>
    /// <param name="drafter">Who drafts.</param>
    /// <param name="sequences">Sequences that run at a time.</param>
    /// <param name="chunk">Most prompt rows of a pass.</param>
    /// <param name="prefixes">Most stored prefixes.</param>
    /// <param name="defect">What is planted.</param>
    public (DecodeLoop Loop, PagedKvCache Cache, int Threads) Loop(
        SeamCombination c, IDrafter drafter, int sequences, int chunk, int prefixes, SeamDefect defect = SeamDefect.None)
    {
        (CpuBackend backend, Transformer model) = Load(c.Weights, c.Threads);
        TransformerShape shape = model.Shape;
        var options = new DecodeLoopOptions
        {
            ContextLength = Context, MaxSequences = sequences, PrefillChunk = chunk, MaxRows = chunk + sequences * (1 + drafter.MaxNodes),
        };
        var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, c.Kv, SlotsPerPage);
        int slack = options.MaxRowsPerSequence(drafter.MaxNodes);
        var cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = sequences, MaxTokensPerSequence = Context, MaxRowsPerSequence = slack, MaxPrefixes = prefixes,
                BudgetBytes = PagedKvCache.BytesFor(layout, sequences + prefixes, Context + RowBatch.MaxTreeRows),
                Policy = defect == SeamDefect.WindowByPass ? new WindowByPass(12) : SeamCombination.PolicyOf(c.Policy),
            },
            new MemoryPlan());
        IAcceptanceRule? rule = defect is SeamDefect.SiblingsRow or SeamDefect.LogProbBit ? new PlantedRule(defect) : null;
        return (new DecodeLoop(model, cache, drafter, options, rule: rule), cache, backend.Team.Threads);
    }

    /// <summary>What plain decoding alone answers: one request, one thread, no drafts, nothing shared.</summary>
    public SeamAnswer Alone(SeamCombination c, int request)
    {
        if (_answers.TryGetValue((c.Model, request), out SeamAnswer? known)) return known;
        (DecodeLoop loop, PagedKvCache cache, _) = Loop(c with { Threads = 1 }, new NoDrafter(), sequences: 1, chunk: 64, prefixes: 0);
        using (cache)
        {
            Sequence sequence = SeamRun.Submit(loop, SeamRequest.Number(request, c.Sampled));
            while (loop.Step())
            {
            }

            return _answers[(c.Model, request)] = SeamAnswer.Of(sequence);
        }
    }

    public void Dispose()
    {
        foreach ((CpuBackend backend, _) in _loaded.Values) backend.Dispose();
        _directory.Dispose();
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

/// <summary>An answer with the bits of its log-probabilities.</summary>
public sealed record SeamAnswer(int[] Tokens, int[] LogProbBits, FinishReason Reason)
{
    public static SeamAnswer Of(Sequence s) =>
        new(s.History.Generated.ToArray(), [.. s.History.LogProbs.ToArray().Select(BitConverter.SingleToInt32Bits)], s.FinishReason);
}
