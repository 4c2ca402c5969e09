using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Tests.Fixtures;

/// <summary>The real engine on a model directory, for one sequence at a time: loader, CPU backend, paged cache, transformer.</summary>
public sealed class ModelRunner : IDisposable
{
    private const int MaxRows = 256;
    private readonly CpuBackend _backend;
    private readonly PagedKvCache _cache;
    private readonly RowBatch _rows = new(MaxRows);

    public ModelRunner(string directory, WeightType? type = null, KvType kvType = KvType.F32, int threads = 2, bool learnedEviction = false, int reclaimBatch = 8)
    {
        _backend = CpuBackend.Create(new CpuOptions { Threads = threads });
        var plan = new MemoryPlan();
        Model = ModelLoader.Load(directory, new LoadOptions { Backend = _backend, Plan = plan, MaxRows = MaxRows, MaxLogitRows = MaxRows, WeightType = type });
        TransformerShape shape = Model.Config.Shape;
        var layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, kvType, 16);
        _cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout,
                MaxSequences = 1,
                MaxTokensPerSequence = shape.MaxPositions,
                MaxRowsPerSequence = MaxRows,
                BudgetBytes = PagedKvCache.BytesFor(layout, 1, shape.MaxPositions + MaxRows),
                Policy = learnedEviction ? LearnedEviction.PolicyOf(Model.Config, directory) : new DensePolicy(),
                ReclaimBatch = reclaimBatch,
            },
            plan);
    }

    public LoadedModel Model { get; }

    public KvStatistics Statistics => _cache.Statistics;

    /// <summary>Logits of every position, computed in passes of <paramref name="chunk"/> rows: all ids at once is prefill, 1 is token by token. // [ids · vocab]</summary>
    public float[] Run(int[] ids, int chunk)
    {
        int sequence = _cache.TryAcquire();
        Assert.True(_cache.TryReserve(sequence, ids.Length));
        int vocab = Model.Config.Shape.VocabSize;
        var logits = new float[ids.Length * vocab];
        for (int start = 0; start < ids.Length; start += chunk)
        {
            int count = Math.Min(chunk, ids.Length - start);
            _rows.Clear();
            for (int i = 0; i < count; i++) _rows.Add(ids[start + i], start + i, sequence, i - 1, true);
            _cache.BeginPass(_rows);
            Model.Transformer.Forward(_rows, _cache.View);
            for (int i = 0; i < count; i++) Model.Transformer.LogitsOf(i).CopyTo(logits.AsSpan((start + i) * vocab, vocab));
            _cache.Commit(sequence, [.. Enumerable.Range(0, count)]);
        }

        _cache.Release(sequence);
        return logits;
    }

    public void Dispose()
    {
        _cache.Dispose();
        _backend.Dispose();
    }
}
