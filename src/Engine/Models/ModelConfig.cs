using Foretoken.Backends;
using Foretoken.Formats;

namespace Foretoken.Models;

/// <summary>What the engine needs to know of a model, from whatever file format. Made by the readers, which check every value.</summary>
public sealed record ModelConfig
{
    /// <summary>Longest context that is accepted, in tokens.</summary>
    public const int MaxContext = 1 << 24;

    /// <summary>Most layers that are accepted.</summary>
    public const int MaxLayers = 512;

    /// <summary>Most query heads that are accepted.</summary>
    public const int MaxHeads = 1024;

    /// <summary>Largest head dimension that is accepted.</summary>
    public const int MaxHeadDim = 1024;

    /// <summary>Largest hidden or intermediate size that is accepted.</summary>
    public const int MaxWidth = 1 << 18;

    /// <summary>Largest vocabulary that is accepted.</summary>
    public const int MaxVocab = 1 << 22;

    /// <summary>The family's short name, for example <c>qwen3</c>.</summary>
    public required string Family { get; init; }

    /// <summary>The file's name of the architecture, for example <c>Qwen3ForCausalLM</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>Sizes and constants of the forward pass.</summary>
    public required TransformerShape Shape { get; init; }

    /// <summary>Base and scaling of the rotary position embedding.</summary>
    public required RopeScaling Rope { get; init; }

    /// <summary>Per layer: a row at position p sees keys at positions above p − window; 0 = all keys. // [layers]</summary>
    public required IReadOnlyList<int> SlidingWindows { get; init; }

    /// <summary>The head is the embedding table.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>The q, k and v projections have biases.</summary>
    public bool QkvBias { get; init; }

    /// <summary>The attention output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Queries and keys are RMS-normalised per head before RoPE.</summary>
    public bool QkNorm { get; init; }

    /// <summary>How the model decides what its KV cache evicts; null = it was not trained to.</summary>
    public DmsConfig? Dms { get; init; }

    /// <summary>Beginning-of-sequence token that the config names, or null.</summary>
    public int? BosTokenId { get; init; }

    /// <summary>Tokens that end a generation; empty where the files name none.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>What the model's files recommend for sampling.</summary>
    public GenerationDefaults Generation { get; init; } = new();

    /// <summary>Weights of the model, the embedding counted once if it is tied.</summary>
    public long ParameterCount => WeightSpec.Of(this).Sum(w => w.Elements);

    /// <summary>Reads <c>config.json</c> and, where it exists, <c>generation_config.json</c>.</summary>
    /// <exception cref="ModelFormatException">An unknown architecture, an unsupported feature, a missing, contradictory or absurd value.</exception>
    public static ModelConfig Read(string directory)
    {
        JsonFields config = JsonFields.Read(Path.Combine(directory, "config.json"));
        string generation = Path.Combine(directory, "generation_config.json"), metadata = Path.Combine(directory, DmsConfig.FastDmsMetadata);
        ModelConfig parsed = HuggingFaceConfig.Parse(config, File.Exists(generation) ? JsonFields.Read(generation) : null);
        return parsed.Dms is null && File.Exists(metadata) ? parsed with { Dms = DmsConfig.ReadFastDms(JsonFields.Read(metadata)) } : parsed;
    }
}
