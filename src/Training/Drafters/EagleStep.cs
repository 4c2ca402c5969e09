namespace Foretoken.Training.Drafters;

/// <summary>What one step of the training-time test keeps for its backward pass. The first step has all rows of the batch as keys, later ones the roots only.</summary>
internal sealed unsafe class EagleStep : IDisposable
{
    private readonly FloatBuffer[] _all;

    public EagleStep(TransformerShape shape, int maxRows)
    {
        long rows = maxRows, hidden = shape.HiddenSize;
        Hidden = new FloatBuffer(rows * hidden);
        HiddenInverse = new FloatBuffer(rows);
        Embedded = new FloatBuffer(rows * hidden);
        EmbeddedInverse = new FloatBuffer(rows);
        Pair = new FloatBuffer(rows * 2 * hidden);
        Qkv = new FloatBuffer(rows * shape.QkvWidth);
        Rotated = new FloatBuffer(rows * (shape.QueryWidth + shape.KeyValueWidth));
        Attended = new FloatBuffer(rows * shape.QueryWidth);
        LogSumExp = new FloatBuffer(rows * shape.QueryHeads);
        Middle = new FloatBuffer(rows * hidden);
        MiddleNormed = new FloatBuffer(rows * hidden);
        MiddleInverse = new FloatBuffer(rows);
        GateUp = new FloatBuffer(rows * 2 * shape.IntermediateSize);
        Activated = new FloatBuffer(rows * shape.IntermediateSize);
        Out = new FloatBuffer(rows * hidden);
        Normed = new FloatBuffer(rows * hidden);
        NormedInverse = new FloatBuffer(rows);
        NormedGradient = new FloatBuffer(rows * hidden);
        QkvGradient = new FloatBuffer(rows * shape.QkvWidth);
        _all =
        [
            Hidden, HiddenInverse, Embedded, EmbeddedInverse, Pair, Qkv, Rotated, Attended, LogSumExp, Middle, MiddleNormed, MiddleInverse, GateUp, Activated, Out, Normed,
            NormedInverse, NormedGradient, QkvGradient,
        ];
    }

    public FloatBuffer Hidden { get; }          // [keys, hidden], the features that come in
    public FloatBuffer HiddenInverse { get; }   // [keys]
    public FloatBuffer Embedded { get; }        // [keys, hidden]
    public FloatBuffer EmbeddedInverse { get; } // [keys]
    public FloatBuffer Pair { get; }            // [keys, norm(embedding) | norm(feature)]
    public FloatBuffer Qkv { get; }             // [keys, q | k | v]
    public FloatBuffer Rotated { get; }         // [keys, q | k]
    public FloatBuffer Attended { get; }        // [roots, query heads · head_dim]
    public FloatBuffer LogSumExp { get; }       // [query heads, max rows]
    public FloatBuffer Middle { get; }          // [roots, hidden]
    public FloatBuffer MiddleNormed { get; }    // [roots, hidden]
    public FloatBuffer MiddleInverse { get; }   // [roots]
    public FloatBuffer GateUp { get; }          // [roots, gate | up]; the backward pass replaces it by its gradient
    public FloatBuffer Activated { get; }       // [roots, intermediate]
    public FloatBuffer Out { get; }             // [roots, hidden], before the final norm: what is fed back
    public FloatBuffer Normed { get; }          // [roots, hidden]
    public FloatBuffer NormedInverse { get; }   // [roots]
    public FloatBuffer NormedGradient { get; }  // [roots, hidden], what the loss asks of Normed
    public FloatBuffer QkvGradient { get; }     // [keys, q | k | v]; later steps add to its keys and values
    public int[] Positions { get; set; } = [];  // [keys]

    public void Dispose()
    {
        foreach (FloatBuffer buffer in _all) buffer.Dispose();
    }
}
