namespace Foretoken.Training.Drafters;

/// <summary>
/// Attention of the training-time test. The query of root r at step s sees the keys of the first step up to position r, and of each step 1..s the one key that the same
/// root made there: what its own chain of drafts would have left in the cache. The first part is ordinary causal attention; the few keys of the chain are merged in.
/// </summary>
internal sealed unsafe class TestTimeAttention : IDisposable
{
    private readonly TransformerShape _shape;
    private readonly CausalAttention _causal;
    private readonly int _maxRows;
    private readonly float _scale;

    public TestTimeAttention(TransformerShape shape, int maxRows)
    {
        (_shape, _maxRows) = (shape, maxRows);
        _causal = new CausalAttention(shape.QueryHeads, shape.KeyValueHeads, shape.HeadDim, shape.MaxPositions);
        _scale = 1f / MathF.Sqrt(shape.HeadDim);
    }

    private int RotatedWidth => _shape.QueryWidth + _shape.KeyValueWidth;

    /// <summary>steps[step].Attended and LogSumExp, from the queries and keys of the steps up to it.</summary>
    public void Forward(ReadOnlySpan<EagleStep> steps, int step, RootRows rows)
    {
        EagleStep first = steps[0], own = steps[step];
        foreach (RootSpan span in rows.Spans)
        {
            if (span.Count == 0) continue;
            _causal.Forward(Queries(steps, step, span), first.Rotated.Pointer + (long)span.Start * RotatedWidth + _shape.QueryWidth, RotatedWidth,
                first.Qkv.Pointer + (long)span.Start * _shape.QkvWidth + RotatedWidth, _shape.QkvWidth, own.Attended.Pointer + (long)span.FirstRoot * _shape.QueryWidth,
                _shape.QueryWidth, own.LogSumExp.Pointer + span.FirstRoot, _maxRows, span.FirstPosition + span.Count, span.FirstPosition);
        }

        if (step == 0) return;
        for (int root = 0; root < rows.Count; root++)
            for (int head = 0; head < _shape.QueryHeads; head++) Merge(steps, step, root, head);
    }

    /// <summary>
    /// Adds to the steps' QkvGradient: the queries of <paramref name="step"/>, and the keys and values that they saw. dattended is [roots, query width].
    /// </summary>
    public void Backward(ReadOnlySpan<EagleStep> steps, int step, RootRows rows, float* dattended)
    {
        EagleStep first = steps[0], own = steps[step];
        foreach (RootSpan span in rows.Spans)
        {
            if (span.Count == 0) continue;
            long queryRow = step == 0 ? span.Start + span.FirstPosition : span.FirstRoot, attended = (long)span.FirstRoot * _shape.QueryWidth;
            float* keyGradient = first.QkvGradient.Pointer + (long)span.Start * _shape.QkvWidth + _shape.QueryWidth;
            _causal.Backward(Queries(steps, step, span), first.Rotated.Pointer + (long)span.Start * RotatedWidth + _shape.QueryWidth, RotatedWidth,
                first.Qkv.Pointer + (long)span.Start * _shape.QkvWidth + RotatedWidth, _shape.QkvWidth, own.Attended.Pointer + attended, dattended + attended,
                _shape.QueryWidth, own.LogSumExp.Pointer + span.FirstRoot, _maxRows, own.QkvGradient.Pointer + queryRow * _shape.QkvWidth, keyGradient, _shape.QkvWidth,
                keyGradient + _shape.KeyValueWidth, _shape.QkvWidth, span.FirstPosition + span.Count, span.FirstPosition);
        }

        if (step == 0) return;
        for (int root = 0; root < rows.Count; root++)
            for (int head = 0; head < _shape.QueryHeads; head++) MergeBackward(steps, step, root, head, dattended);
    }

    /// <summary>The query of the span's first root; those of the others follow with the same stride.</summary>
    private float* Queries(ReadOnlySpan<EagleStep> steps, int step, in RootSpan span) =>
        steps[step].Rotated.Pointer + (step == 0 ? span.Start + span.FirstPosition : (long)span.FirstRoot) * RotatedWidth;

    private void Merge(ReadOnlySpan<EagleStep> steps, int step, int root, int head)
    {
        EagleStep own = steps[step];
        int dim = _shape.HeadDim, kvHead = head / (_shape.QueryHeads / _shape.KeyValueHeads);
        float* query = own.Rotated.Pointer + (long)root * RotatedWidth + head * dim;
        float* output = own.Attended.Pointer + (long)root * _shape.QueryWidth + head * dim;
        float* log = own.LogSumExp.Pointer + (long)head * _maxRows + root;
        Span<float> scores = stackalloc float[step + 1]; // [0]: all keys of the first step together
        float maximum = scores[0] = *log;
        for (int j = 1; j <= step; j++)
        {
            scores[j] = _scale * RowMath.Dot(query, Key(steps[j], root, kvHead), dim);
            maximum = MathF.Max(maximum, scores[j]);
        }

        float sum = 0;
        for (int j = 0; j <= step; j++) sum += MathF.Exp(scores[j] - maximum);
        *log = maximum + MathF.Log(sum);
        RowMath.Scale(output, MathF.Exp(scores[0] - *log), dim);
        for (int j = 1; j <= step; j++) RowMath.AddScaled(output, Value(steps[j], root, kvHead), MathF.Exp(scores[j] - *log), dim);
    }

    private void MergeBackward(ReadOnlySpan<EagleStep> steps, int step, int root, int head, float* dattended)
    {
        EagleStep own = steps[step];
        int dim = _shape.HeadDim, kvHead = head / (_shape.QueryHeads / _shape.KeyValueHeads);
        float* query = own.Rotated.Pointer + (long)root * RotatedWidth + head * dim;
        float* queryGradient = own.QkvGradient.Pointer + (long)root * _shape.QkvWidth + head * dim;
        float* output = own.Attended.Pointer + (long)root * _shape.QueryWidth + head * dim;
        float* gradient = dattended + (long)root * _shape.QueryWidth + head * dim;
        float log = own.LogSumExp.Pointer[(long)head * _maxRows + root], dot = RowMath.Dot(output, gradient, dim);
        for (int j = 1; j <= step; j++)
        {
            float* key = Key(steps[j], root, kvHead);
            float* keyGradient = steps[j].QkvGradient.Pointer + (long)root * _shape.QkvWidth + _shape.QueryWidth + kvHead * dim;
            float probability = MathF.Exp(_scale * RowMath.Dot(query, key, dim) - log);
            float slope = _scale * probability * (RowMath.Dot(gradient, Value(steps[j], root, kvHead), dim) - dot);
            RowMath.AddScaled(queryGradient, key, slope, dim);
            RowMath.AddScaled(keyGradient, query, slope, dim);
            RowMath.AddScaled(keyGradient + _shape.KeyValueWidth, gradient, probability, dim);
        }
    }

    private float* Key(EagleStep step, int root, int kvHead) => step.Rotated.Pointer + (long)root * RotatedWidth + _shape.QueryWidth + kvHead * _shape.HeadDim;

    private float* Value(EagleStep step, int root, int kvHead) => step.Qkv.Pointer + (long)root * _shape.QkvWidth + RotatedWidth + kvHead * _shape.HeadDim;

    public void Dispose() => _causal.Dispose();
}
