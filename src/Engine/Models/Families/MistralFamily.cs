using Foretoken.Formats;

namespace Foretoken.Models.Families;

/// <summary>Mistral: Llama's block without biases; all layers share one sliding window, unless the file sets it to null.</summary>
public sealed class MistralFamily : ModelFamily
{
    /// <summary>
    /// Window of the architecture where config.json does not mention one: the default of Hugging Face's MistralConfig, which leaves out of the file what
    /// equals a default. Models without window say so with null (Mistral-7B-v0.2 and later).
    /// </summary>
    private const int DefaultWindow = 4096;

    /// <inheritdoc/>
    public override string Name => "mistral";

    /// <inheritdoc/>
    public override IReadOnlyList<string> Architectures { get; } = ["MistralForCausalLM"];

    /// <inheritdoc/>
    public override string GgufArchitecture => "llama";

    /// <inheritdoc/>
    public override bool GgufInterleavesPairs => true;

    /// <inheritdoc/>
    public override bool GgufWindowsAllLayers => true;

    /// <inheritdoc/>
    public override (bool Qkv, bool Output) ReadBiases(JsonFields config) => config.Boolean("attention_bias") == true
        ? throw config.Broken("attention_bias", "must be false: Mistral models have no biases", "If the weights have biases, the architecture is LlamaForCausalLM.")
        : (false, false);

    /// <inheritdoc/>
    public override int[] ReadSlidingWindows(JsonFields config, int layers)
    {
        int window = config.Integer("sliding_window", 1, int.MaxValue) is { } given ? (int)given : config.IsNull("sliding_window") ? 0 : DefaultWindow;
        if (ReadLayerTypes(config, layers) is { } types && types.Contains(window == 0))
        {
            throw config.Broken("layer_types", $"contradicts sliding_window = {config.TextOf("sliding_window")}",
                "All layers of a Mistral model have the same window: remove layer_types or correct it.");
        }

        var windows = new int[layers];
        Array.Fill(windows, window);
        return windows;
    }
}
