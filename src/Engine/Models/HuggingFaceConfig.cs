using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Models.Families;

namespace Foretoken.Models;

/// <summary>Reads the fields of a Hugging Face <c>config.json</c> that all families share; a <see cref="ModelFamily"/> reads the rest.</summary>
internal static class HuggingFaceConfig
{
    private const string Unsupported = "This feature changes the model's output and is not supported: use another model.";

    /// <summary>What the retrofit code appends to the name of an architecture; the <c>dms_*</c> keys say the rest.</summary>
    private const string DmsSuffix = "DMS";

    /// <summary>Fields of other models or of variants, each with the only value under which ignoring it does not change the result.</summary>
    private static readonly (string Field, string Neutral)[] NeutralFields =
    [
        ("hidden_act", "\"silu\""), ("mlp_bias", "false"), ("partial_rotary_factor", "1"), ("quantization_config", "null"), ("compression_config", "null"),
        ("attn_logit_softcapping", "null"), ("final_logit_softcapping", "null"), ("query_pre_attn_scalar", "null"), ("clip_qkv", "null"),
        ("embedding_multiplier", "1"), ("residual_multiplier", "1"), ("logits_scaling", "1"), ("logit_scale", "1"), ("attention_multiplier", "null"),
        ("num_experts", "0"), ("num_local_experts", "0"), ("n_routed_experts", "0"), ("kv_lora_rank", "null"), ("no_rope_layers", "null"),
        ("is_encoder_decoder", "false"), ("is_causal", "true"), ("alibi", "false"), ("use_qk_norm", "false"), ("qk_layernorm", "false"),
        ("attention_chunk_size", "null"), ("rope_local_base_freq", "null"), ("pruned_heads", "{}"), ("add_cross_attention", "false"),
    ];

    /// <summary>Checks and converts a configuration.</summary>
    public static ModelConfig Parse(JsonFields config, JsonFields? generation)
    {
        (ModelFamily family, string architecture) = FindFamily(config);
        foreach ((string field, string neutral) in NeutralFields)
        {
            if (!config.IsAbsentOr(field, neutral)) throw config.Broken(field, $"must be {neutral}, but is {config.TextOf(field)}", Unsupported);
        }

        int layers = config.RequiredInteger("num_hidden_layers", 1, ModelConfig.MaxLayers);
        int vocab = config.RequiredInteger("vocab_size", 1, ModelConfig.MaxVocab);
        RopeScaling rope = RopeScaling.Read(config, family.DefaultRopeTheta);
        (bool qkvBias, bool outputBias) = family.ReadBiases(config);
        return new ModelConfig
        {
            Family = family.Name,
            Architecture = architecture,
            Shape = ReadShape(config, family, layers, vocab, rope),
            Rope = rope,
            SlidingWindows = family.ReadSlidingWindows(config, layers),
            TiedEmbeddings = config.Boolean("tie_word_embeddings") ?? false,
            QkvBias = qkvBias,
            OutputBias = outputBias,
            QkNorm = family.QkNorm,
            Dms = DmsConfig.Read(config),
            BosTokenId = config.IntegerOrList("bos_token_id", 0, vocab - 1) is [int bos, ..] ? bos : null,
            EosTokenIds = ReadEos(config, generation, vocab),
            Generation = generation is null ? new GenerationDefaults() : GenerationDefaults.Read(generation),
        };
    }

