namespace Foretoken.Models;

/// <summary>What a tensor is for, whatever a file format calls it.</summary>
public enum WeightRole
{
    /// <summary>Hidden state of every token. // [vocab, hidden]</summary>
    Embedding,
    /// <summary>RMSNorm gain in front of attention. // [hidden]</summary>
    InputNorm,
    /// <summary>Projection to the queries. // [heads · headDim, hidden]</summary>
    Query,
    /// <summary>Projection to the keys. // [kvHeads · headDim, hidden]</summary>
    Key,
    /// <summary>Projection to the values. // [kvHeads · headDim, hidden]</summary>
    Value,
    /// <summary>Added to the queries before norm and RoPE. // [heads · headDim]</summary>
    QueryBias,
    /// <summary>Added to the keys before norm and RoPE. // [kvHeads · headDim]</summary>
    KeyBias,
    /// <summary>Added to the values. // [kvHeads · headDim]</summary>
    ValueBias,
    /// <summary>RMSNorm gain of every query head, before RoPE. // [headDim]</summary>
    QueryNorm,
    /// <summary>RMSNorm gain of every key head, before RoPE. // [headDim]</summary>
    KeyNorm,
    /// <summary>Projection of the heads' outputs to the residual stream. // [hidden, heads · headDim]</summary>
    Output,
    /// <summary>Added to that projection. // [hidden]</summary>
    OutputBias,
    /// <summary>RMSNorm gain in front of the MLP. // [hidden]</summary>
    PostAttentionNorm,
    /// <summary>MLP: goes through SiLU and multiplies <see cref="Up"/>. // [intermediate, hidden]</summary>
    Gate,
    /// <summary>MLP: what is gated. // [intermediate, hidden]</summary>
    Up,
    /// <summary>MLP: back to the residual stream. // [hidden, intermediate]</summary>
    Down,

    /// <summary>RMSNorm gain in front of <see cref="Decision"/> (<see cref="DmsConfig.Adapter"/>).</summary>
    DecisionNorm,

    /// <summary>Projection to the eviction logits of the KV heads.</summary>
    Decision,
    /// <summary>Added to the eviction logits. // [kvHeads]</summary>
    DecisionBias,
    /// <summary>RMSNorm gain behind the last layer. // [hidden]</summary>
    FinalNorm,
    /// <summary>Projection to the logits; absent where the embedding serves. // [vocab, hidden]</summary>
    Head,
}

/// <summary>A tensor that a model must have.</summary>
/// <param name="Role">What it is for.</param>
/// <param name="Layer">Its layer, or −1 for tensors of the whole model.</param>
/// <param name="OutFeatures">Rows of a matrix, elements of a vector.</param>
/// <param name="InFeatures">Columns of a matrix; 0 for a vector.</param>
public readonly record struct WeightSpec(WeightRole Role, int Layer, int OutFeatures, int InFeatures)
{
    /// <summary>A matrix; else a vector.</summary>
    public bool IsMatrix => InFeatures > 0;

    /// <summary>Part of the eviction decisions: held as f32 whatever the other weights are, because decisions are thresholds.</summary>
    public bool IsDecision => Role is WeightRole.DecisionNorm or WeightRole.Decision or WeightRole.DecisionBias;

    /// <summary>The shape, slowest dimension first.</summary>
    public long[] Shape => IsMatrix ? [OutFeatures, InFeatures] : [OutFeatures];

    /// <summary>Elements of the tensor.</summary>
    public long Elements => IsMatrix ? (long)OutFeatures * InFeatures : OutFeatures;

    /// <summary>All tensors of a model in the order in which they are used.</summary>
    public static IEnumerable<WeightSpec> Of(ModelConfig config)
    {
        Backends.TransformerShape s = config.Shape;
        int queries = s.HeadCount * s.HeadDim, keys = s.KvHeadCount * s.HeadDim;
        yield return new(WeightRole.Embedding, -1, s.VocabSize, s.HiddenSize);
        for (int i = 0; i < s.LayerCount; i++)
        {
            yield return new(WeightRole.InputNorm, i, s.HiddenSize, 0);
            yield return new(WeightRole.Query, i, queries, s.HiddenSize);
            yield return new(WeightRole.Key, i, keys, s.HiddenSize);
            yield return new(WeightRole.Value, i, keys, s.HiddenSize);
            if (config.QkvBias)
            {
                yield return new(WeightRole.QueryBias, i, queries, 0);
                yield return new(WeightRole.KeyBias, i, keys, 0);
                yield return new(WeightRole.ValueBias, i, keys, 0);
            }

            if (config.QkNorm)
            {
                yield return new(WeightRole.QueryNorm, i, s.HeadDim, 0);
                yield return new(WeightRole.KeyNorm, i, s.HeadDim, 0);
            }

            if (config.Dms is { Adapter: true } dms)
            {
                yield return new(WeightRole.DecisionNorm, i, s.HiddenSize, 0);
                yield return new(WeightRole.Decision, i, s.KvHeadCount, s.HiddenSize);
                if (dms.Bias) yield return new(WeightRole.DecisionBias, i, s.KvHeadCount, 0);
            }

            yield return new(WeightRole.Output, i, s.HiddenSize, queries);
            if (config.OutputBias) yield return new(WeightRole.OutputBias, i, s.HiddenSize, 0);
            yield return new(WeightRole.PostAttentionNorm, i, s.HiddenSize, 0);
            yield return new(WeightRole.Gate, i, s.IntermediateSize, s.HiddenSize);
            yield return new(WeightRole.Up, i, s.IntermediateSize, s.HiddenSize);
            yield return new(WeightRole.Down, i, s.HiddenSize, s.IntermediateSize);
        }

        yield return new(WeightRole.FinalNorm, -1, s.HiddenSize, 0);
        if (!config.TiedEmbeddings) yield return new(WeightRole.Head, -1, s.VocabSize, s.HiddenSize);
    }
}
