namespace Foretoken.Training.Drafters;

/// <summary>
/// Forward and backward pass of EAGLE-3 with training-time test. Step 0 sees the target's own features; step s runs each root's chain one token further, on the feature
/// that step s − 1 made of it and the known token. Every step's loss is the cross-entropy to the target's distribution there, weighted decayˢ; gradients flow back through
/// the whole chain.
/// </summary>
internal sealed unsafe class EaglePass : DrafterPass
{
    private readonly EagleModel _model;
    private readonly TransformerShape _shape;
    private readonly EagleStep[] _steps;
    private readonly Gemm _gemm = new();
    private readonly SoftCrossEntropyHead _head;
    private readonly TestTimeAttention _attention;
    private readonly RotaryTable _rotary;
    private readonly FloatBuffer _taps;      // [rows, 3 · hidden]
    private readonly FloatBuffer _teacher;   // [roots + steps, draft vocabulary]
    private readonly FloatBuffer _out;       // [roots, hidden], gradient of Out of the step at hand
    private readonly FloatBuffer _feature;   // [rows, hidden], gradient of the first step's features
    private readonly FloatBuffer _pair;      // [rows, 2 · hidden]
    private readonly FloatBuffer _wide;      // [rows, max(intermediate, query width, hidden)]
    private readonly float[] _weights, _losses;
    private readonly int[] _best;
    private readonly int[] _toDraft;         // [vocabulary] draft token of a target token, −1: none

    public EaglePass(EagleModel model, int maxRows)
        : base(model.Target, maxRows, model.Settings.Steps)
    {
        (_model, _shape) = (model, model.Shape);
        int hidden = _shape.HiddenSize, vocabulary = model.Vocabulary.Length;
        _steps = [.. Enumerable.Range(0, Depth).Select(_ => new EagleStep(_shape, maxRows) { Positions = new int[maxRows] })];
        _head = new SoftCrossEntropyHead(hidden, vocabulary);
        _attention = new TestTimeAttention(_shape, maxRows);
        _rotary = new RotaryTable(_shape.MaxPositions + Depth, _shape.HeadDim, _shape.RopeTheta);
        _taps = new FloatBuffer(3L * maxRows * hidden);
        _teacher = new FloatBuffer((long)(maxRows + Depth) * vocabulary);
        _out = new FloatBuffer((long)maxRows * hidden);
        _feature = new FloatBuffer((long)maxRows * hidden);
        _pair = new FloatBuffer(2L * maxRows * hidden);
        _wide = new FloatBuffer((long)maxRows * Math.Max(hidden, Math.Max(_shape.IntermediateSize, _shape.QueryWidth)));
        (_weights, _losses, _best) = (new float[maxRows], new float[maxRows], new int[maxRows]);
        _toDraft = new int[_shape.VocabularySize];
        Array.Fill(_toDraft, -1);
        for (int i = 0; i < vocabulary; i++) _toDraft[model.Vocabulary[i]] = i;
    }

    protected override double RunDrafter(float scale, float* gradients)
    {
        Teach(_gemm, _model.TeacherHead, _model.Vocabulary.Length, _wide.Pointer, _teacher.Pointer);
        double loss = 0;
        for (int step = 0; step < Depth; step++)
        {
            if (step == 0) FirstInput();
            else NextInput(step);
            Layer(step);
            loss += Score(step, scale * MathF.Pow((float)_model.Settings.Decay, step), gradients);
        }

        if (gradients == null) return loss;
        foreach (EagleStep step in _steps) step.QkvGradient.Clear();
        _out.Clear();
        for (int step = Depth - 1; step >= 0; step--) LayerBackward(step, gradients);
        return loss;
    }

    /// <summary>Rows that step <paramref name="step"/> makes keys of.</summary>
    private int KeysOf(int step) => step == 0 ? Rows.Batch.Rows : Rows.Count;

    private float* Values(long offset) => _model.Values.Pointer + offset;

