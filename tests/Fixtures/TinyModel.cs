using System.Text.Json;
using System.Text.Json.Nodes;
using Foretoken.Numerics;

namespace Foretoken.Tests.Fixtures;

/// <summary>
/// A small model with random weights as a complete Hugging Face directory (config, generation config, weights, tokenizer and chat template), for
/// tests of everything above the formats. Same properties, same bytes. Sizes are odd on purpose: nothing is a multiple of a vector or a block.
/// </summary>
public sealed record TinyModel
{
    /// <summary>llama, mistral, qwen2 or qwen3.</summary>
    public string Family { get; init; } = "qwen3";
    public ulong Seed { get; init; } = 1;
    public int Layers { get; init; } = 2;
    public int Hidden { get; init; } = 64;
    public int Heads { get; init; } = 4;
    public int KvHeads { get; init; } = 2;
    public int HeadDim { get; init; } = 16;
    public int Intermediate { get; init; } = 108;

    /// <summary>At least 259 and at most 935 for a tokenizer to be written: 256 bytes, three special tokens, then pairs of letters.</summary>
    public int Vocab { get; init; } = 277;
    public int MaxPositions { get; init; } = 512;
    public bool Tied { get; init; }
    public int? SlidingWindow { get; init; }
    public double RopeTheta { get; init; } = 10_000;

    /// <summary>F32, F16, BF16 or F64.</summary>
    public string DType { get; init; } = "F32";

    /// <summary>Files that the weights are spread over; 1 = model.safetensors without an index.</summary>
    public int Shards { get; init; } = 1;

    /// <summary>Fields added to config.json or, with a null value, removed from it: [("rope_scaling", "{…}")] with JSON text as values.</summary>
    public IReadOnlyList<(string Name, string? Json)> Config { get; init; } = [];

    public const int EndToken = 256, UserToken = 257, AssistantToken = 258;

    /// <summary>Writes a model of default sizes; returns <paramref name="directory"/>.</summary>
    public static string Write(string directory, string family, ulong seed = 1, string dtype = "F32") =>
        new TinyModel { Family = family, Seed = seed, DType = dtype }.Write(directory);

    /// <summary>Writes the model; returns <paramref name="directory"/>.</summary>
    public string Write(string directory)
    {
        WriteConfig(directory);
        WriteWeights(directory, [.. Tensors()]);
        if (Vocab is >= 259 and <= 935) TinyTokenizer.Write(directory, Vocab);
        return directory;
    }

    /// <summary>Writes config.json and generation_config.json only.</summary>
    public void WriteConfig(string directory)
    {
        Directory.CreateDirectory(directory);
        WriteJson(directory, "config.json", ConfigJson());
        WriteJson(directory, "generation_config.json", new JsonObject { ["do_sample"] = false });
    }

    /// <summary>The weights before they are rounded to <see cref="DType"/>.</summary>
    public IEnumerable<TestTensor> Tensors()
    {
        uint stream = 0;
        double hidden = 1.0 / Math.Sqrt(Hidden);
        int queries = Heads * HeadDim, keys = KvHeads * HeadDim;
        yield return Random("model.embed_tokens.weight", stream++, 0.4, 0, Vocab, Hidden);
        for (int i = 0; i < Layers; i++)
        {
            string layer = $"model.layers.{i}.";
            yield return Random(layer + "input_layernorm.weight", stream++, 0.2, 1, Hidden);
            yield return Random(layer + "self_attn.q_proj.weight", stream++, 1.6 * hidden, 0, queries, Hidden);
            yield return Random(layer + "self_attn.k_proj.weight", stream++, 1.6 * hidden, 0, keys, Hidden);
            yield return Random(layer + "self_attn.v_proj.weight", stream++, hidden, 0, keys, Hidden);
            yield return Random(layer + "self_attn.o_proj.weight", stream++, 1 / Math.Sqrt(queries), 0, Hidden, queries);
            if (Family == "qwen2" || HasAttentionBias)
            {
                yield return Random(layer + "self_attn.q_proj.bias", stream++, 0.5, 0, queries);
                yield return Random(layer + "self_attn.k_proj.bias", stream++, 0.5, 0, keys);
                yield return Random(layer + "self_attn.v_proj.bias", stream++, 0.3, 0, keys);
            }

            if (HasAttentionBias && Family != "qwen2") yield return Random(layer + "self_attn.o_proj.bias", stream++, 0.2, 0, Hidden);
            if (Family == "qwen3")
            {
                yield return Random(layer + "self_attn.q_norm.weight", stream++, 0.3, 1.2, HeadDim);
                yield return Random(layer + "self_attn.k_norm.weight", stream++, 0.3, 1.2, HeadDim);
            }

            yield return Random(layer + "post_attention_layernorm.weight", stream++, 0.2, 1, Hidden);
            yield return Random(layer + "mlp.gate_proj.weight", stream++, 1.5 * hidden, 0, Intermediate, Hidden);
            yield return Random(layer + "mlp.up_proj.weight", stream++, hidden, 0, Intermediate, Hidden);
            yield return Random(layer + "mlp.down_proj.weight", stream++, 1 / Math.Sqrt(Intermediate), 0, Hidden, Intermediate);
        }

        yield return Random("model.norm.weight", stream++, 0.2, 1, Hidden);
        if (!Tied) yield return Random("lm_head.weight", stream, 2 * hidden, 0, Vocab, Hidden);
        if (!Config.Contains(("dms_separate_alpha", "true"))) yield break;
        foreach (TestTensor t in DecisionTensors()) yield return t;
    }

