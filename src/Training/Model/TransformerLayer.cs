namespace Foretoken.Training;

/// <summary>What one layer's forward pass keeps for its backward pass, for up to <c>maxRows</c> rows.</summary>
public sealed unsafe class LayerActivations : IDisposable
{
    internal LayerActivations(TransformerShape shape, int maxRows)
    {
        long rows = maxRows;
        Input = new FloatBuffer(rows * shape.HiddenSize);
        Normed = new FloatBuffer(rows * shape.HiddenSize);
        Inverse = new FloatBuffer(rows);
        Qkv = new FloatBuffer(rows * shape.QkvWidth);
        Rotated = new FloatBuffer(rows * (shape.QueryWidth + shape.KeyValueWidth));
        Attended = new FloatBuffer(rows * shape.QueryWidth);
        LogSumExp = new FloatBuffer(rows * shape.QueryHeads);
        Middle = new FloatBuffer(rows * shape.HiddenSize);
        MiddleNormed = new FloatBuffer(rows * shape.HiddenSize);
        MiddleInverse = new FloatBuffer(rows);
        GateUp = new FloatBuffer(rows * 2 * shape.IntermediateSize);
        Activated = new FloatBuffer(rows * shape.IntermediateSize);
    }

    /// <summary>Residual stream entering the layer, [rows, hidden]; a tap.</summary>
    public FloatBuffer Input { get; }

    internal FloatBuffer Normed { get; }        // [rows, hidden]
    internal FloatBuffer Inverse { get; }       // [rows]
    internal FloatBuffer Qkv { get; }           // [rows, q | k | v], before norm and rotation
    internal FloatBuffer Rotated { get; }       // [rows, q | k], after norm and rotation
    internal FloatBuffer Attended { get; }      // [rows, query heads · head_dim]
    internal FloatBuffer LogSumExp { get; }     // [query heads, max rows]
    internal FloatBuffer Middle { get; }        // [rows, hidden], after attention
    internal FloatBuffer MiddleNormed { get; }  // [rows, hidden]
    internal FloatBuffer MiddleInverse { get; } // [rows]
    internal FloatBuffer GateUp { get; }        // [rows, gate | up]; the backward pass replaces it by its gradient
    internal FloatBuffer Activated { get; }     // [rows, intermediate]

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FloatBuffer buffer in new[]
        {
            Input, Normed, Inverse, Qkv, Rotated, Attended, LogSumExp, Middle, MiddleNormed, MiddleInverse, GateUp, Activated,
        })
        {
            buffer.Dispose();
        }
    }
}

/// <summary>Buffers that layers share within one thread's pass.</summary>
internal sealed unsafe class LayerScratch : IDisposable
{
    public LayerScratch(TransformerShape shape, int maxRows, int maxLength)
    {
        MaxRows = maxRows;
        Gemm = new Gemm();
        Attention = new CausalAttention(shape.QueryHeads, shape.KeyValueHeads, shape.HeadDim, maxLength);
        Rotary = new RotaryTable(maxLength, shape.HeadDim, shape.RopeTheta);
        Hidden = new FloatBuffer((long)maxRows * shape.HiddenSize);
        Wide = new FloatBuffer((long)maxRows * Math.Max(shape.IntermediateSize, shape.QueryWidth));
        Qkv = new FloatBuffer((long)maxRows * shape.QkvWidth);
    }

    public int MaxRows { get; }
    public Gemm Gemm { get; }
    public CausalAttention Attention { get; }
    public RotaryTable Rotary { get; }
    public FloatBuffer Hidden { get; } // [rows, hidden]
    public FloatBuffer Wide { get; }   // [rows, intermediate] or [rows, query width]
    public FloatBuffer Qkv { get; }    // [rows, q | k | v]

    public void Dispose()
    {
        Gemm.Dispose();
        Attention.Dispose();
        Rotary.Dispose();
        Hidden.Dispose();
        Wide.Dispose();
        Qkv.Dispose();
    }
}

/// <summary>One decoder layer: x += Wo·attention(norm(x)); x += Wdown·swiglu(norm(x)).</summary>
public sealed unsafe class TransformerLayer
{
    private readonly TransformerShape _shape;
    private readonly int _index;
    private readonly long _inputGain, _qkv, _qkvBias, _queryGain, _keyGain, _output, _middleGain, _gateUp, _down;

