using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Models.Families;

namespace Foretoken.Models;

/// <summary>Reads the configuration of a model from the metadata and the tensor list of a GGUF file.</summary>
internal static class GgufConfig
{
    public const string ArchitectureKey = "general.architecture";
    private const string WindowKey = "attention.sliding_window";
    private const string Unsupported = "This feature changes the model's output and is not supported: use another model.";

    /// <summary>Keys below the architecture's name with the only number under which ignoring them does not change the result.</summary>
    private static readonly (string Key, double Neutral)[] NeutralNumbers =
    [
        ("expert_count", 0), ("expert_used_count", 0), ("expert_shared_count", 0), ("attention.clamp_kqv", 0), ("attention.max_alibi_bias", 0),
        ("attn_logit_softcapping", 0), ("final_logit_softcapping", 0), ("logit_scale", 1), ("residual_scale", 1), ("embedding_scale", 1),
        ("rope.scaling.attn_factor", 1), ("attention.kv_lora_rank", 0), ("attention.q_lora_rank", 0), ("nextn_predict_layers", 0),
    ];

    /// <summary>Tokens by which well-known chat models end an answer, where the file names only one end of its own.</summary>
    private static readonly HashSet<string> EndTokens = new(StringComparer.Ordinal) { "<|eot_id|>", "<|im_end|>", "<|end|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>" };

    /// <summary>Checks and converts the metadata.</summary>
    /// <param name="file">The open file.</param>
    /// <param name="tensors">Its tensors by name.</param>
    public static ModelConfig Parse(GgufFile file, IReadOnlyDictionary<string, StoredTensor> tensors)
    {
        GgufMetadata metadata = file.Metadata;
        string name = metadata.Text(ArchitectureKey) ?? throw metadata.Missing(ArchitectureKey);
        ModelFamily[] families = [.. ModelFamily.All.Where(f => f.GgufArchitecture == name)];
        if (families.Length == 0)
            throw metadata.Broken(ArchitectureKey, $"\"{name}\" is not supported", $"Supported: {string.Join(", ", ModelFamily.All.Select(f => f.GgufArchitecture).Distinct())}.");
        int window = ReadWindow(metadata, name);
        ModelFamily family = (window > 0 ? Array.Find(families, f => f.GgufWindowsAllLayers) : null) ?? families[0];
        CheckNeutral(metadata, name);
        int layers = metadata.RequiredInteger($"{name}.block_count", 1, ModelConfig.MaxLayers);
        int vocab = ReadVocab(metadata, name, tensors);
        TransformerShape shape = ReadShape(metadata, name, layers, vocab);
        RopeScaling rope = ReadRope(file, name, shape.HeadDim, tensors);
        return new ModelConfig
        {
            Family = family.Name,
            Architecture = family.Architectures[0],
            Shape = shape with { RopeInverseFrequencies = rope.InverseFrequencies(shape.HeadDim) },
            Rope = rope,
            SlidingWindows = Windows(metadata, $"{name}.{WindowKey}", family, layers, window),
            TiedEmbeddings = !tensors.ContainsKey(GgufNames.Of(WeightRole.Head, -1)),
            QkvBias = family.RequiresQkvBias || tensors.ContainsKey(GgufNames.Of(WeightRole.QueryBias, 0)),
            OutputBias = tensors.ContainsKey(GgufNames.Of(WeightRole.OutputBias, 0)),
            QkNorm = family.QkNorm,
            BosTokenId = (int?)metadata.Integer("tokenizer.ggml.bos_token_id", 0, vocab - 1),
            EosTokenIds = ReadEos(metadata, vocab),
        };
    }

    private static void CheckNeutral(GgufMetadata metadata, string name)
    {
        foreach ((string suffix, double neutral) in NeutralNumbers)
        {
            string key = $"{name}.{suffix}";
            if (metadata.Number(key, double.MinValue, double.MaxValue) is { } value && value != neutral)
                throw metadata.Broken(key, $"must be {neutral}, but is {metadata.TextOf(key)}", Unsupported);
        }

        if (metadata.Boolean($"{name}.attention.causal") == false) throw metadata.Broken($"{name}.attention.causal", "must be true, but is false", Unsupported);
        if (metadata.Integer("split.count", 0, ushort.MaxValue) > 1)
            throw metadata.Broken("split.count", $"is {metadata.TextOf("split.count")}: the model is spread over several files, which cannot be read", "Join the parts into one file first.");
    }

