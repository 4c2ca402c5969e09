using Foretoken.Formats;

namespace Foretoken.Models.Families;

/// <summary>Qwen3: RMSNorm on every query and key head, its own head dimension, biases only with <c>attention_bias</c>; windows as in Qwen2.</summary>
public sealed class Qwen3Family : Qwen2Family
{
    /// <inheritdoc/>
    public override string Name => "qwen3";

    /// <inheritdoc/>
    public override IReadOnlyList<string> Architectures { get; } = ["Qwen3ForCausalLM"];

    /// <inheritdoc/>
    public override string GgufArchitecture => "qwen3";

    /// <inheritdoc/>
    public override bool RequiresQkvBias => false;

    /// <inheritdoc/>
    public override bool QkNorm => true;

    /// <inheritdoc/>
    public override (bool Qkv, bool Output) ReadBiases(JsonFields config)
    {
        bool bias = config.Boolean("attention_bias") ?? false;
        return (bias, bias);
    }
}