    /// <summary>Adds the parameters of layer <paramref name="index"/> to <paramref name="parameters"/> under their Hugging Face names.</summary>
    public TransformerLayer(TransformerShape shape, ParameterSet parameters, int index)
    {
        (_shape, _index) = (shape, index);
        string prefix = $"model.layers.{index}.";
        _inputGain = parameters.AddVectors(ParameterKind.Gain, (prefix + "input_layernorm.weight", shape.HiddenSize));
        _qkv = parameters.Add(ParameterKind.Matrix, shape.HiddenSize, (prefix + "self_attn.q_proj.weight", shape.QueryWidth),
            (prefix + "self_attn.k_proj.weight", shape.KeyValueWidth), (prefix + "self_attn.v_proj.weight", shape.KeyValueWidth));
        if (shape.QkvBias)
        {
            _qkvBias = parameters.AddVectors(ParameterKind.Bias, (prefix + "self_attn.q_proj.bias", shape.QueryWidth),
                (prefix + "self_attn.k_proj.bias", shape.KeyValueWidth), (prefix + "self_attn.v_proj.bias", shape.KeyValueWidth));
        }
        if (shape.QueryKeyNorm)
        {
            _queryGain = parameters.AddVectors(ParameterKind.QueryKeyGain, (prefix + "self_attn.q_norm.weight", shape.HeadDim));
            _keyGain = parameters.AddVectors(ParameterKind.QueryKeyGain, (prefix + "self_attn.k_norm.weight", shape.HeadDim));
        }
        _output = parameters.Add(ParameterKind.ResidualMatrix, shape.QueryWidth, (prefix + "self_attn.o_proj.weight", shape.HiddenSize));
        _middleGain = parameters.AddVectors(ParameterKind.Gain, (prefix + "post_attention_layernorm.weight", shape.HiddenSize));
        _gateUp = parameters.Add(ParameterKind.Matrix, shape.HiddenSize, (prefix + "mlp.gate_proj.weight", shape.IntermediateSize),
            (prefix + "mlp.up_proj.weight", shape.IntermediateSize));
        _down = parameters.Add(ParameterKind.ResidualMatrix, shape.IntermediateSize, (prefix + "mlp.down_proj.weight", shape.HiddenSize));
    }

    /// <summary>output[rows, hidden] from saved.Input[rows, hidden]; <paramref name="eviction"/> null: dense attention.</summary>
    internal void Forward(float* values, LayerActivations saved, float* output, RaggedBatch batch, LayerScratch scratch, EvictionPass? eviction = null)
    {
        TransformerShape s = _shape;
        int rows = batch.Rows, hidden = s.HiddenSize;
        float* x = saved.Input.Pointer;
        RmsNorm.Forward(x, values + _inputGain, saved.Normed.Pointer, saved.Inverse.Pointer, rows, hidden, s.RmsNormEpsilon);
        float* qkv = saved.Qkv.Pointer, rotated = saved.Rotated.Pointer;
        scratch.Gemm.Forward(saved.Normed.Pointer, values + _qkv, qkv, rows, hidden, s.QkvWidth);
        if (s.QkvBias)
            for (int row = 0; row < rows; row++) RowMath.Add(qkv + (long)row * s.QkvWidth, values + _qkvBias, s.QkvWidth);
        int rotatedWidth = s.QueryWidth + s.KeyValueWidth;
        HeadNormRope.Forward(qkv, s.QkvWidth, rotated, rotatedWidth, Gain(values, _queryGain), scratch.Rotary, batch.Positions, s.QueryHeads, s.HeadDim, s.RmsNormEpsilon);
        HeadNormRope.Forward(qkv + s.QueryWidth, s.QkvWidth, rotated + s.QueryWidth, rotatedWidth, Gain(values, _keyGain), scratch.Rotary, batch.Positions,
            s.KeyValueHeads, s.HeadDim, s.RmsNormEpsilon);
        LayerEviction? decisions = eviction is null ? null : Decide(values, saved, batch, scratch, eviction);
        for (int sequence = 0; sequence < batch.Sequences; sequence++)
        {
            (int start, int length) = batch.Sequence(sequence);
            float* q = rotated + (long)start * rotatedWidth;
            if (eviction?.Policy is { } policy)
            {
                policy.Attend(_index, q, q + s.QueryWidth, rotatedWidth, qkv + (long)start * s.QkvWidth + rotatedWidth, s.QkvWidth,
                    saved.Attended.Pointer + (long)start * s.QueryWidth, s.QueryWidth, length);
                continue;
            }
            scratch.Attention.Forward(q, q + s.QueryWidth, rotatedWidth, qkv + (long)start * s.QkvWidth + rotatedWidth, s.QkvWidth,
                saved.Attended.Pointer + (long)start * s.QueryWidth, s.QueryWidth, saved.LogSumExp.Pointer + start, scratch.MaxRows, length,
                eviction: decisions?.Bias(start, backward: false) ?? default);
        }
        scratch.Gemm.Forward(saved.Attended.Pointer, values + _output, saved.Middle.Pointer, rows, s.QueryWidth, hidden);
        RowMath.Add(saved.Middle.Pointer, x, (long)rows * hidden);
        RmsNorm.Forward(saved.Middle.Pointer, values + _middleGain, saved.MiddleNormed.Pointer, saved.MiddleInverse.Pointer, rows, hidden, s.RmsNormEpsilon);
        scratch.Gemm.Forward(saved.MiddleNormed.Pointer, values + _gateUp, saved.GateUp.Pointer, rows, hidden, 2 * s.IntermediateSize);
        SwiGlu.Forward(saved.GateUp.Pointer, saved.Activated.Pointer, rows, s.IntermediateSize);
        scratch.Gemm.Forward(saved.Activated.Pointer, values + _down, output, rows, s.IntermediateSize, hidden);
        RowMath.Add(output, saved.Middle.Pointer, (long)rows * hidden);
    }