    private static int ReadVocab(GgufMetadata metadata, string name, IReadOnlyDictionary<string, StoredTensor> tensors)
    {
        string embedding = GgufNames.Of(WeightRole.Embedding, -1), key = $"{name}.vocab_size";
        if (!tensors.TryGetValue(embedding, out StoredTensor? table) || table.Shape.Count != 2)
            throw new ModelFormatException(metadata.File, $"\"{embedding}\"", "is missing or no matrix", "The file holds no complete model: convert or download it again.");
        if (table.Shape[0] > ModelConfig.MaxVocab)
            throw new ModelFormatException(metadata.File, $"\"{embedding}\"", $"has {table.Shape[0]} rows, and at most {ModelConfig.MaxVocab} are supported", "Use another model.");
        int vocab = (int)table.Shape[0], tokens = metadata.Count("tokenizer.ggml.tokens");
        if (metadata.Integer(key, 1, ModelConfig.MaxVocab) is { } given && given != vocab)
            throw metadata.Broken(key, $"is {given}, but \"{embedding}\" has {vocab} rows");
        if (tokens != 0 && tokens != vocab)
            throw metadata.Broken("tokenizer.ggml.tokens", $"has {tokens} tokens, but \"{embedding}\" has {vocab} rows");
        return vocab;
    }

    private static TransformerShape ReadShape(GgufMetadata metadata, string name, int layers, int vocab)
    {
        int hidden = metadata.RequiredInteger($"{name}.embedding_length", 1, ModelConfig.MaxWidth);
        int heads = PerModel(metadata, $"{name}.attention.head_count", layers, ModelConfig.MaxHeads) ?? throw metadata.Missing($"{name}.attention.head_count");
        int kvHeads = PerModel(metadata, $"{name}.attention.head_count_kv", layers, ModelConfig.MaxHeads) ?? heads;
        if (heads % kvHeads != 0)
            throw metadata.Broken($"{name}.attention.head_count_kv", $"must divide attention.head_count = {heads}, but is {kvHeads}");
        int? keyLength = (int?)metadata.Integer($"{name}.attention.key_length", 1, ModelConfig.MaxHeadDim);
        if (keyLength is null && hidden % heads != 0)
            throw metadata.Broken($"{name}.attention.head_count", $"must divide embedding_length = {hidden} where attention.key_length is missing, but is {heads}");
        int headDim = keyLength ?? hidden / heads;
        if (headDim % 2 != 0 || headDim > ModelConfig.MaxHeadDim)
            throw metadata.Broken($"{name}.attention.key_length", $"gives heads of {headDim} elements, and RoPE needs an even number up to {ModelConfig.MaxHeadDim}");
        foreach (string key in (string[])[$"{name}.attention.value_length", $"{name}.rope.dimension_count"])
        {
            if (metadata.Integer(key, 1, ModelConfig.MaxHeadDim) is { } other && other != headDim)
                throw metadata.Broken(key, $"must be the length of a head, {headDim}, but is {other}", Unsupported);
        }

        double scale = 1 / Math.Sqrt(headDim);
        if (metadata.Number($"{name}.attention.scale", 0, 1e6) is { } given && given != 0 && Math.Abs(given - scale) > 1e-6 * scale)
            throw metadata.Broken($"{name}.attention.scale", $"must be 1/√{headDim}, but is {metadata.TextOf($"{name}.attention.scale")}", Unsupported);
        return new TransformerShape
        {
            LayerCount = layers,
            HiddenSize = hidden,
            IntermediateSize = PerModel(metadata, $"{name}.feed_forward_length", layers, ModelConfig.MaxWidth) ?? throw metadata.Missing($"{name}.feed_forward_length"),
            HeadCount = heads,
            KvHeadCount = kvHeads,
            HeadDim = headDim,
            VocabSize = vocab,
            RmsNormEpsilon = (float)metadata.RequiredNumber($"{name}.attention.layer_norm_rms_epsilon", 1e-12, 0.1),
            MaxPositions = metadata.RequiredInteger($"{name}.context_length", 1, ModelConfig.MaxContext),
            RopeInverseFrequencies = [],
            AttentionScale = (float)scale,
        };
    }

    /// <summary>A number that some files give once and others once per layer; the layers must agree.</summary>
    private static int? PerModel(GgufMetadata metadata, string key, int layers, int maximum)
    {
        if (metadata.TypeOf(key) != GgufValueType.Array) return (int?)metadata.Integer(key, 1, maximum);
        long[] values = metadata.Integers(key)!;
        if (values.Length != layers) throw metadata.Broken(key, $"has {values.Length} numbers, but the model has {layers} layers");
        if (values[0] < 1 || values[0] > maximum) throw metadata.Broken(key, $"must be from 1 to {maximum}, but is {values[0]}");
        return values.All(v => v == values[0]) ? (int)values[0] : throw metadata.Broken(key, "differs between layers", Unsupported);
    }

