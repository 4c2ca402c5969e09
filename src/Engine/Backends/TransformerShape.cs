namespace Foretoken.Backends;

/// <summary>The sizes and constants of a decoder-only transformer that a backend needs to plan its buffers and to run a pass.</summary>
public sealed record TransformerShape
{
    public required int LayerCount { get; init; }
    public required int HiddenSize { get; init; }
    public required int IntermediateSize { get; init; }
    public required int HeadCount { get; init; }
    public required int KvHeadCount { get; init; }
    public required int HeadDim { get; init; }
    public required int VocabSize { get; init; }
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
