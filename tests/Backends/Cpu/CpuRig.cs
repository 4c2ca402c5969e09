using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>A small random model on the CPU backend with a real cache; sizes are odd on purpose: nothing is a multiple of a panel or a block.</summary>
internal sealed class CpuRig : IDisposable
{
    public const int Vocab = 131, Context = 160, MaxRows = 72;
    private readonly CpuBackend _backend;
    private readonly PagedKvCache _cache;
    private readonly Transformer _model;
    private readonly RowBatch _rows = new(MaxRows);

    public CpuRig(WeightType type, KvType kvType, IsaLevel? level = null, int threads = 2, bool qwen = true, WeightType? mixedValues = null)
    {
        _backend = CpuBackend.Create(new CpuOptions { Threads = threads, IsaLevel = level });
        ModelConfig config = Config(qwen, type.ColumnMultiple() > 1);
        using ModelSource source = mixedValues is { } values ? new MixedSource(new RandomSource(config, 9), type, values) : new RandomSource(config, 9);
        _model = ModelLoader.Load(
            source, new LoadOptions { Backend = _backend, Plan = Plan, MaxRows = MaxRows, MaxLogitRows = MaxRows, WeightType = mixedValues is null ? type : null }).Transformer;
        var layout = new KvLayout(config.Shape.LayerCount, config.Shape.KvHeadCount, config.Shape.HeadDim, kvType, 16);
        _cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout,
                MaxSequences = 4,
                MaxTokensPerSequence = Context,
                MaxRowsPerSequence = MaxRows,
                BudgetBytes = PagedKvCache.BytesFor(layout, 4, Context + MaxRows),
            },
            Plan);
    }

    public MemoryPlan Plan { get; } = new();

    /// <summary>A tree or chain that one sequence brings to a pass: tokens, and each row's parent within the list (−1: last committed token).</summary>
    public sealed record Branches(int Sequence, int[] Tokens, int[] Parents);

    public int NewSequence()
    {
        int sequence = _cache.TryAcquire();
        Assert.True(_cache.TryReserve(sequence, Context + MaxRows));
        return sequence;
    }

    public void Release(int sequence) => _cache.Release(sequence);

    /// <summary>Runs one pass over all branches and returns every row's logits; commits the given paths (indices within each branch's rows).</summary>
    public float[][] Pass(Branches[] parts, int[][] accepted)
    {
        _rows.Clear();
        var firsts = new int[parts.Length];
        for (int p = 0; p < parts.Length; p++)
        {
            Branches part = parts[p];
            firsts[p] = _rows.Count;
            int length = _cache.Length(part.Sequence);
            for (int i = 0; i < part.Tokens.Length; i++)
            {
                int parent = part.Parents[i];
                int position = parent < 0 ? length : _rows.Positions[firsts[p] + parent] + 1;
                _rows.Add(part.Tokens[i], position, part.Sequence, parent < 0 ? -1 : firsts[p] + parent, wantsLogits: true);
            }
        }

        _cache.BeginPass(_rows);
        _model.Forward(_rows, _cache.View);
        var logits = new float[_rows.Count][];
        for (int r = 0; r < logits.Length; r++) logits[r] = _model.LogitsOf(r).ToArray();
        for (int p = 0; p < parts.Length; p++) _cache.Commit(parts[p].Sequence, [.. accepted[p].Select(i => firsts[p] + i)]);
        return logits;
    }

    /// <summary>
    /// Runs the trees level by level, a pass per level behind the rows of those before, and returns every row's logits, tree by tree; takes all rows back.
    /// Nodes are in the order of their depths.
    /// </summary>
    public float[][][] Levels(Branches[] trees)
    {
        float[][][] logits = [.. trees.Select(t => new float[t.Tokens.Length][])];
        int[][] depths = [.. trees.Select(t => t.Parents.Select(p => DepthOf(t.Parents, p)).ToArray())];
        Span<ulong> mask = stackalloc ulong[RowBatch.MaskWords];
        for (int depth = 0; depths.Any(d => d[^1] >= depth); depth++)
        {
            _rows.Clear();
            var nodes = new List<(int Tree, int Node)>();
            for (int t = 0; t < trees.Length; t++)
            {
                int earlier = depths[t].Count(d => d < depth);
                for (int i = earlier; i < depths[t].Length && depths[t][i] == depth; i++)
                {
                    mask.Clear();
                    for (int p = trees[t].Parents[i]; p >= 0; p = trees[t].Parents[p]) mask[p >> 6] |= 1UL << (p & 63);
                    _rows.AddBehind(trees[t].Tokens[i], trees[t].Sequence, _cache.Length(trees[t].Sequence), earlier, mask, wantsLogits: true);
                    nodes.Add((t, i));
                }
            }

            _cache.BeginPass(_rows);
            _model.Forward(_rows, _cache.View);
            for (int r = 0; r < nodes.Count; r++) logits[nodes[r].Tree][nodes[r].Node] = _model.LogitsOf(r).ToArray();
        }

        foreach (Branches tree in trees) _cache.Commit(tree.Sequence, []);
        return logits;

        static int DepthOf(int[] parents, int parent) => parent < 0 ? 0 : 1 + DepthOf(parents, parents[parent]);
    }

    /// <summary>Feeds tokens in chunks, committing all, and returns every row's logits.</summary>
    public float[][] Chain(int sequence, ReadOnlySpan<int> tokens, int chunk)
    {
        var logits = new List<float[]>();
        for (int i = 0; i < tokens.Length; i += chunk)
        {
            int[] part = tokens.Slice(i, Math.Min(chunk, tokens.Length - i)).ToArray();
            int[] all = [.. Enumerable.Range(0, part.Length)];
            logits.AddRange(Pass([new Branches(sequence, part, [.. all.Select(j => j - 1)])], [all]));
        }

        return [.. logits];
    }

    /// <summary>One decode step without copying anything, for allocation tests.</summary>
    public void Step(int sequence, int token)
    {
        _rows.Clear();
        _rows.Add(token, _cache.Length(sequence), sequence, -1, wantsLogits: true);
        _cache.BeginPass(_rows);
        _model.Forward(_rows, _cache.View);
        int accepted = 0;
        _cache.Commit(sequence, new ReadOnlySpan<int>(in accepted));
    }

    public void Dispose()
    {
        _cache.Dispose();
        _backend.Dispose();
    }

    /// <summary>A source whose value projections have a type of their own.</summary>
    private sealed class MixedSource(ModelSource inner, WeightType type, WeightType values) : ModelSource
    {
        public override string Origin => inner.Origin;

        public override ModelConfig Config => inner.Config;

        public override WeightType DefaultWeightType => type;

        public override WeightType WeightTypeOf(WeightSpec spec) => spec.Role == WeightRole.Value ? values : type;

        public override IRowSource Matrix(WeightSpec spec) => inner.Matrix(spec);

        public override float[] Vector(WeightSpec spec) => inner.Vector(spec);

        public override long StoredBytes(WeightSpec spec) => inner.StoredBytes(spec);
    }

    /// <param name="qwen">Qwen3, else Qwen2.</param>
    /// <param name="wide">All widths are multiples of 256.</param>
    private static ModelConfig Config(bool qwen, bool wide)
    {
        var rope = new RopeScaling(10_000);
        int headDim = qwen || wide ? 32 : 20; // half a head fills whole lanes, or does not
        return new ModelConfig
        {
            Family = qwen ? "qwen3" : "qwen2",
            Architecture = qwen ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM",
            Rope = rope,
            SlidingWindows = qwen ? [0, 0] : [0, 24],
            TiedEmbeddings = qwen,
            QkNorm = qwen,
            QkvBias = !qwen,
            OutputBias = !qwen,
            Shape = new TransformerShape
            {
                LayerCount = 2,
                HiddenSize = wide ? 256 : 72,
                IntermediateSize = wide ? 256 : 141,
                HeadCount = wide ? 8 : 6,
                KvHeadCount = 2,
                HeadDim = headDim,
                VocabSize = Vocab,
                RmsNormEpsilon = 1e-6f,
                MaxPositions = Context + MaxRows,
                AttentionScale = 0.18f,
                RopeInverseFrequencies = rope.InverseFrequencies(headDim),
            },
        };
    }
}
