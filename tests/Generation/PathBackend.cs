using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Numerics;

namespace Foretoken.Tests.Generation;

/// <summary>
/// A backend without arithmetic: a row's logits are random numbers named by the hash of every (token, position) that the row sees through the real
/// cache: committed slots, ancestors, itself. One token too many, too few or in the wrong place changes everything that follows.
/// </summary>
internal sealed unsafe class PathBackend(int vocabSize) : IBackend
{
    private const int TokenTag = 0x01000000; // a token as an exact f32 that differs from untouched memory
    private readonly HashSet<int> _forgotten = []; // slots, of the row at hand
    private float[] _logits = [];
    private RowBatch _rows = null!;
    private HostKvView _kv = null!;

    /// <summary>Most rows of a pass so far.</summary>
    public int LargestPass { get; private set; }

    /// <summary>Rows of each pass, in order.</summary>
    public List<int> PassRows { get; } = [];

    /// <summary>When set, positions from here on have NaN logits.</summary>
    public int BrokenFrom { get; set; } = int.MaxValue;

    /// <summary>When set, this token's logit is raised so that it is chosen often.</summary>
    public int FavouredToken { get; set; } = -1;

    public string Name => "path";

    public bool LogitsOnHost { get; init; } = true;

    public static TransformerShape Shape(int vocabSize) => new()
    {
        LayerCount = 1, HiddenSize = 1, IntermediateSize = 1, HeadCount = 1, KvHeadCount = 1, HeadDim = 2, VocabSize = vocabSize, RmsNormEpsilon = 1e-6f,
        MaxPositions = 4096, RopeInverseFrequencies = [1], AttentionScale = 1,
    };

    public Transformer Model(int maxRows, int maxLogitRows)
    {
        Prepare(Shape(vocabSize), maxRows, maxLogitRows, new MemoryPlan());
        var layer = new LayerWeights
        {
            InputNorm = default, Qkv = default, Output = default, PostAttentionNorm = default, GateUp = default, Down = default,
        };
        return new Transformer(this, Shape(vocabSize), new TransformerWeights(default, [layer], default, default));
    }

    public void Prepare(TransformerShape shape, int maxRows, int maxLogitRows, MemoryPlan plan) => _logits = new float[maxLogitRows * vocabSize];

    public TensorHandle LoadMatrix(string name, WeightType type, ReadOnlySpan<IRowSource> parts) => default;

    public TensorHandle LoadVector(string name, ReadOnlySpan<float> values) => default;

    public void BeginPass(RowBatch rows, KvView kv)
    {
        (_rows, _kv) = (rows, (HostKvView)kv);
        LargestPass = Math.Max(LargestPass, rows.Count);
        PassRows.Add(rows.Count);
    }

    public void Embed(TensorHandle table)
    {
    }

    public void NormQkvRope(int layer, LayerWeights weights)
    {
    }

    /// <summary>Stores each row's token and position in its slack slot.</summary>
    public void Attend(int layer, LayerWeights weights)
    {
        foreach (RowSegment segment in _rows.Segments)
        {
            KvHeadSlots* head = _kv.Head(segment.Sequence, 0, 0);
            Assert.InRange(head->Committed, 0, segment.BasePosition); // fewer where tokens were evicted
            for (int i = 0; i < segment.Count; i++)
            {
                *KeyOf(head, head->Committed + i) = TokenTag / 2 + _rows.Tokens[segment.First + i];
                *_kv.PositionOf(head, head->Committed + i) = _rows.Positions[segment.First + i];
            }
        }
    }

    public void OutResidual(int layer, LayerWeights weights)
    {
    }

    public void Mlp(int layer, LayerWeights weights)
    {
    }

    public void Logits(TensorHandle finalNorm, TensorHandle head)
    {
        int index = 0;
        for (int s = 0; s < _rows.Segments.Length; s++)
        {
            RowSegment segment = _rows.Segments[s];
            for (int row = segment.First; row < segment.First + segment.Count; row++)
            {
                if (index < _rows.LogitRows.Length && _rows.LogitRows[index] == row) Fill(index++, segment, row);
            }
        }
    }

    public Span<float> LogitsOf(int index) => _logits.AsSpan(index * vocabSize, vocabSize);

    public void Dispose()
    {
    }

    private void Fill(int index, RowSegment segment, int row)
    {
        KvHeadSlots* head = _kv.Head(segment.Sequence, 0, 0);
        ulong hash = 1;
        int position = _rows.Positions[row];
        FindForgotten(head, segment, row);
        for (int slot = 0; slot < head->Committed; slot++)
        {
            if (*_kv.ExpireOf(head, slot) >= position && !_forgotten.Contains(slot)) hash = Mix(hash, head, slot);
        }

        for (int i = 0; i < segment.Count; i++)
        {
            bool sees = segment.Branches ? (_rows.AncestorMask(row)[i >> 6] >> (i & 63) & 1) != 0 : segment.First + i <= row;
            if (sees && *_kv.ExpireOf(head, head->Committed + i) >= position && !_forgotten.Contains(head->Committed + i)) hash = Mix(hash, head, head->Committed + i);
        }

        Span<float> logits = LogitsOf(index);
        for (int v = 0; v < logits.Length; v++) logits[v] = 4 * (float)CounterRandom.Uniform(hash, (ulong)v);
        if (FavouredToken >= 0) logits[FavouredToken] += 1.5f;
        if (position >= BrokenFrom) logits[logits.Length / 2] = float.NaN;
    }

    /// <summary>Slots that rows on the path to <paramref name="row"/> evict, itself among them, as far as it is more than the window behind them.</summary>
    private void FindForgotten(KvHeadSlots* head, RowSegment segment, int row)
    {
        _forgotten.Clear();
        for (int r = row; r >= 0 && _kv.DecisionWindow > 0; r = _rows.Parents[r])
        {
            int before = _rows.Parents[r] is var parent and >= 0 ? head->Committed + parent - segment.First : head->Committed - 1;
            bool evicts = *_kv.DecisionOf(head, head->Committed + r - segment.First) != 0;
            if (evicts && before >= 0 && _rows.Positions[r] - 1 + _kv.DecisionWindow < _rows.Positions[row]) _forgotten.Add(before);
        }
    }

    private ulong Mix(ulong hash, KvHeadSlots* head, int slot) =>
        CounterRandom.Bits(hash, (ulong)*KeyOf(head, slot), (uint)*_kv.PositionOf(head, slot));

    private float* KeyOf(KvHeadSlots* head, int slot)
    {
        int inPage = slot % _kv.Format.SlotsPerPage;
        return (float*)(_kv.PageOf(head, slot) + inPage / KvPageFormat.TileSlots * _kv.Format.KeyTileBytes) + inPage % KvPageFormat.TileSlots;
    }
}
