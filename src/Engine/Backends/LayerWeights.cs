namespace Foretoken.Backends;

/// <summary>The weights of one transformer layer as handles of the backend that holds them.</summary>
public sealed record LayerWeights
{
    /// <summary>RMSNorm gain before attention. // [hidden]</summary>
    public required TensorHandle InputNorm { get; init; }

    /// <summary>q, k and v projections stacked along output features. // [(heads + 2·kvHeads)·headDim, hidden]</summary>
    public required TensorHandle Qkv { get; init; }

    /// <summary>Bias of the stacked projections, or None. // [(heads + 2·kvHeads)·headDim]</summary>
    public TensorHandle QkvBias { get; init; } = TensorHandle.None;

    /// <summary>RMSNorm gain on each query head before RoPE, or None. // [headDim]</summary>
    public TensorHandle QueryNorm { get; init; } = TensorHandle.None;

    /// <summary>RMSNorm gain on each key head before RoPE, or None. // [headDim]</summary>
    public TensorHandle KeyNorm { get; init; } = TensorHandle.None;

    /// <summary>Attention output projection. // [hidden, heads·headDim]</summary>
    public required TensorHandle Output { get; init; }

    /// <summary>Bias of the output projection, or None. // [hidden]</summary>
    public TensorHandle OutputBias { get; init; } = TensorHandle.None;

    /// <summary>RMSNorm gain before the MLP. // [hidden]</summary>
    public required TensorHandle PostAttentionNorm { get; init; }

    /// <summary>Gate and up projections stacked along output features. // [2·intermediate, hidden]</summary>
    public required TensorHandle GateUp { get; init; }

    /// <summary>Down projection. // [hidden, intermediate]</summary>
    public required TensorHandle Down { get; init; }

    /// <summary>A row at position p sees keys at positions above p − SlidingWindow; 0 = all keys.</summary>
    public int SlidingWindow { get; init; }

    /// <summary>How rows decide what the KV cache evicts; null = they do not.</summary>
    public DecisionWeights? Decision { get; init; }
}

/// <summary>
/// The eviction decisions of one layer: a row evicts where logit · Scale − Offset &gt; 0, in f32. The logit of a KV head is a projection of the normalised
/// input of the layer or, without one, the last channel of the head group's first query, after its norm; that channel is then zero for attention.
/// </summary>
public sealed record DecisionWeights
{
    /// <summary>Factor on the logit (<see cref="Models.DmsConfig.Scale"/>).</summary>
    public required float Scale { get; init; }

    /// <summary>What the scaled logit must exceed (<see cref="Models.DmsConfig.Offset"/>).</summary>
    public required float Offset { get; init; }

    /// <summary>The first KV head decides for all.</summary>
    public bool PerLayer { get; init; }

    /// <summary>Borrowed channel: zero after RoPE as well as before.</summary>
    public bool ZeroAfterRope { get; init; }

    /// <summary>RMSNorm gain in front of the projection, or None. // [hidden]</summary>
    public TensorHandle Norm { get; init; } = TensorHandle.None;

    /// <summary>The projection, or None: a channel is borrowed. // [kvHeads, hidden]</summary>
    public TensorHandle Projection { get; init; } = TensorHandle.None;

    /// <summary>Its bias, or None. // [kvHeads]</summary>
    public TensorHandle Bias { get; init; } = TensorHandle.None;

    /// <summary>The logit is a query channel, and not a projection.</summary>
    public bool BorrowsChannel => !Projection.Exists;
}