    private static (ModelFamily Family, string Architecture) FindFamily(JsonFields config)
    {
        IReadOnlyList<string>? architectures = config.Texts("architectures");
        string? type = config.Text("model_type");
        if (architectures is null or [])
        {
            if (type is null) throw config.Missing("architectures");
            ModelFamily known = ModelFamily.All.FirstOrDefault(f => f.Name == type) ?? throw Unknown("model_type", type);
            return (known, known.Architectures[0]);
        }

        if (architectures.Count > 1)
            throw config.Broken("architectures", $"must name one architecture, but is {config.TextOf("architectures")}");
        string architecture = architectures[0].EndsWith(DmsSuffix, StringComparison.Ordinal) ? architectures[0][..^DmsSuffix.Length] : architectures[0];
        ModelFamily family = ModelFamily.All.FirstOrDefault(f => f.Architectures.Contains(architecture, StringComparer.Ordinal))
            ?? throw Unknown("architectures", architectures[0]);
        if (type is not null && type != family.Name)
            throw config.Broken("model_type", $"is \"{type}\", but architectures names {architectures[0]}, whose type is \"{family.Name}\"");
        return (family, architecture);

        ModelFormatException Unknown(string field, string name) => config.Broken(field, $"\"{name}\" is not supported",
            IsDrafter(name) ? "These are heads that draft for another model: load that one, and these as its drafter (--draft and this directory)."
            : $"Supported architectures: {string.Join(", ", ModelFamily.All.SelectMany(f => f.Architectures))}.");

        static bool IsDrafter(string name) => name.Contains("medusa", StringComparison.OrdinalIgnoreCase) || name.Contains("eagle", StringComparison.OrdinalIgnoreCase);
    }

    private static TransformerShape ReadShape(JsonFields config, ModelFamily family, int layers, int vocab, RopeScaling rope)
    {
        int hidden = config.RequiredInteger("hidden_size", 1, ModelConfig.MaxWidth);
        int heads = config.RequiredInteger("num_attention_heads", 1, ModelConfig.MaxHeads);
        int kvHeads = (int?)config.Integer("num_key_value_heads", 1, ModelConfig.MaxHeads) ?? family.DefaultKvHeads(config, heads);
        if (heads % kvHeads != 0)
            throw config.Broken("num_key_value_heads", $"must divide num_attention_heads = {heads}, but is {kvHeads}");
        int? givenHeadDim = (int?)config.Integer("head_dim", 1, ModelConfig.MaxHeadDim);
        if (givenHeadDim is null && hidden % heads != 0)
            throw config.Broken("num_attention_heads", $"must divide hidden_size = {hidden} where head_dim is missing, but is {heads}");
        int headDim = givenHeadDim ?? hidden / heads;
        string headDimField = givenHeadDim is null ? "hidden_size" : "head_dim";
        if (headDim % 2 != 0) throw config.Broken(headDimField, $"gives heads of {headDim} elements, and RoPE rotates pairs: the size must be even");
        if (headDim > ModelConfig.MaxHeadDim) throw config.Broken(headDimField, $"gives heads of {headDim} elements, and at most {ModelConfig.MaxHeadDim} are supported");
        return new TransformerShape
        {
            LayerCount = layers,
            HiddenSize = hidden,
            IntermediateSize = config.RequiredInteger("intermediate_size", 1, ModelConfig.MaxWidth),
            HeadCount = heads,
            KvHeadCount = kvHeads,
            HeadDim = headDim,
            VocabSize = vocab,
            RmsNormEpsilon = (float)config.RequiredNumber("rms_norm_eps", 1e-12, 0.1),
            MaxPositions = config.RequiredInteger("max_position_embeddings", 1, ModelConfig.MaxContext),
            RopeInverseFrequencies = rope.InverseFrequencies(headDim),
            AttentionScale = (float)(1 / Math.Sqrt(headDim)),
        };
    }

    /// <summary>generation_config.json is what generation follows; config.json's value counts only where that file names none.</summary>
    private static IReadOnlyList<int> ReadEos(JsonFields config, JsonFields? generation, int vocab)
    {
        IReadOnlyList<int> fromConfig = config.IntegerOrList("eos_token_id", 0, vocab - 1);
        IReadOnlyList<int> fromGeneration = generation?.IntegerOrList("eos_token_id", 0, vocab - 1) ?? [];
        return fromGeneration.Count > 0 ? fromGeneration : fromConfig;
    }
}
