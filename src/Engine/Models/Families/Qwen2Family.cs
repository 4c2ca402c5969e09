using Foretoken.Formats;

namespace Foretoken.Models.Families;

/// <summary>Qwen2 and 2.5: biases on q, k and v whatever config.json says; upper layers may slide.</summary>
public class Qwen2Family : ModelFamily
{
    /// <summary>Values of the Hugging Face configuration class where <c>use_sliding_window</c> is true and the fields are missing.</summary>
    private const int DefaultWindow = 4096, DefaultMaxWindowLayers = 28;

    /// <inheritdoc/>
    public override string Name => "qwen2";

    /// <inheritdoc/>
    public override IReadOnlyList<string> Architectures { get; } = ["Qwen2ForCausalLM"];

    /// <inheritdoc/>
    public override string GgufArchitecture => "qwen2";

    /// <inheritdoc/>
    public override bool RequiresQkvBias => true;

    /// <inheritdoc/>
    public override (bool Qkv, bool Output) ReadBiases(JsonFields config) => (true, false);

    /// <summary>
    /// Without <c>use_sliding_window</c> no layer slides. With it, <c>layer_types</c> says which layers do; in files that lack it, the layers from
    /// <c>max_window_layers</c> on.
    /// </summary>
    public override int[] ReadSlidingWindows(JsonFields config, int layers)
    {
        bool use = config.Boolean("use_sliding_window") ?? false;
        bool[]? types = ReadLayerTypes(config, layers);
        if (!use)
        {
            if (types is not null && types.Contains(true))
                throw config.Broken("layer_types", "has sliding_attention, but use_sliding_window is not true", "Correct one of the two.");
            return new int[layers];
        }

        int window = config.IsNull("sliding_window")
            ? throw config.Broken("sliding_window", "must be a number of tokens where use_sliding_window is true")
            : (int?)config.Integer("sliding_window", 1, int.MaxValue) ?? DefaultWindow;
        int fullLayers = (int?)config.Integer("max_window_layers", 0, int.MaxValue) ?? DefaultMaxWindowLayers;
        var windows = new int[layers];
        for (int i = 0; i < layers; i++) windows[i] = types?[i] ?? i >= fullLayers ? window : 0;
        return windows;
    }
}