    /// <summary>The layer's eviction decisions, from the adapter or from the borrowed neuron of the queries.</summary>
    private LayerEviction Decide(float* values, LayerActivations saved, RaggedBatch batch, LayerScratch scratch, EvictionPass eviction)
    {
        TransformerShape s = _shape;
        LayerEviction decisions = eviction.Layers[_index];
        if (eviction.Settings.Source == DecisionSource.Adapter)
        {
            decisions.Project(values, saved.Input.Pointer, batch.Rows, scratch.Gemm);
        }
        else if (eviction.Settings.Source == DecisionSource.Neuron)
        {
            BorrowedNeuron.Forward(saved.Qkv.Pointer, s.QkvWidth, saved.Rotated.Pointer, s.QueryWidth + s.KeyValueWidth, Gain(values, _queryGain), scratch.Rotary,
                batch.Positions, s, decisions.ChannelFactor, decisions.Projected);
        }
        eviction.Decide(decisions, batch);
        return decisions;
    }

    /// <summary>
    /// dx[rows, hidden]: gradient of the output on entry, of the input on return. Parameter gradients are added to
    /// <paramref name="gradients"/>; null: the layer is frozen, but for the decisions of <paramref name="eviction"/>.
    /// </summary>
    internal void Backward(
        float* values, float* gradients, LayerActivations saved, float* dx, RaggedBatch batch, LayerScratch scratch, EvictionPass? eviction = null)
    {
        TransformerShape s = _shape;
        int rows = batch.Rows, hidden = s.HiddenSize;
        Gemm gemm = scratch.Gemm;
        bool train = gradients != null;
        float* dwide = scratch.Wide.Pointer, dnormed = scratch.Hidden.Pointer, gateUp = saved.GateUp.Pointer;

        gemm.BackwardInput(dx, values + _down, dwide, rows, s.IntermediateSize, hidden, accumulate: false);
        if (train) gemm.BackwardWeight(dx, saved.Activated.Pointer, gradients + _down, rows, s.IntermediateSize, hidden);
        SwiGlu.BackwardInPlace(dwide, gateUp, rows, s.IntermediateSize);
        if (train) gemm.BackwardWeight(gateUp, saved.MiddleNormed.Pointer, gradients + _gateUp, rows, hidden, 2 * s.IntermediateSize);
        gemm.BackwardInput(gateUp, values + _gateUp, dnormed, rows, hidden, 2 * s.IntermediateSize, accumulate: false);
        RmsNorm.Backward(dnormed, saved.Middle.Pointer, values + _middleGain, saved.MiddleInverse.Pointer, dx, train ? gradients + _middleGain : null,
            rows, hidden, accumulate: true);

        gemm.BackwardInput(dx, values + _output, dwide, rows, s.QueryWidth, hidden, accumulate: false);
        if (train) gemm.BackwardWeight(dx, saved.Attended.Pointer, gradients + _output, rows, s.QueryWidth, hidden);
        float* dqkv = scratch.Qkv.Pointer;
        AttentionBackward(values, gradients, saved, dwide, dqkv, batch, scratch, eviction);
        if (train)
        {
            gemm.BackwardWeight(dqkv, saved.Normed.Pointer, gradients + _qkv, rows, hidden, s.QkvWidth);
            if (s.QkvBias)
                for (int row = 0; row < rows; row++) RowMath.Add(gradients + _qkvBias, dqkv + (long)row * s.QkvWidth, s.QkvWidth);
        }
        gemm.BackwardInput(dqkv, values + _qkv, dnormed, rows, hidden, s.QkvWidth, accumulate: false);
        RmsNorm.Backward(dnormed, saved.Input.Pointer, values + _inputGain, saved.Inverse.Pointer, dx, train ? gradients + _inputGain : null,
            rows, hidden, accumulate: true);
        if (eviction?.Settings.Source == DecisionSource.Adapter)
        {
            eviction.Layers[_index].BackwardAdapter(
                values, eviction.Gradients, eviction.ProjectedGradient, saved.Input.Pointer, dx, dnormed, rows, scratch.Gemm);
        }
    }

