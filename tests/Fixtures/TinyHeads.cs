using System.Text.Json.Nodes;
using Foretoken.Formats;
using Foretoken.Numerics;

namespace Foretoken.Tests.Fixtures;

/// <summary>
/// Trained drafters with random weights in the published layouts, for a target of <see cref="TinyModel"/>'s sizes. Same properties, same bytes; the float64
/// references of the tests read the same values by the layouts' names.
/// </summary>
public sealed class TinyHeads(ulong seed = 1)
{
    private readonly List<SafetensorsEntry> _entries = [];
    private uint _stream;

    /// <summary>What was written, by name. // row-major</summary>
    public Dictionary<string, double[]> Values { get; } = new(StringComparer.Ordinal);

    /// <summary>Medusa's heads. The output matrices are random, or those of the target with noise, so that drafts are right now and then.</summary>
    /// <param name="directory">Created where it is missing.</param>
    /// <param name="layout"><c>medusa</c> (FasterDecoding), <c>vllm</c>, or either with a prefix in front: <c>medusa_heads.vllm</c>.</param>
    /// <param name="target">The target, whose head the output matrices resemble; its weights are read from its tensors.</param>
    /// <param name="heads">How many.</param>
    /// <param name="blocks">Residual blocks of each.</param>
    /// <param name="config">Changes of config.json: name and JSON text, null removes.</param>
    public TinyHeads Medusa(string directory, string layout, TinyModel target, int heads = 3, int blocks = 1, params (string Name, string? Json)[] config)
    {
        bool lists = layout.EndsWith("vllm", StringComparison.Ordinal);
        string prefix = layout.Contains('.', StringComparison.Ordinal) ? layout[..(layout.IndexOf('.', StringComparison.Ordinal) + 1)] : "";
        float[] head = target.Tensors().Single(t => t.Name == "lm_head.weight").Values;
        for (int i = 0; i < heads; i++)
        {
            for (int j = 0; j < blocks; j++)
            {
                string name = lists ? $"{prefix}blocks.{i}.layers.{j}" : $"{prefix}{i}.{j}.linear";
                Random(name + ".weight", 0.3 / Math.Sqrt(target.Hidden), 0, target.Hidden, target.Hidden);
                if (!lists) Random(name + ".bias", 0.1, 0, target.Hidden);
            }

            string output = lists ? $"{prefix}lm_heads.{i}.weight" : $"{prefix}{i}.{blocks}.weight";
            double noise = 0.3 / Math.Sqrt(target.Hidden);
            Add(output, [.. head.Select((w, n) => w + (float)(noise * Gaussian(n)))], target.Vocab, target.Hidden);
            _stream++;
        }

        var json = lists
            ? new JsonObject { ["model_type"] = "medusa", ["hidden_size"] = target.Hidden, ["vocab_size"] = target.Vocab, ["num_heads"] = heads, ["num_hidden_layers"] = blocks }
            : new JsonObject { ["medusa_num_heads"] = heads, ["medusa_num_layers"] = blocks, ["base_model_name_or_path"] = "target" };
        Write(directory, lists ? "model.safetensors" : "medusa_lm_head.safetensors", json, config);
        return this;
    }

    /// <summary>An EAGLE or MTP drafter of one layer (two where the layout is <c>eagle1-2layers</c>), sized like the target.</summary>
    /// <param name="directory">Created where it is missing.</param>
    /// <param name="layout">
    /// <c>eagle3</c> (midlayer), <c>eagle3-renamed</c>, <c>speculators</c>, <c>eagle1</c>, <c>eagle1-2layers</c>, <c>mtp-deepseek</c> or <c>mtp-qwen</c>.
    /// </param>
    /// <param name="target">The target.</param>
    /// <param name="draftVocab">Tokens that can be drafted, every third of the target's or so; 0 = all, without d2t.</param>
    /// <param name="config">Changes of config.json: name and JSON text, null removes.</param>
    public TinyHeads Eagle(string directory, string layout, TinyModel target, int draftVocab = 0, params (string Name, string? Json)[] config)
    {
        int hidden = target.Hidden;
        bool eagle3 = layout.StartsWith("eagle3", StringComparison.Ordinal) || layout.StartsWith("speculators", StringComparison.Ordinal), deepseek = layout == "mtp-deepseek", qwen = layout == "mtp-qwen";
        string outer = deepseek ? "model.layers.2." : qwen ? "mtp." : "", layer = layout == "eagle3" ? "midlayer." : deepseek ? outer : qwen ? "mtp.layers.0." : "layers.0.";
        float[] table = target.Tensors().First().Values, head = target.Tensors().Last().Values;
        if (!eagle3 && !qwen) Add(outer + "embed_tokens.weight", table, target.Vocab, hidden);
        Random(outer + (deepseek ? "eh_proj.weight" : "fc.weight"), 1 / Math.Sqrt(hidden), 0, hidden, (eagle3 ? 3 : 2) * hidden);
        if (layout == "eagle1") Random("fc.bias", 0.1, 0, hidden);
        if (layout == "speculators-input") Random("input_norm.weight", 0.2, 1, 3 * hidden);
        if (layout == "speculators-fc") Gains("fc_norm.0", "fc_norm.1", "fc_norm.2");
        if (eagle3) Gains(layer + "hidden_norm", layer + "input_layernorm", "norm");
        if (deepseek) Gains(outer + "enorm", outer + "hnorm", outer + "shared_head.norm", outer + "input_layernorm");
        if (qwen) Gains(outer + "pre_fc_norm_embedding", outer + "pre_fc_norm_hidden", outer + "norm", layer + "input_layernorm");
        Block(layer, target, eagle3 ? 2 * hidden : hidden);
        if (layout == "eagle1-2layers")
        {
            Gains("layers.1.input_layernorm");
            Block("layers.1.", target, hidden);
        }

        int vocab = draftVocab > 0 ? draftVocab : target.Vocab, step = target.Vocab / vocab;
        if (eagle3) Add("lm_head.weight", [.. Enumerable.Range(0, vocab).SelectMany(i => head[(i * step * hidden)..((i * step + 1) * hidden)])], vocab, hidden);
        if (deepseek) Add(outer + "shared_head.head.weight", head, target.Vocab, hidden);
        if (draftVocab > 0)
        {
            Add("d2t", "I64", [.. Enumerable.Range(0, vocab).SelectMany(i => BitConverter.GetBytes((long)(i * step - i)))], vocab);
            Add("t2d", "BOOL", [.. Enumerable.Range(0, target.Vocab).Select(t => (byte)(t % step == 0 && t / step < vocab ? 1 : 0))], target.Vocab);
        }

        Write(directory, "model.safetensors", EagleJson(layout, target, vocab, draftVocab > 0), config);
        return this;

        void Gains(params string[] names)
        {
            foreach (string name in names) Random(name + ".weight", 0.2, 1, hidden);
        }
    }

