namespace Foretoken.Training;

/// <summary>The eviction decisions of all layers in one pass over a ragged batch, and the budget's part of the gradient. One instance per thread.</summary>
public sealed unsafe class EvictionPass : IDisposable
{
    private readonly LayerEviction[] _layers;
    private readonly FloatBuffer _projectedGradient; // [rows, KV heads]
    private readonly TransformerShape _shape;
    private ulong[] _streams = [];
    private int[] _evictions = [];
    private long[] _saved = [];
    private float[] _slopes = [];
    private ulong _seed;
    private int _sequences;

    /// <summary>Decisions for a <see cref="TransformerPass"/> of <paramref name="maxRows"/> rows; an adapter must be among the model's parameters.</summary>
    public EvictionPass(TransformerModel model, EvictionSettings settings, int maxRows)
    {
        (_shape, Settings) = (model.Shape, settings);
        _layers = new LayerEviction[_shape.Layers];
        for (int i = 0; i < _layers.Length; i++) _layers[i] = new LayerEviction(model, settings, i, maxRows);
        _projectedGradient = new FloatBuffer((long)maxRows * _shape.KeyValueHeads);
    }

    /// <summary>Constants of the decisions.</summary>
    public EvictionSettings Settings { get; }

    /// <summary>Replaces attention with decisions by attention under a policy, for measuring; null: decisions.</summary>
    public KeyPolicy? Policy { get; set; }

    /// <summary>Decisions per layer.</summary>
    public IReadOnlyList<LayerEviction> Layers => _layers;

    /// <summary>Receives the gradients of the adapter, in the model's layout.</summary>
    public float* Gradients { get; set; }

    internal float* ProjectedGradient => _projectedGradient.Pointer;

    /// <summary>Slope of the loss per eviction, [sequences].</summary>
    internal ReadOnlySpan<float> Slopes => _slopes.AsSpan(0, _sequences);

    /// <summary>Slopes are per saved read of a key rather than per eviction.</summary>
    internal bool SlopesPerRead { get; private set; }

    /// <summary>
    /// Prepares a pass over <paramref name="batch"/>: <paramref name="streams"/>[sequence] (at least 2²⁰ apart) and the seed name the noise of each sequence,
    /// <paramref name="channelFactor"/> is what attention sees of borrowed neurons.
    /// </summary>
    public void Begin(RaggedBatch batch, DecisionMode mode, ulong seed, ReadOnlySpan<ulong> streams, float channelFactor = 0f)
    {
        _sequences = batch.Sequences;
        if (_streams.Length < _sequences) (_streams, _evictions, _saved, _slopes) = (new ulong[_sequences], new int[_sequences], new long[_sequences], new float[_sequences]);
        streams[.._sequences].CopyTo(_streams);
        _seed = seed;
        SlopesPerRead = false;
        _evictions.AsSpan().Clear();
        _saved.AsSpan().Clear();
        _slopes.AsSpan().Clear();
        foreach (LayerEviction layer in _layers) (layer.Mode, layer.ChannelFactor) = (mode, channelFactor);
    }

    internal void Decide(LayerEviction layer, RaggedBatch batch) => layer.Decide(batch, _seed, _streams.AsSpan(0, _sequences), _evictions.AsSpan(0, _sequences), _saved.AsSpan(0, _sequences));

    /// <summary>Share of the decisions about sequence <paramref name="sequence"/> that were to evict, over layers, heads and positions.</summary>
    public double EvictedShare(RaggedBatch batch, int sequence) => _evictions[sequence] / (double)Math.Max(1L, Decisions(batch, sequence));

    /// <summary>
    /// The one-sided budget loss max(0, target − share) of every sequence times <paramref name="weight"/>; its slopes are kept for the backward pass. Returns the sum.
    /// </summary>
    public double Budget(RaggedBatch batch, double target, double weight)
    {
        double loss = 0;
        for (int i = 0; i < _sequences; i++)
        {
            double missing = target - EvictedShare(batch, i);
            _slopes[i] = missing > 0 ? (float)(-weight / Math.Max(1L, Decisions(batch, i))) : 0f;
            loss += weight * Math.Max(0, missing);
        }
        return loss;
    }

    /// <summary>The other budget: every read of a key costs <paramref name="price"/>; its slopes are kept for the backward pass.</summary>
    public void Charge(double price)
    {
        SlopesPerRead = true;
        _slopes.AsSpan(0, _sequences).Fill((float)-price);
    }

    /// <summary>Keys that the rows of a sequence see, under the decisions of the pass (as drawn, where they are relaxed) or the policy, summed over rows, layers and KV heads.</summary>
    public long VisibleKeys(RaggedBatch batch, int sequence)
    {
        int length = batch.Sequence(sequence).Length;
        return Policy?.VisibleKeys(length) ?? DenseReads(_shape, length) - _saved[sequence];
    }

    /// <summary>Keys that the rows of a sequence read without eviction.</summary>
    public static long DenseReads(TransformerShape shape, int length) => (long)length * (length + 1) / 2 * shape.Layers * shape.KeyValueHeads;

    private long Decisions(RaggedBatch batch, int sequence) => (long)Settings.Rule.Decisions(batch.Sequence(sequence).Length) * _shape.KeyValueHeads * _layers.Length;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (LayerEviction layer in _layers) layer.Dispose();
        _projectedGradient.Dispose();
    }
}
