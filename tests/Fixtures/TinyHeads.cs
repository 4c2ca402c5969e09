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
