using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Cli.Benchmarks;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Cli;

/// <summary>What a <see cref="DirectModel"/> is loaded for.</summary>
internal sealed record DirectModelOptions
{
    /// <summary>Type of the weights; null keeps the file's.</summary>
    public WeightType? WeightType { get; init; }

    public KvType KvType { get; init; } = KvType.F32;

    /// <summary>What the cache forgets; null = what the model decides.</summary>
    public IEvictionPolicy? KvPolicy { get; init; } = new DensePolicy();

    /// <summary>0 takes one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>Longest sequence in tokens.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Most rows of a pass; each may ask for logits.</summary>
    public required int MaxRows { get; init; }
}

/// <summary>Which rows of a pass go through the head.</summary>
internal enum LogitRows
{
    None,
    Last,
    All,
}

/// <summary>
/// A model with a cache for one sequence and no sampler: passes over given tokens, for <c>logits</c> and <c>bench</c>, which must see exactly the
/// passes they ask for.
/// </summary>
internal sealed class DirectModel : IDisposable
{
    private readonly CpuBackend _backend;
    private readonly PagedKvCache _cache;
    private readonly RowBatch _rows;
    private readonly int[] _path; // [maxRows] 0, 1, 2, …
    private int _sequence;

    private DirectModel(CpuBackend backend, LoadedModel model, MemoryPlan plan, DirectModelOptions options)
    {
        (_backend, Loaded, Plan) = (backend, model, plan);
        TransformerShape shape = model.Config.Shape;
        var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, options.KvType);
        _cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout,
                MaxSequences = 1,
                MaxTokensPerSequence = options.ContextLength,
                MaxRowsPerSequence = options.MaxRows,
                BudgetBytes = PagedKvCache.BytesFor(layout, 1, options.ContextLength + options.MaxRows),
                Policy = options.KvPolicy ?? LearnedEviction.PolicyOf(model.Config, model.Origin),
            },
            plan);
        _rows = new RowBatch(options.MaxRows);
        _path = [.. Enumerable.Range(0, options.MaxRows)];
        Acquire();
    }

    public LoadedModel Loaded { get; }

    public MemoryPlan Plan { get; }

    public CpuBackend Backend => _backend;

    /// <summary>Committed tokens.</summary>
    public int Length => _cache.Length(_sequence);

    /// <summary>What the cache forgets.</summary>
    public IEvictionPolicy KvPolicy => _cache.Options.Policy;

    /// <summary>Which committed tokens the next row sees in one head. // [Length]</summary>
    public unsafe bool[] LivePositions(int layer, int kvHead)
    {
        var live = new bool[Length];
        var view = (HostKvView)_cache.View;
        KvHeadSlots* head = view.Head(_sequence, layer, kvHead);
        for (int slot = 0; slot < head->Committed; slot++) live[*view.PositionOf(head, slot)] = *view.ExpireOf(head, slot) >= live.Length;
        return live;
    }

    /// <summary>Slots over all layers and KV heads that the next row sees.</summary>
    public long LiveSlots => _cache.Statistics.LiveSlots;

    public KvType KvType => _cache.Options.Layout.Type;

    /// <summary>Loads <paramref name="source"/> onto the processor.</summary>
    public static DirectModel Load(ModelSource source, DirectModelOptions options, CliHost host)
    {
        var backend = CpuBackend.Create(new CpuOptions { Threads = options.Threads });
        try
        {
            var plan = new MemoryPlan();
            using var progress = new ProgressLine(host);
            LoadedModel model = ModelLoader.Load(source, new LoadOptions
            {
                Backend = backend,
                Plan = plan,
                MaxRows = options.MaxRows,
                MaxLogitRows = options.MaxRows,
                WeightType = options.WeightType,
                ContextLength = options.ContextLength,
                Progress = LoadReport.To(progress),
                Cancellation = host.Interrupt,
            });
            progress.Dispose();
            LoadReport.WriteNote(model, host);
            return new DirectModel(backend, model, plan, options);
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }

    /// <summary>Runs one pass over <paramref name="tokens"/> as a chain behind the committed tokens.</summary>
    /// <param name="tokens">At most MaxRows.</param>
    /// <param name="logits">Rows whose logits are computed.</param>
    /// <param name="commit">Keeps the rows; otherwise the pass is taken back.</param>
    public void Pass(ReadOnlySpan<int> tokens, LogitRows logits, bool commit)
    {
        _rows.Clear();
        int parent = -1, position = Length;
        for (int i = 0; i < tokens.Length; i++)
        {
            bool wantsLogits = logits == LogitRows.All || (logits == LogitRows.Last && i == tokens.Length - 1);
            parent = _rows.Add(tokens[i], position + i, _sequence, parent, wantsLogits);
        }

        _cache.BeginPass(_rows);
        Loaded.Transformer.Forward(_rows, _cache.View);
        _cache.Commit(_sequence, commit ? _path.AsSpan(0, tokens.Length) : []);
    }

    /// <summary>Logits of the last pass. // [vocab]</summary>
    public ReadOnlySpan<float> LogitsOf(int index) => Loaded.Transformer.LogitsOf(index);

    /// <summary>Brings the cache to <paramref name="depth"/> tokens of random keys and values, without forward passes.</summary>
    public void FillSynthetic(int depth)
    {
        if (Length > depth) Reset();
        if (Length == depth) return;
        using var synthetic = new SyntheticKv(Loaded.Config.Shape, Math.Min(256, _rows.Capacity), _backend.Team);
        synthetic.Fill(_cache, _sequence, depth);
    }

    /// <summary>Forgets all tokens.</summary>
    public void Reset()
    {
        _cache.Release(_sequence);
        Acquire();
    }

    public void Dispose()
    {
        _cache.Dispose();
        _backend.Dispose();
    }

    private void Acquire()
    {
        _sequence = _cache.TryAcquire();
        if (!_cache.TryReserve(_sequence, _cache.Options.MaxTokensPerSequence + _cache.Options.MaxRowsPerSequence))
            throw new OutOfMemoryBudgetException("The KV cache does not hold the asked context: lower --context.");
    }
}