    /// <summary>The adapter of delayed eviction.</summary>
    public IEnumerable<TestTensor> DecisionTensors()
    {
        for (int i = 0; i < Layers; i++)
        {
            string name = $"model.layers.{i}.self_attn.dms_proj_alpha";
            yield return Random(name + "_norm.weight", (uint)(1000 + 3 * i), 0.2, 1, Hidden);
            yield return Random(name + ".weight", (uint)(1001 + 3 * i), 0.3 / Math.Sqrt(Hidden), 0, KvHeads, Hidden);
            if (HasAttentionBias) yield return Random(name + ".bias", (uint)(1002 + 3 * i), 0.3, 0, KvHeads);
        }
    }

    private bool HasAttentionBias => Config.Any(c => c is ("attention_bias", "true"));

    private JsonObject ConfigJson()
    {
        string architecture = Family switch
        {
            "llama" => "LlamaForCausalLM",
            "mistral" => "MistralForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3" => "Qwen3ForCausalLM",
            _ => throw new ArgumentException($"Unknown family {Family}."),
        };
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray(architecture),
            ["model_type"] = Family,
            ["hidden_size"] = Hidden,
            ["intermediate_size"] = Intermediate,
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = Heads,
            ["num_key_value_heads"] = KvHeads,
            ["head_dim"] = HeadDim,
            ["hidden_act"] = "silu",
            ["rms_norm_eps"] = 1e-6,
            ["rope_theta"] = RopeTheta,
            ["max_position_embeddings"] = MaxPositions,
            ["vocab_size"] = Vocab,
            ["tie_word_embeddings"] = Tied,
            ["eos_token_id"] = Vocab > EndToken ? EndToken : Vocab - 1,
            ["torch_dtype"] = DType switch { "BF16" => "bfloat16", "F16" => "float16", _ => "float32" },
        };
        if (Family == "mistral" || SlidingWindow is not null) json["sliding_window"] = SlidingWindow;
        foreach ((string name, string? value) in Config)
        {
            if (value is null) json.Remove(name);
            else json[name] = JsonNode.Parse(value); // null where the text is "null"
        }

        return json;
    }

    private void WriteWeights(string directory, TestTensor[] tensors)
    {
        if (Shards == 1)
        {
            RawSafetensors.Write(Path.Combine(directory, "model.safetensors"), tensors, DType);
            return;
        }

        var map = new JsonObject();
        long bytes = 0;
        for (int s = 0; s < Shards; s++)
        {
            string name = $"model-{s + 1:D5}-of-{Shards:D5}.safetensors";
            TestTensor[] part = [.. tensors.Where((_, i) => i % Shards == s)];
            foreach (TestTensor t in part) map[t.Name] = name;
            RawSafetensors.Write(Path.Combine(directory, name), part, DType);
            bytes += new FileInfo(Path.Combine(directory, name)).Length;
        }

        WriteJson(directory, "model.safetensors.index.json",
            new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = bytes }, ["weight_map"] = map });
    }

    private TestTensor Random(string name, uint stream, double deviation, double mean, params int[] shape)
    {
        var random = new SeededRandom(Seed, stream);
        var values = new float[shape.Aggregate(1, (a, b) => a * b)];
        for (int i = 0; i < values.Length; i++) values[i] = (float)(mean + deviation * random.NextGaussian());
        return new TestTensor(name, shape, values);
    }

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    internal static void WriteJson(string directory, string name, JsonObject json) =>
        File.WriteAllText(Path.Combine(directory, name), json.ToJsonString(Indented));
}
