using Foretoken.Formats;

namespace Foretoken.Models.Families;

/// <summary>Llama 2 and 3.x. <c>attention_bias</c> puts biases on all four projections; attention is never windowed.</summary>
public sealed class LlamaFamily : ModelFamily
{
    /// <inheritdoc/>
    public override string Name => "llama";

    /// <inheritdoc/>
    public override IReadOnlyList<string> Architectures { get; } = ["LlamaForCausalLM"];

    /// <inheritdoc/>
    public override string GgufArchitecture => "llama";

    /// <inheritdoc/>
    public override bool GgufInterleavesPairs => true;

    /// <inheritdoc/>
    public override (bool Qkv, bool Output) ReadBiases(JsonFields config)
    {
        bool bias = config.Boolean("attention_bias") ?? false;
        return (bias, bias);
    }

    /// <inheritdoc/>
    public override int[] ReadSlidingWindows(JsonFields config, int layers)
    {
        int positions = config.RequiredInteger("max_position_embeddings", 1, ModelConfig.MaxContext);
        bool slides = ReadLayerTypes(config, layers)?.Contains(true) ?? false;
        if (slides || config.Integer("sliding_window", 1, int.MaxValue) < positions)
        {
            throw config.Broken(slides ? "layer_types" : "sliding_window", "asks for sliding windows, which Llama models do not have",
                "If the model was trained with a window, its architecture is MistralForCausalLM; otherwise remove the field.");
        }

        return new int[layers];
    }

    /// <inheritdoc/>
    public override int DefaultKvHeads(JsonFields config, int heads) => heads;
}
