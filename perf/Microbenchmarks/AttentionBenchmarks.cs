using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Parameters;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Microbenchmarks;

/// <summary>
/// Attention of one layer of the Llama-3.2-1B shape (32 query heads, 8 KV heads of 64) with a tree of rows behind 1024 tokens, on one thread. Keys and
/// values stay in the caches: arithmetic limits, not memory.
/// </summary>
public unsafe class AttentionBenchmarks : IKernelBenchmark
{
    private const int Heads = 32, KvHeads = 8, HeadDim = 64, Tokens = 1024;
    private readonly ThreadTeam _team = new(1);
    private readonly Buffers _buffers = new();
    private CpuAttention _attention = null!;
    private PagedKvCache _cache = null!;
    private RowBatch _rows = null!;
    private float* _qkv; // [256, (heads + 2·kvHeads)·headDim]
    private float* _output;

    [Params(IsaLevel.Avx2, IsaLevel.Avx512, IsaLevel.Emitted)]
    public IsaLevel Level { get; set; }

    [Params(KvType.F32, KvType.BF16, KvType.F16, KvType.Int8)]
    public KvType Type { get; set; }

    [Params(1, 8, 16, 64)]
    public int Rows { get; set; }

    public static KernelWork WorkOf(ParameterInstances parameters)
    {
        int rows = (int)parameters[nameof(Rows)];
        var format = new KvPageFormat(new KvLayout(1, KvHeads, HeadDim, (KvType)parameters[nameof(Type)]));
        return new KernelWork((double)Tokens * KvHeads * format.SlotBytes, 4.0 * rows * Tokens * Heads * HeadDim);
    }

    [GlobalSetup]
    public void Prepare()
    {
        if (!IsaLevels.IsSupported(Level)) throw new NotSupportedException($"This machine lacks the level {Level}.");
        const int MaxRows = 256;
        var shape = new TransformerShape
        {
            LayerCount = 1, HiddenSize = Heads * HeadDim, IntermediateSize = Heads * HeadDim, HeadCount = Heads, KvHeadCount = KvHeads, HeadDim = HeadDim,
            VocabSize = 16, RmsNormEpsilon = 1e-5f, MaxPositions = 2 * Tokens, RopeInverseFrequencies = new double[HeadDim / 2], AttentionScale = 0.125f,
        };
        var layout = new KvLayout(1, KvHeads, HeadDim, Type);
        _cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = 1, MaxTokensPerSequence = Tokens, MaxRowsPerSequence = MaxRows,
                BudgetBytes = PagedKvCache.BytesFor(layout, 1, Tokens + MaxRows),
            },
            new MemoryPlan());
        _attention = new CpuAttention(shape, MaxRows, _team, new MemoryPlan(), Level);
        _qkv = Random(MaxRows * (Heads + 2 * KvHeads) * HeadDim);
        _output = Random(MaxRows * Heads * HeadDim);
        _rows = new RowBatch(MaxRows);
        int sequence = _cache.TryAcquire();
        _cache.TryReserve(sequence, Tokens + MaxRows);
        int[] path = [.. Enumerable.Range(0, MaxRows)];
        for (int position = 0; position < Tokens; position += MaxRows)
        {
            Lay(sequence, MaxRows, branches: false);
            _attention.Store(0, _rows, _cache.View, _qkv);
            _cache.Commit(sequence, path);
        }

        Lay(sequence, Rows, branches: true);
    }

    [GlobalCleanup]
    public void End()
    {
        _attention.Dispose();
        _cache.Dispose();
        _buffers.Dispose();
    }

    [Benchmark]
    public void Attend() => _attention.Run(0, _rows, _cache.View, _qkv, _output, 0);

    /// <summary>Begins a pass with a chain or a binary tree.</summary>
    private void Lay(int sequence, int count, bool branches)
    {
        _rows.Clear();
        int position = _cache.Length(sequence);
        for (int i = 0; i < count; i++)
        {
            int parent = branches ? (i == 0 ? -1 : (i - 1) / 2) : i - 1;
            _rows.Add(0, parent < 0 ? position : _rows.Positions[parent] + 1, sequence, parent, wantsLogits: false);
        }

        _cache.BeginPass(_rows);
    }

    private float* Random(int count)
    {
        float* memory = _buffers.Floats(count);
        for (int i = 0; i < count; i++) memory[i] = (float)(CounterRandom.Uniform(1, (ulong)i, 0) * 2 - 1);
        return memory;
    }
}