    /// <summary>Step 0: the fused taps of every row, and the token behind it.</summary>
    private void FirstInput()
    {
        int rows = Rows.Batch.Rows, hidden = _shape.HiddenSize;
        for (int tap = 0; tap < 3; tap++)
        {
            float* source = Target.Hidden(_model.Settings.Layers[tap]);
            for (int row = 0; row < rows; row++)
                new Span<float>(source + (long)row * hidden, hidden).CopyTo(new Span<float>(_taps.Pointer + (3L * row + tap) * hidden, hidden));
        }

        EagleStep step = _steps[0];
        _gemm.Forward(_taps.Pointer, Values(_model.Feature), step.Hidden.Pointer, rows, 3 * hidden, hidden);
        ReadOnlySpan<int> tokens = Rows.Batch.Tokens, positions = Rows.Batch.Positions;
        positions.CopyTo(step.Positions);
        for (int row = 0; row < rows; row++)
        {
            bool last = row + 1 == rows || positions[row + 1] == 0; // of its sequence: no root sees it
            Embed(step, row, last ? 0 : tokens[row + 1]);
        }
    }

    /// <summary>Step s: what step s − 1 made, and the token s further on.</summary>
    private void NextInput(int index)
    {
        EagleStep step = _steps[index];
        int hidden = _shape.HiddenSize;
        new Span<float>(_steps[index - 1].Out.Pointer, Rows.Count * hidden).CopyTo(new Span<float>(step.Hidden.Pointer, Rows.Count * hidden));
        foreach (RootSpan span in Rows.Spans)
        {
            for (int i = 0; i < span.Count; i++)
            {
                int root = span.FirstRoot + i, token = Rows.Wanted(span, i, index - 1);
                step.Positions[root] = span.FirstPosition + i + index;
                Embed(step, root, Math.Max(token, 0)); // behind the end nothing is counted
            }
        }
    }

    private void Embed(EagleStep step, int row, int token)
    {
        int hidden = _shape.HiddenSize;
        new Span<float>(_model.Target.Values.Pointer + _model.Target.EmbeddingOffset + (long)token * hidden, hidden).CopyTo(new Span<float>(step.Embedded.Pointer + (long)row * hidden, hidden));
    }

    private void Layer(int index)
    {
        EagleStep step = _steps[index];
        int keys = KeysOf(index), roots = Rows.Count, hidden = _shape.HiddenSize, rotated = _shape.QueryWidth + _shape.KeyValueWidth;
        for (int row = 0; row < keys; row++)
        {
            float* pair = step.Pair.Pointer + 2L * row * hidden;
            RmsNorm.Forward(step.Embedded.Pointer + (long)row * hidden, Values(_model.InputGain), pair, step.EmbeddedInverse.Pointer + row, 1, hidden, _shape.RmsNormEpsilon);
            RmsNorm.Forward(step.Hidden.Pointer + (long)row * hidden, Values(_model.HiddenGain), pair + hidden, step.HiddenInverse.Pointer + row, 1, hidden, _shape.RmsNormEpsilon);
        }

        _gemm.Forward(step.Pair.Pointer, Values(_model.Qkv), step.Qkv.Pointer, keys, 2 * hidden, _shape.QkvWidth);
        ReadOnlySpan<int> positions = step.Positions.AsSpan(0, keys);
        HeadNormRope.Forward(step.Qkv.Pointer, _shape.QkvWidth, step.Rotated.Pointer, rotated, null, _rotary, positions, _shape.QueryHeads, _shape.HeadDim, _shape.RmsNormEpsilon);
        HeadNormRope.Forward(step.Qkv.Pointer + _shape.QueryWidth, _shape.QkvWidth, step.Rotated.Pointer + _shape.QueryWidth, rotated, null, _rotary, positions,
            _shape.KeyValueHeads, _shape.HeadDim, _shape.RmsNormEpsilon);
        _attention.Forward(_steps, index, Rows);
        _gemm.Forward(step.Attended.Pointer, Values(_model.Output), step.Middle.Pointer, roots, _shape.QueryWidth, hidden);
        AddResidual(index, step);
        RmsNorm.Forward(step.Middle.Pointer, Values(_model.MiddleGain), step.MiddleNormed.Pointer, step.MiddleInverse.Pointer, roots, hidden, _shape.RmsNormEpsilon);
        _gemm.Forward(step.MiddleNormed.Pointer, Values(_model.GateUp), step.GateUp.Pointer, roots, hidden, 2 * _shape.IntermediateSize);
        SwiGlu.Forward(step.GateUp.Pointer, step.Activated.Pointer, roots, _shape.IntermediateSize);
        _gemm.Forward(step.Activated.Pointer, Values(_model.Down), step.Out.Pointer, roots, _shape.IntermediateSize, hidden);
        RowMath.Add(step.Out.Pointer, step.Middle.Pointer, (long)roots * hidden);
        RmsNorm.Forward(step.Out.Pointer, Values(_model.FinalGain), step.Normed.Pointer, step.NormedInverse.Pointer, roots, hidden, _shape.RmsNormEpsilon);
    }

