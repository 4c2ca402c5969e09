using Foretoken.Formats;

namespace Foretoken.Models.Families;

/// <summary>
/// What sets a family of models apart from the others: names, biases, norms and attention windows. A new family is one class like its neighbours
/// and one line in <see cref="All"/>.
/// </summary>
public abstract class ModelFamily
{
    /// <summary>Every supported family.</summary>
    public static IReadOnlyList<ModelFamily> All { get; } = [new LlamaFamily(), new MistralFamily(), new Qwen2Family(), new Qwen3Family()];

    /// <summary>Short name, equal to <c>model_type</c> in config.json.</summary>
    public abstract string Name { get; }

    /// <summary>Values of <c>architectures</c> in config.json; the first one is the usual name.</summary>
    public abstract IReadOnlyList<string> Architectures { get; }

    /// <summary>Whether queries and keys are RMS-normalised per head before RoPE.</summary>
    public virtual bool QkNorm => false;

    /// <summary><c>general.architecture</c> of GGUF files. Of families that share one, the first of <see cref="All"/> is read unless the file has sliding windows.</summary>
    public abstract string GgufArchitecture { get; }

    /// <summary>Whether GGUF files keep the rows of q and k as interleaved pairs (<see cref="RopePairs"/>).</summary>
    public virtual bool GgufInterleavesPairs => false;

    /// <summary>Whether <c>attention.sliding_window</c> of a GGUF file concerns every layer.</summary>
    public virtual bool GgufWindowsAllLayers => false;

    /// <summary>Whether q, k and v always have biases.</summary>
    public virtual bool RequiresQkvBias => false;

    /// <summary>RoPE base where config.json gives none.</summary>
    public virtual double DefaultRopeTheta => 10_000;

    /// <summary>Which projections of the attention have biases.</summary>
    public abstract (bool Qkv, bool Output) ReadBiases(JsonFields config);

    /// <summary>Sliding window per layer, 0 where a layer sees all keys. // [layers], tokens</summary>
    public abstract int[] ReadSlidingWindows(JsonFields config, int layers);

    /// <summary>KV heads where config.json gives none.</summary>
    public virtual int DefaultKvHeads(JsonFields config, int heads) => throw config.Missing("num_key_value_heads");

    /// <summary><c>layer_types</c> as "slides" per layer, or null where the field is missing. // [layers]</summary>
    protected static bool[]? ReadLayerTypes(JsonFields config, int layers)
    {
        if (config.Texts("layer_types") is not { } types) return null;
        if (types.Count != layers)
            throw config.Broken("layer_types", $"must name {layers} layers (num_hidden_layers), but names {types.Count}");
        foreach (string type in types)
        {
            if (type is not ("full_attention" or "sliding_attention"))
                throw config.Broken("layer_types", $"\"{type}\" is not supported", "Supported: full_attention, sliding_attention.");
        }

        return [.. types.Select(t => t == "sliding_attention")];
    }
}
