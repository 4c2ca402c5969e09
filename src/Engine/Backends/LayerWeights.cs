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
}