    /// <summary>The residual is the feature that came in, without its norm.</summary>
    private void AddResidual(int index, EagleStep step)
    {
        int hidden = _shape.HiddenSize;
        if (index > 0)
        {
            RowMath.Add(step.Middle.Pointer, step.Hidden.Pointer, (long)Rows.Count * hidden);
            return;
        }

        foreach (RootSpan span in Rows.Spans)
            RowMath.Add(step.Middle.Pointer + (long)span.FirstRoot * hidden, step.Hidden.Pointer + (long)(span.Start + span.FirstPosition) * hidden, (long)span.Count * hidden);
    }

    private double Score(int index, float weight, float* gradients)
    {
        EagleStep step = _steps[index];
        int roots = Rows.Count;
        foreach (RootSpan span in Rows.Spans)
        {
            for (int i = 0; i < span.Count; i++)
            {
                int wanted = Rows.Wanted(span, i, index);
                _weights[span.FirstRoot + i] = wanted >= 0 && _toDraft[wanted] >= 0 ? weight : 0f;
            }
        }

        _head.Run(_gemm, step.Normed.Pointer, Values(_model.Head), _teacher.Pointer + (long)index * _model.Vocabulary.Length, _weights.AsSpan(0, roots), _losses, _best,
            gradients == null ? null : step.NormedGradient.Pointer, gradients == null ? null : gradients + _model.Head);
        double loss = 0;
        foreach (RootSpan span in Rows.Spans)
        {
            for (int i = 0; i < span.Count; i++)
            {
                int root = span.FirstRoot + i;
                if (_weights[root] > 0) loss += (double)_weights[root] * _losses[root];
                Hits[root * Depth + index] = _model.Vocabulary[_best[root]] == Rows.Wanted(span, i, index);
            }
        }

        return loss;
    }

