using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Models;

namespace Foretoken.Speculation.Trained;

/// <summary>How a drafter with layers of its own combines a token and a feature.</summary>
public enum EagleKind
{
    /// <summary>EAGLE-1 and -2: fc([embedding; feature]) enters layers whose first has no input norm; no final norm; the target's head.</summary>
    Eagle1,

    /// <summary>EAGLE-3: fc of three taps; the first layer reads [norm(embedding); norm(feature)]; its own final norm and head.</summary>
    Eagle3,

    /// <summary>Multi-token prediction: a projection of [norm(embedding); norm(feature)] enters ordinary layers; its own final norm.</summary>
    Mtp,
}

/// <summary>
/// Kind, sizes and tensor names of an EAGLE or MTP drafter. The kind follows from the tensors: <c>midlayer.*</c> is EAGLE-3 as first published, <c>layers.0.hidden_norm</c>
/// the renamed and the speculators layout, <c>fc</c> alone EAGLE-1/2, <c>model.layers.N.eh_proj</c> DeepSeek's and <c>mtp.fc</c> Qwen3-Next's naming of MTP.
/// </summary>
internal sealed record EagleConfig
{
    private const int MaxLayers = 8;

    public required EagleKind Kind { get; init; }

    public required TransformerShape Shape { get; init; }

    /// <summary>Points of the target whose states are joined to a feature (<see cref="FeatureTaps.Tap"/>).</summary>
    public required IReadOnlyList<int> Taps { get; init; }

    /// <summary>What stands before the names of a layer's tensors, for layer i of the drafter.</summary>
    public required Func<int, string> Layer { get; init; }

    /// <summary>What stands before the names of the other tensors.</summary>
    public string Prefix { get; init; } = "";

    /// <summary>DeepSeek's names: everything stands within the layer.</summary>
    public bool WithinLayer { get; init; }

    /// <summary>The first layer's residual is the normalised feature (speculators' <c>norm_before_residual</c>).</summary>
    public bool NormBeforeResidual { get; init; }

    /// <summary>
    /// Norms of the joined states in front of <c>fc</c>: 0 = none, 1 = <c>input_norm</c> over all of them (speculators' <c>norm_before_fc</c>), else one
    /// <c>fc_norm.i</c> per tap (<c>fc_norm</c>).
    /// </summary>
    public int InputNorms { get; init; }

    /// <summary>What is fed back went through the final norm (Qwen3-Next's MTP, speculators' <c>norm_output</c>).</summary>
    public bool NormsFeedback { get; init; }

    /// <summary>Reads config.json and looks at the tensors' names.</summary>
    /// <exception cref="ModelFormatException">The layout is unknown, or a value is missing or does not fit the target.</exception>
    public static EagleConfig Read(DraftWeights weights, Transformer target, int contextLength)
    {
        JsonFields config = JsonFields.Read(Path.Combine(weights.Directory, "config.json"));
        if (config.Text("speculators_model_type") is { } type && type is not ("eagle3" or "mtp"))
            throw config.Broken("speculators_model_type", $"\"{type}\" is not supported", "Supported: eagle3, mtp, and EAGLE-1/2 in the layout of SafeAILab.");
        if (config.Text("model_type") is "qwen3_next" or "deepseek_v3")
            throw config.Broken("model_type", $"{config.TextOf("model_type")} has blocks of another kind", "MTP heads are supported with the blocks of Llama, Mistral, Qwen2 and Qwen3.");
        JsonFields layer = config.Object("transformer_layer_config") ?? config;
        EagleConfig found = Recognise(weights) ?? throw new ModelFormatException(config.File, "weights", "hold no EAGLE or MTP drafter of a known layout",
            "Known are midlayer.* and layers.0.hidden_norm (EAGLE-3), fc with layers.0.* (EAGLE-1 and -2), mtp.fc and one *.eh_proj (MTP).");
        int layers = (int?)layer.Integer("num_hidden_layers", 1, ModelConfig.MaxLayers) ?? 1;
        if (found.Kind == EagleKind.Mtp) layers = (int?)config.Integer("num_nextn_predict_layers", 1, 1) ?? 1;
        CheckEqual(layer, "vocab_size", target.Shape.VocabSize);
        CheckEqual(config, "target_hidden_size", target.Shape.HiddenSize);
        bool joined = config.Boolean("norm_before_fc") ?? false, each = config.Boolean("fc_norm") ?? false, output = config.Boolean("norm_output") ?? false;
        if (joined && each) throw config.Broken("fc_norm", "and norm_before_fc are both true, and they exclude each other", "Download the drafter again.");
        if ((joined || each || output) && found.Kind != EagleKind.Eagle3)
            throw config.Broken(joined ? "norm_before_fc" : each ? "fc_norm" : "norm_output", "is supported for EAGLE-3 only", "Use a drafter without it: ignoring it would change what is drafted.");
        return found with
        {
            Shape = ReadShape(layer, config, target.Shape, layers, contextLength),
            Taps = found.Kind == EagleKind.Eagle3 ? ReadTaps(config, target.Shape.LayerCount) : [FeatureTaps.Normed],
            InputNorms = joined ? 1 : each ? 3 : 0,
            NormsFeedback = found.NormsFeedback || output,
            NormBeforeResidual = config.Boolean("norm_before_residual") ?? false,
        };
    }

