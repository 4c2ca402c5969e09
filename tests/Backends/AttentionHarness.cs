using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends;

/// <summary>Sizes and storage of one attention test.</summary>
public sealed record AttentionCase
{
    public int Heads { get; init; } = 4;
    public int KvHeads { get; init; } = 2;
    public int HeadDim { get; init; } = 32;
    public KvType Type { get; init; } = KvType.F32;
    public int Window { get; init; }
    public int SlotsPerPage { get; init; } = 32;
    public int Threads { get; init; } = 1;
    public int MaxTokens { get; init; } = 800;
    public int Sequences { get; init; } = 3;

    /// <summary>Instruction set; null = the best of the machine.</summary>
    public IsaLevel? Level { get; init; }

    /// <summary>Last position that sees the key of a head at a position; null = no key has an end.</summary>
    public Func<int, int, int>? Expire { get; init; }

    /// <summary>What evicts; null = <see cref="Expire"/>.</summary>
    public IEvictionPolicy? Policy { get; init; }

    /// <summary>Expired slots that wait for their removal.</summary>
    public int ReclaimBatch { get; init; } = 1;

    /// <summary>Nonzero: pages are handed out in an order shuffled by this seed.</summary>
    public ulong PlacementSeed { get; init; }
}

/// <summary>
/// Runs attention over a real cache. Query, key and value of a row are a function of its token and position only, so that the same path of tokens
/// must give the same output however it is cut into passes.
/// </summary>
public sealed unsafe class AttentionHarness : IDisposable
{
    public const int Layer = 1;
    private readonly AttentionCase _case;
    private readonly TransformerShape _shape;
    private readonly ThreadTeam _team;
    private readonly CpuAttention _attention;
    private readonly NativeBuffer _qkv;
    private readonly NativeBuffer _output;
    private readonly HostKvView _view;

    public AttentionHarness(AttentionCase test, int maxRows = 700)
    {
        _case = test;
        _shape = new TransformerShape
        {
            LayerCount = 2, HiddenSize = 64, IntermediateSize = 64, HeadCount = test.Heads, KvHeadCount = test.KvHeads, HeadDim = test.HeadDim,
            VocabSize = 16, RmsNormEpsilon = 1e-5f, MaxPositions = test.MaxTokens, RopeInverseFrequencies = new double[test.HeadDim / 2],
            AttentionScale = (float)(1 / Math.Sqrt(test.HeadDim)),
        };
        var plan = new MemoryPlan();
        var layout = new KvLayout(2, test.KvHeads, test.HeadDim, test.Type, test.SlotsPerPage);
        Cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = test.Sequences, MaxTokensPerSequence = test.MaxTokens, MaxRowsPerSequence = maxRows,
                BudgetBytes = PagedKvCache.BytesFor(layout, test.Sequences, test.MaxTokens + maxRows), ReclaimBatch = test.ReclaimBatch,
                Policy = test.Policy ?? (test.Expire is null ? new DensePolicy() : new ExpirePolicy(test.Expire)),
            },
            plan);
        if (test.PlacementSeed != 0) Cache.Pool.Shuffle(new SeededRandom(test.PlacementSeed).Next);
        _view = (HostKvView)Cache.View;
        _team = new ThreadTeam(test.Threads);
        _attention = new CpuAttention(_shape, maxRows, _team, plan, test.Level);
        QkvWidth = (test.Heads + 2 * test.KvHeads) * test.HeadDim;
        OutputWidth = test.Heads * test.HeadDim;
        _qkv = NativeBuffer.Allocate((long)maxRows * QkvWidth * 4, "test");
        _output = NativeBuffer.Allocate((long)maxRows * OutputWidth * 4, "test");
        Rows = new RowBatch(maxRows);
    }

    public PagedKvCache Cache { get; }

    public TransformerShape Shape => _shape;

    public RowBatch Rows { get; }

    internal HostKvView View => _view;

    /// <summary>A defect that a test puts between the cache's work and attention, to see that it is caught.</summary>
    internal Action<AttentionHarness>? Plant { get; set; }

    public int QkvWidth { get; }

    public int OutputWidth { get; }

    /// <summary>An empty sequence with room for all tokens.</summary>
    public int NewSequence()
    {
        int sequence = Cache.TryAcquire();
        Assert.True(Cache.TryReserve(sequence, _case.MaxTokens));
        return sequence;
    }

    /// <summary>Query, key and value of a token at a position. // [QkvWidth]</summary>
    public static void Fill(int token, int position, Span<float> qkv)
    {
        ulong seed = ((ulong)(uint)token << 32) | (uint)position;
        for (int i = 0; i < qkv.Length; i++) qkv[i] = (float)((CounterRandom.Uniform(7, seed, (uint)i) * 2 - 1) * (i % 5 == 0 ? 4 : 1.5));
    }

    /// <summary>Runs the rows of <see cref="Rows"/> without committing.</summary>
    public void Run()
    {
        for (int r = 0; r < Rows.Count; r++) Fill(Rows.Tokens[r], Rows.Positions[r], _qkv.Span<float>((long)r * QkvWidth * 4, QkvWidth));
        Cache.BeginPass(Rows);
        Plant?.Invoke(this);
        Attend();
    }

    /// <summary>Attention alone, over the rows that Run has set up.</summary>
    public void Attend() => AttendTo(Cache.View);

    public void AttendTo(KvView view) => _attention.Run(Layer, Rows, view, (float*)_qkv.Pointer, (float*)_output.Pointer, _case.Window);

    /// <summary>Attention output of a row of the last pass. // [OutputWidth]</summary>
    public float[] Output(int row) => _output.Span<float>((long)row * OutputWidth * 4, OutputWidth).ToArray();

    /// <summary>Adds a chain of tokens to the rows.</summary>
    public void AddChain(int sequence, ReadOnlySpan<int> tokens)
    {
        int position = Cache.Length(sequence);
        for (int i = 0; i < tokens.Length; i++) Rows.Add(tokens[i], position + i, sequence, i == 0 ? -1 : Rows.Count - 1, false);
    }

    /// <summary>Runs tokens as one chain, commits them and returns the rows' outputs.</summary>
    public float[][] RunChain(int sequence, ReadOnlySpan<int> tokens)
    {
        Rows.Clear();
        AddChain(sequence, tokens);
        Run();
        var outputs = new float[tokens.Length][];
        for (int i = 0; i < outputs.Length; i++) outputs[i] = Output(i);
        Cache.Commit(sequence, Enumerable.Range(0, outputs.Length).ToArray());
        return outputs;
    }

    /// <summary>Runs tokens in chunks of <paramref name="chunk"/> and returns all outputs.</summary>
    public float[][] RunChunks(int sequence, ReadOnlySpan<int> tokens, int chunk)
    {
        var outputs = new List<float[]>();
        for (int i = 0; i < tokens.Length; i += chunk) outputs.AddRange(RunChain(sequence, tokens.Slice(i, Math.Min(chunk, tokens.Length - i))));
        return [.. outputs];
    }

    public void Dispose()
    {
        _attention.Dispose();
        _team.Dispose();
        Cache.Dispose();
        _qkv.Dispose();
        _output.Dispose();
    }

    private sealed class ExpirePolicy(Func<int, int, int> expire) : IEvictionPolicy
    {
        public string Name => "test";

        public bool Evicts => true;

        public int ExpireOf(int layer, int kvHead, int position) => expire(kvHead, position);
    }
}