    private static RopeScaling ReadRope(GgufFile file, string name, int headDim, IReadOnlyDictionary<string, StoredTensor> tensors)
    {
        GgufMetadata metadata = file.Metadata;
        double theta = metadata.Number($"{name}.rope.freq_base", 1, 1e15) ?? 10_000;
        string type = metadata.Text($"{name}.rope.scaling.type") ?? "none";
        double? factor = metadata.Number($"{name}.rope.scaling.factor", 0, 1e6) ?? metadata.Number($"{name}.rope.scale_linear", 0, 1e6);
        bool linear = type == "linear" || type == "none" && !metadata.Has($"{name}.rope.scaling.type") && factor is not (null or 0 or 1);
        if (type is not ("none" or "linear"))
            throw metadata.Broken($"{name}.rope.scaling.type", $"\"{type}\" is not supported", "Supported RoPE scalings: none, linear, and the frequencies of Llama 3.");
        if (linear && factor is null or < 1 and not 0)
            throw metadata.Broken($"{name}.rope.scaling.factor", $"must be at least 1, but is {metadata.TextOf($"{name}.rope.scaling.factor")}");
        if (!tensors.TryGetValue(GgufNames.RopeDivisors, out StoredTensor? divisors))
            return linear && factor > 1 ? new RopeScaling(theta, RopeScalingKind.Linear, factor.Value) : new RopeScaling(theta);
        if (linear) throw metadata.Broken($"{name}.rope.scaling.type", $"is linear, but the file also holds \"{GgufNames.RopeDivisors}\"", Unsupported);
        return new RopeScaling(theta, RopeScalingKind.Divisors) { Divisors = ReadDivisors(file, divisors, headDim) };
    }

    private static float[] ReadDivisors(GgufFile file, StoredTensor tensor, int headDim)
    {
        if (tensor.Type != Numerics.DType.F32 || tensor.Shape is not [var length] || length != headDim / 2)
            throw Broken($"must be F32 [{headDim / 2}], one number per rotated pair, but is {tensor.Type} {tensor.ShapeText}");
        var bytes = new byte[tensor.Bytes];
        file.Read(tensor, 0, bytes);
        var values = new float[headDim / 2];
        Numerics.DTypeConverter.ToSingle(tensor.Type, bytes, values);
        return values.All(v => v is > 0 and <= 1e6f) ? values : throw Broken("holds a number that is not from above 0 to 1000000");

        ModelFormatException Broken(string rule) => new(tensor.File, $"\"{tensor.Name}\"", rule, "Convert the model again.");
    }

    /// <summary>The sliding window, or 0 where there is none or it is no narrower than the context.</summary>
    private static int ReadWindow(GgufMetadata metadata, string name)
    {
        int window = (int)(metadata.Integer($"{name}.{WindowKey}", 0, int.MaxValue) ?? 0);
        return window < metadata.RequiredInteger($"{name}.context_length", 1, ModelConfig.MaxContext) ? window : 0;
    }

    private static int[] Windows(GgufMetadata metadata, string key, ModelFamily family, int layers, int window)
    {
        if (window > 0 && (!family.GgufWindowsAllLayers || metadata.Has($"{key}_pattern")))
            throw metadata.Broken(key, $"is {window}, and the file does not say which layers it concerns", Unsupported);
        var windows = new int[layers];
        Array.Fill(windows, window);
        return windows;
    }

    /// <summary>The ends that the metadata names, then well-known control tokens that end an answer or a turn.</summary>
    private static List<int> ReadEos(GgufMetadata metadata, int vocab)
    {
        var ends = new List<int>();
        foreach (string kind in (string[])["eos", "eot", "eom"])
        {
            if ((int?)metadata.Integer($"tokenizer.ggml.{kind}_token_id", 0, vocab - 1) is { } id && !ends.Contains(id)) ends.Add(id);
        }

        if (metadata.TypeOf("tokenizer.ggml.token_type") != GgufValueType.Array || metadata.Integers("tokenizer.ggml.token_type") is not { } types) return ends;
        string[] tokens = metadata.Texts("tokenizer.ggml.tokens") ?? [];
        for (int id = 0; id < tokens.Length && id < types.Length; id++)
        {
            if (types[id] == (int)Tokenization.GgufTokenType.Control && EndTokens.Contains(tokens[id]) && !ends.Contains(id)) ends.Add(id);
        }

        return ends;
    }
}