    private static JsonObject EagleJson(string layout, TinyModel target, int vocab, bool reduced)
    {
        var sizes = new JsonObject
        {
            ["model_type"] = "llama", ["hidden_size"] = target.Hidden, ["intermediate_size"] = target.Intermediate, ["num_attention_heads"] = target.Heads,
            ["num_key_value_heads"] = target.KvHeads, ["head_dim"] = target.HeadDim, ["num_hidden_layers"] = layout == "eagle1-2layers" ? 2 : 1, ["hidden_act"] = "silu",
            ["rms_norm_eps"] = 1e-6, ["rope_theta"] = 10000, ["vocab_size"] = target.Vocab, ["max_position_embeddings"] = 64,
        };
        JsonObject json = layout.StartsWith("speculators", StringComparison.Ordinal)
            ? new JsonObject
            {
                ["architectures"] = new JsonArray("Eagle3Speculator"), ["speculators_model_type"] = "eagle3", ["transformer_layer_config"] = sizes, ["norm_before_residual"] = true,
                ["norm_before_fc"] = layout == "speculators-input", ["fc_norm"] = layout == "speculators-fc", ["norm_output"] = layout == "speculators-input",
                ["speculators_config"] = new JsonObject { ["algorithm"] = "eagle3" },
            }
            : sizes;
        if (reduced) json["draft_vocab_size"] = vocab;
        if (layout.StartsWith("eagle3", StringComparison.Ordinal) || layout.StartsWith("speculators", StringComparison.Ordinal))
            json["eagle_aux_hidden_state_layer_ids"] = new JsonArray([0, 1, target.Layers]);
        return json;
    }

    private void Block(string layer, TinyModel target, int width)
    {
        int queries = target.Heads * target.HeadDim, keys = target.KvHeads * target.HeadDim, hidden = target.Hidden;
        Random(layer + "self_attn.q_proj.weight", 1.6 / Math.Sqrt(width), 0, queries, width);
        Random(layer + "self_attn.k_proj.weight", 1.6 / Math.Sqrt(width), 0, keys, width);
        Random(layer + "self_attn.v_proj.weight", 1 / Math.Sqrt(width), 0, keys, width);
        Random(layer + "self_attn.o_proj.weight", 1 / Math.Sqrt(queries), 0, hidden, queries);
        Random(layer + "post_attention_layernorm.weight", 0.2, 1, hidden);
        Random(layer + "mlp.gate_proj.weight", 1.5 / Math.Sqrt(hidden), 0, target.Intermediate, hidden);
        Random(layer + "mlp.up_proj.weight", 1 / Math.Sqrt(hidden), 0, target.Intermediate, hidden);
        Random(layer + "mlp.down_proj.weight", 1 / Math.Sqrt(target.Intermediate), 0, hidden, target.Intermediate);
    }

    /// <summary>Adds a random tensor.</summary>
    public void Random(string name, double deviation, double mean, params int[] shape)
    {
        var random = new SeededRandom(seed, _stream++);
        var values = new float[shape.Aggregate(1, (a, b) => a * b)];
        for (int i = 0; i < values.Length; i++) values[i] = (float)(mean + deviation * random.NextGaussian());
        Add(name, values, shape);
    }

    /// <summary>Adds a tensor of floats.</summary>
    public void Add(string name, float[] values, params int[] shape)
    {
        Values[name] = [.. values.Select(v => (double)v)];
        _entries.Add(new SafetensorsEntry(name, "F32", [.. shape.Select(d => (long)d)], RawSafetensors.Encode(values, "F32")));
    }

    /// <summary>Adds a tensor of another type.</summary>
    public void Add(string name, string type, byte[] bytes, int count) => _entries.Add(new SafetensorsEntry(name, type, [count], bytes));

    /// <summary>Adds the tensors of another drafter but for some.</summary>
    public void AddAll(TinyHeads other, params string[] except) => _entries.AddRange(other._entries.Where(e => !except.Contains(e.Name)));

    /// <summary>Writes what was added, and config.json.</summary>
    public void Write(string directory, string file, JsonObject json, (string Name, string? Json)[] config)
    {
        Directory.CreateDirectory(directory);
        foreach ((string name, string? value) in config)
        {
            if (value is null) json.Remove(name);
            else json[name] = JsonNode.Parse(value);
        }

        TinyModel.WriteJson(directory, "config.json", json);
        SafetensorsWriter.Write(Path.Combine(directory, file), _entries);
    }

    private double Gaussian(int n) => new SeededRandom(seed + (ulong)n, _stream).NextGaussian();
}
