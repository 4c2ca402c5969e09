using Foretoken.Numerics;

namespace Foretoken.Training;

/// <summary>
/// The eviction decisions of one layer in one pass: logits, their relaxation, what they add to attention scores, and the way back. Buffers are [KV heads,
/// max rows], so that attention reads a head's biases side by side.
/// </summary>
public sealed unsafe class LayerEviction : IDisposable
{
    private const float Forgotten = -1e9f; // e^x is 0 beside any other key
    private readonly TransformerShape _shape;
    private readonly EvictionSettings _settings;
    private readonly int _layer, _maxRows;
    private readonly long _gain, _weight; // of the adapter
    private readonly FloatBuffer _projected; // [rows, KV heads]
    private readonly FloatBuffer _normed;    // [rows, hidden], adapter
    private readonly FloatBuffer _inverse;   // [rows], adapter
    private readonly FloatBuffer _relaxed;   // [KV heads, rows], z
    private readonly FloatBuffer _bias, _biasGradient; // [KV heads, rows]

    /// <summary>Decisions of layer <paramref name="layer"/> for up to <paramref name="maxRows"/> rows.</summary>
    internal LayerEviction(TransformerModel model, EvictionSettings settings, int layer, int maxRows)
    {
        TransformerShape shape = model.Shape;
        (_shape, _settings, _layer, _maxRows) = (shape, settings, layer, maxRows);
        if (settings.Source == DecisionSource.Adapter)
            (_gain, _weight) = (model.Parameters[DecisionAdapter.GainName(layer)].Offset, model.Parameters[DecisionAdapter.WeightName(layer)].Offset);
        long cells = (long)maxRows * shape.KeyValueHeads;
        _projected = new FloatBuffer(cells);
        _normed = new FloatBuffer(settings.Source == DecisionSource.Adapter ? (long)maxRows * shape.HiddenSize : 0);
        _inverse = new FloatBuffer(maxRows);
        _relaxed = new FloatBuffer(cells);
        _bias = new FloatBuffer(cells);
        _biasGradient = new FloatBuffer(cells);
    }

    /// <summary>What the borrowed channel is multiplied by in attention, 1 to 0; 1 in the other sources.</summary>
    public float ChannelFactor { get; set; } = 1f;

    /// <summary>How logits become evictions in the coming pass.</summary>
    public DecisionMode Mode { get; set; }

    /// <summary>Logit of KV head <paramref name="head"/> at row <paramref name="row"/> of the pass.</summary>
    public float Logit(int head, int row) => _settings.Scale * _projected.Pointer[(long)row * _shape.KeyValueHeads + head] - _settings.Offset;

    /// <summary>Rows of a sequence that no longer see key <paramref name="key"/> once it is evicted.</summary>
    private int Saved(int key, int length) => Math.Max(0, length - 1 - key - _settings.Rule.Lag);

    /// <summary>Whether head <paramref name="head"/> evicted key <paramref name="row"/> (a row of the pass) in a pass with hard decisions.</summary>
    public bool Evicted(int head, int row) => _bias.Pointer[(long)head * _maxRows + row] == Forgotten;

    /// <summary>What attention adds for the sequence whose first row is <paramref name="start"/>.</summary>
    internal EvictionBias Bias(int start, bool backward) => Mode == DecisionMode.Off
        ? default
        : new EvictionBias(_bias.Pointer + start, backward && Mode == DecisionMode.Relaxed ? _biasGradient.Pointer + start : null, _maxRows, _settings.Rule.Lag);

    /// <summary>The adapter's projections of the residual stream x[rows, hidden].</summary>
    internal void Project(float* values, float* x, int rows, Gemm gemm)
    {
        RmsNorm.Forward(x, values + _gain, _normed.Pointer, _inverse.Pointer, rows, _shape.HiddenSize, _shape.RmsNormEpsilon);
        gemm.Forward(_normed.Pointer, values + _weight, _projected.Pointer, rows, _shape.HiddenSize, _shape.KeyValueHeads);
    }

    /// <summary>Projections that were read elsewhere, [rows, KV heads].</summary>
    internal float* Projected => _projected.Pointer;

