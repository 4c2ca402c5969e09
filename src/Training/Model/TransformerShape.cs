using Foretoken.Models;

namespace Foretoken.Training;

/// <summary>Sizes and switches of a Llama- or Qwen-style decoder: pre-norm, GQA attention with RoPE, SwiGLU.</summary>
public sealed record TransformerShape
{
    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Number of layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads.</summary>
    public required int QueryHeads { get; init; }

    /// <summary>Key-value heads; divides <see cref="QueryHeads"/>.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Width of a head; even, need not be hidden / heads.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Width of the SwiGLU layer.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Longest sequence in tokens.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary>ε of all RMS norms.</summary>
    public float RmsNormEpsilon { get; init; } = 1e-6f;

    /// <summary>RMS norm of each query and key head before the rotation (Qwen3).</summary>
    public bool QueryKeyNorm { get; init; } = true;

    /// <summary>Biases on the q, k and v projections (Qwen2).</summary>
    public bool QkvBias { get; init; }

    /// <summary>The output matrix is the embedding.</summary>
    public bool TiedEmbeddings { get; init; } = true;

    /// <summary>Features of all query heads.</summary>
    public int QueryWidth => QueryHeads * HeadDim;

    /// <summary>Features of all key (or value) heads.</summary>
    public int KeyValueWidth => KeyValueHeads * HeadDim;

    /// <summary>Features of the fused q | k | v projection.</summary>
    public int QkvWidth => QueryWidth + 2 * KeyValueWidth;

    /// <summary>Throws <see cref="ArgumentException"/> naming the field of a configuration when sizes are impossible.</summary>
    public void Validate()
    {
        foreach ((string name, int value, int most) in new[]
        {
            ("vocab_size", VocabularySize, ModelConfig.MaxVocab), ("hidden_size", HiddenSize, ModelConfig.MaxWidth), ("num_hidden_layers", Layers, ModelConfig.MaxLayers),
            ("num_attention_heads", QueryHeads, ModelConfig.MaxHeads), ("num_key_value_heads", KeyValueHeads, ModelConfig.MaxHeads), ("head_dim", HeadDim, ModelConfig.MaxHeadDim),
            ("intermediate_size", IntermediateSize, ModelConfig.MaxWidth), ("max_position_embeddings", MaxPositions, ModelConfig.MaxContext),
        })
        {
            if (value <= 0 || value > most) throw new ArgumentException($"{name} is {value}; it must be 1 to {most}.");
        }
        if (QueryHeads % KeyValueHeads != 0)
            throw new ArgumentException($"num_attention_heads {QueryHeads} is not a multiple of num_key_value_heads {KeyValueHeads}.");
        if (HeadDim % 2 != 0) throw new ArgumentException($"head_dim {HeadDim} is odd; the rotary embedding needs two halves.");
    }
}