    /// <summary>Whether the tensors are those of a known layout.</summary>
    public static bool IsKnown(DraftWeights weights) => Recognise(weights) is not null;

    /// <summary>What the tensors' names say; null = none of the layouts.</summary>
    private static EagleConfig? Recognise(DraftWeights weights)
    {
        if (weights.Has("midlayer.hidden_norm.weight")) return Of(EagleKind.Eagle3, i => i == 0 ? "midlayer." : $"layers.{i}.");
        if (weights.Has("layers.0.hidden_norm.weight")) return Of(EagleKind.Eagle3, i => $"layers.{i}.");
        if (weights.Has("mtp.fc.weight")) return Of(EagleKind.Mtp, i => $"mtp.layers.{i}.") with { Prefix = "mtp.", NormsFeedback = true };
        const string projection = ".eh_proj.weight";
        if (weights.Names.Where(n => n.EndsWith(projection, StringComparison.Ordinal)).ToArray() is [var eh])
            return Of(EagleKind.Mtp, _ => eh[..^(projection.Length - 1)]) with { WithinLayer = true };
        return weights.Has("fc.weight") && weights.Has("layers.0.self_attn.q_proj.weight") ? Of(EagleKind.Eagle1, i => $"layers.{i}.") : null;
    }

    private static EagleConfig Of(EagleKind kind, Func<int, string> layer) => new() { Kind = kind, Layer = layer, Shape = null!, Taps = [] };

    private static TransformerShape ReadShape(JsonFields layer, JsonFields config, TransformerShape target, int layers, int contextLength)
    {
        int hidden = layer.RequiredInteger("hidden_size", 1, ModelConfig.MaxWidth), heads = layer.RequiredInteger("num_attention_heads", 1, ModelConfig.MaxHeads);
        int kvHeads = (int?)layer.Integer("num_key_value_heads", 1, ModelConfig.MaxHeads) ?? heads;
        int headDim = (int?)layer.Integer("head_dim", 1, ModelConfig.MaxHeadDim) ?? hidden / heads;
        if (hidden != target.HiddenSize) throw layer.Broken("hidden_size", $"is {hidden}, but the model that it drafts for has {target.HiddenSize}", "Use a drafter that was trained for this model.");
        if (heads % kvHeads != 0) throw layer.Broken("num_key_value_heads", $"must divide num_attention_heads = {heads}, but is {kvHeads}");
        if (headDim % 2 != 0) throw layer.Broken("head_dim", $"gives heads of {headDim} elements, and RoPE rotates pairs: the size must be even");
        if (!layer.IsAbsentOr("hidden_act", "\"silu\"")) throw layer.Broken("hidden_act", $"must be \"silu\", but is {layer.TextOf("hidden_act")}");
        return new TransformerShape
        {
            LayerCount = layers,
            HiddenSize = hidden,
            IntermediateSize = layer.RequiredInteger("intermediate_size", 1, ModelConfig.MaxWidth),
            HeadCount = heads,
            KvHeadCount = kvHeads,
            HeadDim = headDim,
            VocabSize = (int?)config.Integer("draft_vocab_size", 1, target.VocabSize) ?? target.VocabSize,
            RmsNormEpsilon = (float)(layer.Number("rms_norm_eps", 1e-12, 0.1) ?? 1e-6),
            MaxPositions = contextLength,
            RopeInverseFrequencies = RopeScaling.Read(layer, 10_000).InverseFrequencies(headDim),
            AttentionScale = (float)(1 / Math.Sqrt(headDim)),
        };
    }

    /// <summary>The states entering layers 2, L/2 and L − 3 unless config.json names others.</summary>
    private static IReadOnlyList<int> ReadTaps(JsonFields config, int layers)
    {
        const string name = "eagle_aux_hidden_state_layer_ids";
        JsonFields at = config.Has(name) ? config : config.Object("eagle_config") ?? config;
        IReadOnlyList<int> given = at.IntegerOrList(name, 0, layers);
        if (given.Count == 0)
        {
            if (layers < 5) throw config.Broken(name, $"is missing, and the usual layers 2, L/2 and L - 3 need a model of 5 layers, not {layers}", "Name the layers that the drafter was trained on.");
            return [2, layers / 2, layers - 3];
        }

        if (given.Count != 3) throw at.Broken(name, $"must name three layers, but names {given.Count}");
        return given;
    }

    private static void CheckEqual(JsonFields config, string name, int target)
    {
        if (config.Integer(name, 1, int.MaxValue) is { } value && value != target)
            throw config.Broken(name, $"is {value}, but the model that it drafts for has {target}", "Use a drafter that was trained for this model.");
    }
}
