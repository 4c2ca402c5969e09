using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Sequences of synthetic keys and values under one policy, and passes over them.</summary>
internal sealed unsafe class EvictionSide : IDisposable
{
    /// <summary>Tokens of one filling pass: what the engine's scheduler reads of a prompt at a time.</summary>
    public const int Chunk = 64;

    /// <summary>Tokens by which every sequence can grow: what decoding reserves ahead.</summary>
    public const int Growth = 32;

    private readonly TransformerShape _shape;
    private readonly PagedKvCache _cache;
    private readonly SyntheticKv _synthetic;
    private readonly RowBatch _rows;
    private readonly List<int> _sequences = [];
    private readonly int[] _one = new int[1];
    private readonly NativeBuffer _output; // [rows, heads·headDim]
    private int _next;

    /// <param name="shape">Sizes of the model.</param>
    /// <param name="policy">What evicts.</param>
    /// <param name="type">Storage of keys and values.</param>
    /// <param name="most">Most sequences.</param>
    /// <param name="tokens">Longest sequence.</param>
    /// <param name="budget">Bytes of the page pool.</param>
    /// <param name="synthetic">Fills and attends.</param>
    public EvictionSide(TransformerShape shape, IEvictionPolicy policy, KvType type, int most, int tokens, long budget, SyntheticKv synthetic)
    {
        (_shape, _synthetic) = (shape, synthetic);
        _cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = new KvLayout(shape.LayerCount, shape.KvHeadCount, shape.HeadDim, type), MaxSequences = most, MaxTokensPerSequence = tokens,
                MaxRowsPerSequence = Chunk, BudgetBytes = budget, Policy = policy,
            },
            new MemoryPlan());
        _rows = new RowBatch(Math.Max(most, 1));
        _output = NativeBuffer.Allocate((long)Math.Max(most, 1) * shape.HeadCount * shape.HeadDim * sizeof(float), "attention output");
    }

    /// <summary>Sequences that are filled.</summary>
    public int Count => _sequences.Count;

    public KvStatistics Statistics => _cache.Statistics;

    /// <summary>Bytes of keys and values that one row of a sequence attends to, mean over the sequences.</summary>
    public double BytesPerToken =>
        (double)Statistics.LiveSlots / Math.Max(1, Count) * new KvPageFormat(_cache.Options.Layout).SlotBytes;

    /// <summary>Fills sequences with <paramref name="depth"/> tokens until there are <paramref name="most"/> or the pages do not reach for one more.</summary>
    public void Fill(int most, int depth, CancellationToken cancel)
    {
        while (Count < most)
        {
            cancel.ThrowIfCancellationRequested();
            int sequence = _cache.TryAcquire();
            if (sequence < 0) return;
            for (int length = 0; length < depth; length = _cache.Length(sequence))
            {
                int next = Math.Min(depth, length + Chunk);
                if (!_cache.TryReserve(sequence, next))
                {
                    _cache.Release(sequence);
                    return;
                }

                _synthetic.Fill(_cache, sequence, next);
            }

            _cache.Reclaim(sequence);
            if (!_cache.TryReserve(sequence, depth + Growth))
            {
                _cache.Release(sequence);
                return;
            }

            _sequences.Add(sequence);
        }
    }

    /// <summary>All layers attend for one row of the next sequence in turn, so that what one pass has read is no longer in the processor's caches.</summary>
    public void Attend()
    {
        int sequence = _sequences[_next = (_next + 1) % Count];
        _rows.Clear();
        _rows.Add(0, _cache.Length(sequence), sequence, -1, wantsLogits: false);
        _cache.BeginPass(_rows);
        for (int layer = 0; layer < _shape.LayerCount; layer++) _synthetic.Attention.Run(layer, _rows, _cache.View, _synthetic.Qkv, (float*)_output.Pointer, 0);
        _cache.Commit(sequence, []);
    }

    /// <summary>One token for each of the first <paramref name="sequences"/> sequences through the whole model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="sequences">How many.</param>
    /// <param name="token">Token of all rows.</param>
    /// <param name="commit">Keeps the tokens, so that evicting is part of the time, while the sequences have room; otherwise the rows are taken back.</param>
    public void Decode(Transformer model, int sequences, int token, bool commit)
    {
        _rows.Clear();
        for (int i = 0; i < sequences; i++)
        {
            int sequence = _sequences[i];
            commit &= _cache.Length(sequence) < _cache.Options.MaxTokensPerSequence;
            int needed = _cache.Length(sequence) + 1;
            if ((commit || _cache.Reserved(sequence) < needed) && !_cache.TryReserve(sequence, needed))
                throw new OutOfMemoryBudgetException("The KV cache does not hold one more token of every sequence: lower --depths.");
            _rows.Add(token, _cache.Length(sequence), sequence, -1, wantsLogits: true);
        }

        _cache.BeginPass(_rows);
        model.Forward(_rows, _cache.View);
        for (int i = 0; i < sequences; i++)
        {
            _one[0] = i;
            _cache.Commit(_sequences[i], commit ? _one : []);
        }
    }

    public void Dispose()
    {
        _output.Dispose();
        _cache.Dispose();
    }
}