    /// <summary>
    /// Decides for all sequences of the batch. Adds the number of hard evictions of each sequence, over all heads, to <paramref name="evictions"/>, and the reads
    /// of keys that they save to <paramref name="saved"/>. The noise of a row is a function of (<paramref name="seed"/>, <paramref name="streams"/>[sequence],
    /// position, layer, head), so it depends on no other sequence.
    /// </summary>
    internal void Decide(RaggedBatch batch, ulong seed, ReadOnlySpan<ulong> streams, Span<int> evictions, Span<long> saved)
    {
        if (Mode == DecisionMode.Off) return;
        int shift = _settings.Rule.Shift, heads = _shape.KeyValueHeads;
        for (int sequence = 0; sequence < batch.Sequences; sequence++)
        {
            (int start, int length) = batch.Sequence(sequence);
            for (int head = 0; head < heads; head++)
            {
                float* bias = _bias.Pointer + (long)head * _maxRows + start, z = _relaxed.Pointer + (long)head * _maxRows + start;
                for (int key = 0; key < length; key++)
                {
                    int decider = key + shift;
                    bias[key] = z[key] = 0;
                    if (decider >= length) continue; // its fate is pending: it counts as kept
                    float logit = _settings.Source == DecisionSource.None ? float.PositiveInfinity : Logit(head, start + decider);
                    if (Mode == DecisionMode.Hard)
                    {
                        z[key] = logit;
                        bias[key] = logit > 0 ? Forgotten : 0;
                    }
                    else
                    {
                        uint draw = (uint)(_layer * heads + head);
                        z[key] = (logit + Logistic(seed, streams[sequence] + (ulong)decider, draw)) / _settings.Temperature;
                        bias[key] = LogSigmoid(-z[key]);
                    }
                    if (z[key] <= 0) continue;
                    evictions[sequence]++;
                    saved[sequence] += Saved(key, length);
                }
            }
        }
        _biasGradient.Clear();
    }

    /// <summary>
    /// dprojected[rows, KV heads] from the gradients that attention left on the biases and, straight through the hard decisions, from
    /// <paramref name="slopes"/>[sequence], the loss's slope per eviction, or, <paramref name="perRead"/>, per read of a key that an eviction saves.
    /// </summary>
    internal void BackwardDecisions(RaggedBatch batch, ReadOnlySpan<float> slopes, bool perRead, float* dprojected)
    {
        int shift = _settings.Rule.Shift, heads = _shape.KeyValueHeads;
        new Span<float>(dprojected, batch.Rows * heads).Clear();
        if (Mode != DecisionMode.Relaxed) return;
        float factor = _settings.Scale / _settings.Temperature;
        for (int sequence = 0; sequence < batch.Sequences; sequence++)
        {
            (int start, int length) = batch.Sequence(sequence);
            for (int head = 0; head < heads; head++)
            {
                float* gradient = _biasGradient.Pointer + (long)head * _maxRows + start, z = _relaxed.Pointer + (long)head * _maxRows + start;
                for (int key = 0; key + shift < length; key++)
                {
                    float sigmoid = 1f / (1f + MathF.Exp(-z[key]));
                    float slope = perRead ? slopes[sequence] * Saved(key, length) : slopes[sequence];
                    float dz = sigmoid * (slope * (1f - sigmoid) - gradient[key]);
                    dprojected[(long)(start + key + shift) * heads + head] = dz * factor;
                }
            }
        }
    }

    /// <summary>
    /// From dprojected[rows, KV heads]: the adapter's part of <paramref name="gradients"/> and of the gradient of x, dx[rows, hidden] +=;
    /// <paramref name="scratch"/> is [rows, hidden].
    /// </summary>
    internal void BackwardAdapter(float* values, float* gradients, float* dprojected, float* x, float* dx, float* scratch, int rows, Gemm gemm)
    {
        int hidden = _shape.HiddenSize, heads = _shape.KeyValueHeads;
        gemm.BackwardWeight(dprojected, _normed.Pointer, gradients + _weight, rows, hidden, heads);
        gemm.BackwardInput(dprojected, values + _weight, scratch, rows, hidden, heads, accumulate: false);
        RmsNorm.Backward(scratch, x, values + _gain, _inverse.Pointer, dx, gradients + _gain, rows, hidden, accumulate: true);
    }

    /// <summary>The difference of two independent Gumbel variables, which is logistic.</summary>
    internal static float Logistic(ulong seed, ulong position, uint draw)
    {
        double u = Math.Max(CounterRandom.Uniform(seed, position, draw), 1e-16);
        return (float)Math.Log(u / (1 - u));
    }

    private static float LogSigmoid(float x) => x >= 0 ? -Log1P(MathF.Exp(-x)) : x - Log1P(MathF.Exp(x));

    private static float Log1P(float x) => x < 1e-4f ? x : MathF.Log(1f + x);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FloatBuffer buffer in new[] { _projected, _normed, _inverse, _relaxed, _bias, _biasGradient }) buffer.Dispose();
    }
}
