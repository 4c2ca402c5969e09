namespace Foretoken.Training;

/// <summary>
/// Forward and backward pass of a model over one ragged batch, on one thread, in buffers allocated once. After <see cref="Forward"/> the residual
/// stream at every layer can be read (<see cref="Hidden"/>); <see cref="Backward"/> starts from any gradient of the final normed rows.
/// </summary>
public sealed unsafe class TransformerPass : IDisposable
{
    private readonly TransformerModel _model;
    private readonly LayerActivations[] _saved;
    private readonly LayerScratch _scratch;
    private readonly CrossEntropyHead _head;
    private readonly FloatBuffer _output;  // [rows, hidden], after the last layer
    private readonly FloatBuffer _normed;  // [rows, hidden], after the final norm
    private readonly FloatBuffer _inverse; // [rows]
    private readonly FloatBuffer _gradient, _normedGradient; // [rows, hidden]

    /// <summary>Buffers for up to <paramref name="maxRows"/> rows in sequences of at most the model's longest.</summary>
    public TransformerPass(TransformerModel model, int maxRows)
    {
        TransformerShape shape = model.Shape;
        (_model, MaxRows) = (model, maxRows);
        _scratch = new LayerScratch(shape, maxRows, shape.MaxPositions);
        _head = new CrossEntropyHead(shape.HiddenSize, shape.VocabularySize);
        _saved = new LayerActivations[shape.Layers];
        for (int i = 0; i < shape.Layers; i++) _saved[i] = new LayerActivations(shape, maxRows);
        long hidden = (long)maxRows * shape.HiddenSize;
        _output = new FloatBuffer(hidden);
        _normed = new FloatBuffer(hidden);
        _inverse = new FloatBuffer(maxRows);
        _gradient = new FloatBuffer(hidden);
        _normedGradient = new FloatBuffer(hidden);
        Losses = new float[maxRows];
        Correct = new bool[maxRows];
    }

    /// <summary>Most rows of a batch.</summary>
    public int MaxRows { get; }

    /// <summary>−log p(target) of each row after <see cref="LossAndBackward"/> or <see cref="Loss"/>.</summary>
    public float[] Losses { get; }

    /// <summary>Whether the target had the greatest logit, per row.</summary>
    public bool[] Correct { get; }

    /// <summary>Residual stream entering layer <paramref name="layer"/> (layers: after the last one), [rows, hidden].</summary>
    public float* Hidden(int layer) => layer == _saved.Length ? _output.Pointer : _saved[layer].Input.Pointer;

    /// <summary>Rows after the final norm, [rows, hidden].</summary>
    public float* Normed => _normed.Pointer;

    /// <summary>Runs all layers and the final norm, with dense attention or with <paramref name="eviction"/>.</summary>
    public void Forward(RaggedBatch batch, EvictionPass? eviction = null)
    {
        TransformerShape shape = _model.Shape;
        Check(batch);
        float* values = _model.Values.Pointer;
        int hidden = shape.HiddenSize;
        float* input = Hidden(0);
        ReadOnlySpan<int> tokens = batch.Tokens;
        for (int row = 0; row < tokens.Length; row++)
            new Span<float>(values + _model.EmbeddingOffset + (long)tokens[row] * hidden, hidden).CopyTo(new Span<float>(input + (long)row * hidden, hidden));
        for (int layer = 0; layer < _saved.Length; layer++)
            _model.Layers[layer].Forward(values, _saved[layer], Hidden(layer + 1), batch, _scratch, eviction);
        RmsNorm.Forward(_output.Pointer, values + _model.FinalGainOffset, _normed.Pointer, _inverse.Pointer, batch.Rows, hidden, shape.RmsNormEpsilon);
    }

    /// <summary>Forward pass and losses without any gradient; returns Σ weight·loss.</summary>
    public double Loss(RaggedBatch batch)
    {
        Forward(batch);
        _head.Run(_scratch.Gemm, _normed.Pointer, _model.Values.Pointer + _model.HeadOffset, batch.Targets, batch.Weights, Losses, Correct, null, null);
        return WeightedLoss(batch);
    }

    /// <summary>Forward and backward of the weighted cross-entropy; adds to <paramref name="gradients"/> and returns Σ weight·loss.</summary>
    public double LossAndBackward(RaggedBatch batch, float* gradients)
    {
        Forward(batch);
        _head.Run(_scratch.Gemm, _normed.Pointer, _model.Values.Pointer + _model.HeadOffset, batch.Targets, batch.Weights, Losses, Correct,
            _normedGradient.Pointer, gradients + _model.HeadOffset);
        Backward(batch, _normedGradient.Pointer, gradients);
        return WeightedLoss(batch);
    }

    /// <summary>
    /// From the gradient of the final normed rows [rows, hidden] back to the embedding; adds to <paramref name="gradients"/> (null: everything is frozen but the
    /// decisions of <paramref name="eviction"/>, whose gradients go where it says).
    /// </summary>
    public void Backward(RaggedBatch batch, float* normedGradient, float* gradients, EvictionPass? eviction = null)
    {
        float* values = _model.Values.Pointer;
        int hidden = _model.Shape.HiddenSize;
        RmsNorm.Backward(normedGradient, _output.Pointer, values + _model.FinalGainOffset, _inverse.Pointer, _gradient.Pointer,
            gradients == null ? null : gradients + _model.FinalGainOffset, batch.Rows, hidden, accumulate: false);
        for (int layer = _saved.Length - 1; layer >= 0; layer--)
            _model.Layers[layer].Backward(values, gradients, _saved[layer], _gradient.Pointer, batch, _scratch, eviction);
        if (gradients == null) return;
        ReadOnlySpan<int> tokens = batch.Tokens;
        for (int row = 0; row < tokens.Length; row++)
            RowMath.Add(gradients + _model.EmbeddingOffset + (long)tokens[row] * hidden, _gradient.Pointer + (long)row * hidden, hidden);
    }

    private double WeightedLoss(RaggedBatch batch)
    {
        double total = 0;
        ReadOnlySpan<float> weights = batch.Weights;
        for (int row = 0; row < weights.Length; row++) total += (double)weights[row] * Losses[row];
        return total;
    }

    private void Check(RaggedBatch batch)
    {
        if (batch.Rows > MaxRows) throw new ArgumentException($"The batch has {batch.Rows} rows; the pass was made for {MaxRows}.");
        foreach (int token in batch.Tokens)
        {
            if ((uint)token >= (uint)_model.Shape.VocabularySize)
                throw new ArgumentException($"Token {token} lies outside the vocabulary of {_model.Shape.VocabularySize}.");
        }
        for (int i = 0; i < batch.Sequences; i++)
        {
            if (batch.Sequence(i).Length > _model.Shape.MaxPositions)
                throw new ArgumentException($"Sequence {i} has {batch.Sequence(i).Length} tokens; the model's longest is {_model.Shape.MaxPositions}.");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (LayerActivations saved in _saved) saved.Dispose();
        foreach (FloatBuffer buffer in new[] { _output, _normed, _inverse, _gradient, _normedGradient }) buffer.Dispose();
        _scratch.Dispose();
        _head.Dispose();
    }
}