    /// <summary>On entry <see cref="_out"/> holds what the next step asks of this step's Out; on return what this step asks of the Out before it.</summary>
    private void LayerBackward(int index, float* gradients)
    {
        EagleStep step = _steps[index];
        int keys = KeysOf(index), roots = Rows.Count, hidden = _shape.HiddenSize;
        float* dout = _out.Pointer, wide = _wide.Pointer;
        RmsNorm.Backward(step.NormedGradient.Pointer, step.Out.Pointer, Values(_model.FinalGain), step.NormedInverse.Pointer, dout, gradients + _model.FinalGain, roots, hidden, accumulate: true);
        _gemm.BackwardInput(dout, Values(_model.Down), wide, roots, _shape.IntermediateSize, hidden, accumulate: false);
        _gemm.BackwardWeight(dout, step.Activated.Pointer, gradients + _model.Down, roots, _shape.IntermediateSize, hidden);
        SwiGlu.BackwardInPlace(wide, step.GateUp.Pointer, roots, _shape.IntermediateSize);
        _gemm.BackwardWeight(step.GateUp.Pointer, step.MiddleNormed.Pointer, gradients + _model.GateUp, roots, hidden, 2 * _shape.IntermediateSize);
        _gemm.BackwardInput(step.GateUp.Pointer, Values(_model.GateUp), wide, roots, hidden, 2 * _shape.IntermediateSize, accumulate: false);
        RmsNorm.Backward(wide, step.Middle.Pointer, Values(_model.MiddleGain), step.MiddleInverse.Pointer, dout, gradients + _model.MiddleGain, roots, hidden, accumulate: true);

        _gemm.BackwardWeight(dout, step.Attended.Pointer, gradients + _model.Output, roots, _shape.QueryWidth, hidden);
        _gemm.BackwardInput(dout, Values(_model.Output), wide, roots, _shape.QueryWidth, hidden, accumulate: false);
        _attention.Backward(_steps, index, Rows, wide);
        float* dqkv = step.QkvGradient.Pointer;
        ReadOnlySpan<int> positions = step.Positions.AsSpan(0, keys);
        HeadNormRope.Backward(dqkv, _shape.QkvWidth, step.Qkv.Pointer, _shape.QkvWidth, dqkv, _shape.QkvWidth, null, null, _rotary, positions, _shape.QueryHeads, _shape.HeadDim,
            _shape.RmsNormEpsilon);
        HeadNormRope.Backward(dqkv + _shape.QueryWidth, _shape.QkvWidth, step.Qkv.Pointer, _shape.QkvWidth, dqkv + _shape.QueryWidth, _shape.QkvWidth, null, null, _rotary,
            positions, _shape.KeyValueHeads, _shape.HeadDim, _shape.RmsNormEpsilon);
        _gemm.BackwardWeight(dqkv, step.Pair.Pointer, gradients + _model.Qkv, keys, 2 * hidden, _shape.QkvWidth);
        _gemm.BackwardInput(dqkv, Values(_model.Qkv), _pair.Pointer, keys, 2 * hidden, _shape.QkvWidth, accumulate: false);
        InputBackward(index, gradients);
    }

    /// <summary>Through the two norms; the features' gradient joins that of the residual.</summary>
    private void InputBackward(int index, float* gradients)
    {
        EagleStep step = _steps[index];
        int keys = KeysOf(index), hidden = _shape.HiddenSize;
        float* dhidden = index == 0 ? _feature.Pointer : _out.Pointer, unused = _wide.Pointer;
        if (index == 0)
        {
            new Span<float>(dhidden, keys * hidden).Clear();
            foreach (RootSpan span in Rows.Spans)
            {
                new Span<float>(_out.Pointer + (long)span.FirstRoot * hidden, span.Count * hidden)
                    .CopyTo(new Span<float>(dhidden + (long)(span.Start + span.FirstPosition) * hidden, span.Count * hidden));
            }
        }

        for (int row = 0; row < keys; row++)
        {
            float* pair = _pair.Pointer + 2L * row * hidden;
            RmsNorm.Backward(pair, step.Embedded.Pointer + (long)row * hidden, Values(_model.InputGain), step.EmbeddedInverse.Pointer + row, unused, gradients + _model.InputGain, 1, hidden,
                accumulate: false);
            RmsNorm.Backward(pair + hidden, step.Hidden.Pointer + (long)row * hidden, Values(_model.HiddenGain), step.HiddenInverse.Pointer + row, dhidden + (long)row * hidden,
                gradients + _model.HiddenGain, 1, hidden, accumulate: true);
        }

        if (index == 0) _gemm.BackwardWeight(dhidden, _taps.Pointer, gradients + _model.Feature, keys, 3 * hidden, hidden);
    }

    public override void Dispose()
    {
        base.Dispose();
        foreach (EagleStep step in _steps) step.Dispose();
        foreach (FloatBuffer buffer in (FloatBuffer[])[_taps, _teacher, _out, _feature, _pair, _wide]) buffer.Dispose();
        _gemm.Dispose();
        _head.Dispose();
        _attention.Dispose();
        _rotary.Dispose();
    }
}