    /// <summary>dqkv[rows, q | k | v] from dattended[rows, query width], through attention, rotation and q/k norm.</summary>
    private void AttentionBackward(
        float* values, float* gradients, LayerActivations saved, float* dattended, float* dqkv, RaggedBatch batch, LayerScratch scratch, EvictionPass? eviction)
    {
        TransformerShape s = _shape;
        LayerEviction? decisions = eviction?.Layers[_index];
        int rotatedWidth = s.QueryWidth + s.KeyValueWidth;
        float* qkv = saved.Qkv.Pointer, rotated = saved.Rotated.Pointer;
        new Span<float>(dqkv, batch.Rows * s.QkvWidth).Clear();
        for (int sequence = 0; sequence < batch.Sequences; sequence++)
        {
            (int start, int length) = batch.Sequence(sequence);
            float* q = rotated + (long)start * rotatedWidth, dq = dqkv + (long)start * s.QkvWidth;
            scratch.Attention.Backward(q, q + s.QueryWidth, rotatedWidth, qkv + (long)start * s.QkvWidth + rotatedWidth, s.QkvWidth,
                saved.Attended.Pointer + (long)start * s.QueryWidth, dattended + (long)start * s.QueryWidth, s.QueryWidth,
                saved.LogSumExp.Pointer + start, scratch.MaxRows, dq, dq + s.QueryWidth, s.QkvWidth, dq + rotatedWidth, s.QkvWidth, length, eviction: decisions?.Bias(start, backward: true) ?? default);
        }
        if (decisions is not null)
        {
            decisions.BackwardDecisions(batch, eviction!.Slopes, eviction.SlopesPerRead, eviction.ProjectedGradient);
            if (eviction.Settings.Source == DecisionSource.Neuron)
                BorrowedNeuron.Backward(dqkv, s.QkvWidth, scratch.Rotary, batch.Positions, s, decisions.ChannelFactor, eviction.ProjectedGradient);
        }
        HeadNormRope.Backward(dqkv, s.QkvWidth, qkv, s.QkvWidth, dqkv, s.QkvWidth, Gain(values, _queryGain), GainGradient(gradients, _queryGain), scratch.Rotary,
            batch.Positions, s.QueryHeads, s.HeadDim, s.RmsNormEpsilon);
        HeadNormRope.Backward(dqkv + s.QueryWidth, s.QkvWidth, qkv + s.QueryWidth, s.QkvWidth, dqkv + s.QueryWidth, s.QkvWidth, Gain(values, _keyGain),
            GainGradient(gradients, _keyGain), scratch.Rotary, batch.Positions, s.KeyValueHeads, s.HeadDim, s.RmsNormEpsilon);
    }

    private float* Gain(float* values, long offset) => _shape.QueryKeyNorm ? values + offset : null;

    private float* GainGradient(float* gradients, long offset) => _shape.QueryKeyNorm && gradients != null ? gradients + offset : null;
}
