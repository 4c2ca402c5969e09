namespace Foretoken.Backends;

/// <summary>The sizes and constants of a decoder-only transformer that a backend needs to plan its buffers and to run a pass.</summary>
public sealed record TransformerShape
{
    /// <summary>Layers, each attention and MLP.</summary>
    public required int LayerCount { get; init; }

    /// <summary>Elements of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Elements between the MLP's up and down projections.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Query heads per layer.</summary>
    public required int HeadCount { get; init; }

    /// <summary>KV heads per layer; divides <see cref="HeadCount"/>.</summary>
    public required int KvHeadCount { get; init; }

    /// <summary>Elements of one query, key or value; even.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Tokens: rows of the embedding table and of the head.</summary>
    public required int VocabSize { get; init; }

    /// <summary>Added to the mean of squares in every RMSNorm, before the root.</summary>
    public required float RmsNormEpsilon { get; init; }

    /// <summary>Longest sequence in tokens: positions are 0..MaxPositions−1.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Angular velocity per rotated pair, any RoPE scaling applied. // [HeadDim/2], radians per position.</summary>
    public required double[] RopeInverseFrequencies { get; init; }

    /// <summary>Factor on cos and sin (1 unless the scaling scheme has one, as YaRN does).</summary>
    public float RopeAttentionFactor { get; init; } = 1f;

    /// <summary>Factor on q·k, normally 1/√HeadDim.</summary>
    public required float AttentionScale { get; init; }

    /// <summary>Query heads that share one KV head.</summary>
    public int QueryGroup => HeadCount / KvHeadCount;
}
