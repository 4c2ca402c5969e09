using System.Buffers.Binary;
using System.Text.Json;

namespace Foretoken.Tests.Fixtures;

/// <summary>
/// The same transformer in float64 and plain loops, with its own reading of config.json and safetensors: shares no code with the engine, so that
/// both are wrong together only if both misunderstand the model. Reads each file whole; for tiny models.
/// </summary>
public sealed class ReferenceTransformer
{
    private readonly JsonElement _config;
    private readonly Dictionary<string, double[]> _weights = [];
    private readonly int _hidden, _heads, _kvHeads, _headDim, _intermediate, _vocab, _layers;
    private readonly double _epsilon;
    private readonly Func<double, double> _stored;
    private readonly double[] _frequencies;
    private double[][] _lent = []; // [rows][kvHeads] channels that queries lend to eviction decisions

    /// <param name="directory">A Hugging Face directory.</param>
    /// <param name="matrixRow">Applied to every row of every matrix, for example to round it as a weight type does.</param>
    /// <param name="stored">Applied to every element of the keys (after RoPE) and values, for example to round it as a KV type does.</param>
    public ReferenceTransformer(string directory, Action<float[]>? matrixRow = null, Func<double, double>? stored = null)
    {
        _stored = stored ?? (v => v);
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Path.Combine(directory, "config.json")));
        _config = document.RootElement.Clone();
        _hidden = Int("hidden_size");
        _heads = Int("num_attention_heads");
        _kvHeads = Int("num_key_value_heads");
        _headDim = _config.TryGetProperty("head_dim", out JsonElement d) ? d.GetInt32() : _hidden / _heads;
        _intermediate = Int("intermediate_size");
        _vocab = Int("vocab_size");
        _layers = Int("num_hidden_layers");
        _epsilon = _config.GetProperty("rms_norm_eps").GetDouble();
        _frequencies = Frequencies();
        foreach (string file in Directory.EnumerateFiles(directory, "*.safetensors")) ReadFile(file, matrixRow);
    }

    /// <summary>Follows the model's eviction decisions; channels that queries lend are zero in any case.</summary>
    public bool Evicts { get; init; }

    /// <summary>The eviction logit that came nearest to 0: decisions in less precise arithmetic agree while it is larger than that arithmetic's error.</summary>
    public double SmallestMargin { get; private set; } = double.PositiveInfinity;

    /// <summary>Logits of every position. // [ids, vocab]</summary>
    public double[][] Forward(int[] ids)
    {
        string head = _weights.ContainsKey("lm_head.weight") ? "lm_head" : "model.embed_tokens";
        return [.. States(ids)[^1].Select(r => Linear(r, head, _vocab))];
    }

    /// <summary>The residual stream that enters each layer, what leaves the last layer, and behind that what the final norm makes of it. // [layers + 2][ids][hidden]</summary>
    public double[][][] States(int[] ids)
    {
        var states = new List<double[][]>();
        double[][] x = [.. ids.Select(id => Weight("model.embed_tokens").AsSpan(id * _hidden, _hidden).ToArray())];
        for (int layer = 0; layer < _layers; layer++)
        {
            string name = $"model.layers.{layer}.";
            states.Add([.. x]);
            double[][] attention = Attend(layer, x, [.. x.Select(r => Norm(r, Weight(name + "input_layernorm")))]);
            for (int t = 0; t < x.Length; t++)
            {
                x[t] = Add(x[t], Linear(attention[t], name + "self_attn.o_proj", _hidden));
                x[t] = Add(x[t], Mlp(name + "mlp.", Norm(x[t], Weight(name + "post_attention_layernorm"))));
            }
        }

        return [.. states, x, [.. x.Select(r => Norm(r, Weight("model.norm")))]];
    }

    /// <param name="layer">Layer.</param>
    /// <param name="raw">The residual stream. // [rows][hidden]</param>
    /// <param name="x">The same normalised.</param>
    private double[][] Attend(int layer, double[][] raw, double[][] x)
    {
        string name = $"model.layers.{layer}.self_attn.";
        int rows = x.Length, window = Window(layer);
        _lent = [.. x.Select(_ => new double[_kvHeads])];
        double[][][] q = Heads(x, name + "q", _heads, rotate: true);
        bool[][,] hidden = Hidden(name, raw);
        double[][][] k = Stored(Heads(x, name + "k", _kvHeads, rotate: true)), v = Stored(Heads(x, name + "v", _kvHeads, rotate: false));
        var output = new double[rows][]; // [rows, heads·headDim]
        for (int t = 0; t < rows; t++)
        {
            output[t] = new double[_heads * _headDim];
            for (int h = 0; h < _heads; h++)
            {
                int kv = h / (_heads / _kvHeads), first = Math.Max(0, t - window + 1);
                var p = new double[t - first + 1];
                for (int s = first; s <= t; s++) p[s - first] = hidden[kv][t, s] ? double.NegativeInfinity : Dot(q[t][h], k[s][kv]) / Math.Sqrt(_headDim);
                double max = p.Max();
                for (int i = 0; i < p.Length; i++) p[i] = Math.Exp(p[i] - max);
                double sum = p.Sum();
                for (int s = first; s <= t; s++)
                    for (int i = 0; i < _headDim; i++) output[t][h * _headDim + i] += p[s - first] / sum * v[s][kv][i];
            }
        }

        return output;
    }

    /// <summary>The explicit mask of delayed eviction, rows by keys. // [kvHeads][rows, rows]</summary>
    private bool[][,] Hidden(string name, double[][] raw)
    {
        int rows = raw.Length, shift = Flag("dms_one_token_shift", true) ? 1 : 0;
        bool[][,] hidden = [.. Enumerable.Range(0, _kvHeads).Select(_ => new bool[rows, rows])];
        if (!Evicts) return hidden;
        int window = Int("dms_window_size");
        double scale = _config.GetProperty("dms_alpha_scale").GetDouble(), offset = _config.GetProperty("dms_initial_alpha_offset").GetDouble();
        bool perLayer = _config.TryGetProperty("dms_alpha_per", out JsonElement per) && per.GetString() == "layer";
        for (int t = 0; t < rows; t++)
        {
            double[] logits = Adapter ? Linear(Norm(raw[t], Weight(name + "dms_proj_alpha_norm")), name + "dms_proj_alpha", _kvHeads) : _lent[t];
            for (int kv = 0; kv < _kvHeads; kv++)
            {
                double logit = logits[perLayer ? 0 : kv] * scale - offset;
                SmallestMargin = Math.Min(SmallestMargin, Math.Abs(logit));
                int token = t - shift;
                for (int row = token + window + 1; logit > 0 && token >= 0 && row < rows; row++) hidden[kv][row, token] = true;
            }
        }

        return hidden;
    }

    private double[][][] Stored(double[][][] rows) => [.. rows.Select(heads => heads.Select(head => head.Select(_stored).ToArray()).ToArray())];

    /// <summary>Projection, bias, per-head norm, rotation. // [rows][heads][headDim]</summary>
    private double[][][] Heads(double[][] x, string name, int heads, bool rotate)
    {
        bool normed = _weights.TryGetValue(name + "_norm.weight", out double[]? gain);
        return [.. x.Select((row, position) =>
        {
            double[] all = Linear(row, name + "_proj", heads * _headDim);
            return Enumerable.Range(0, heads).Select(h =>
            {
                double[] head = all[(h * _headDim)..((h + 1) * _headDim)];
                if (normed) head = Norm(head, gain!);
                bool lends = Borrows && name.EndsWith(".q", StringComparison.Ordinal) && h % (_heads / _kvHeads) == 0;
                if (lends)
                {
                    _lent[position][h / (_heads / _kvHeads)] = head[_headDim - 1];
                    head[_headDim - 1] = 0;
                }

                if (rotate) head = Rotate(head, position);
                if (lends && Flag("dms_zero_after_rope", true)) head[_headDim - 1] = 0;
                return head;
            }).ToArray();
        })];
    }

    private double[] Rotate(double[] head, int position)
    {
        var result = new double[_headDim];
        int half = _headDim / 2;
        for (int i = 0; i < half; i++)
        {
            double cos = Math.Cos(position * _frequencies[i]), sin = Math.Sin(position * _frequencies[i]);
            result[i] = head[i] * cos - head[i + half] * sin;
            result[i + half] = head[i + half] * cos + head[i] * sin;
        }

        return result;
    }

    private double[] Mlp(string name, double[] x)
    {
        double[] gate = Linear(x, name + "gate_proj", _intermediate), up = Linear(x, name + "up_proj", _intermediate);
        return Linear([.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)], name + "down_proj", _hidden);
    }

    private double[] Norm(double[] x, double[] gain)
    {
        double scale = 1 / Math.Sqrt(x.Sum(v => v * v) / x.Length + _epsilon);
        return [.. x.Select((v, i) => v * scale * gain[i])];
    }

    private double[] Linear(double[] x, string name, int outFeatures)
    {
        double[] w = Weight(name);
        bool biased = _weights.TryGetValue(name + ".bias", out double[]? bias);
        var y = new double[outFeatures];
        for (int o = 0; o < outFeatures; o++) y[o] = Dot(w.AsSpan(o * x.Length, x.Length), x) + (biased ? bias![o] : 0);
        return y;
    }

    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++) sum += a[i] * b[i];
        return sum;
    }

    private static double[] Add(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x + y)];

    private bool Adapter => Flag("dms_separate_alpha", false);

    private bool Borrows => _config.TryGetProperty("dms_window_size", out _) && !Adapter;

    private bool Flag(string name, bool fallback) => _config.TryGetProperty(name, out JsonElement value) ? value.GetBoolean() : fallback;

    private double[] Weight(string name) => _weights[name + ".weight"];

    private int Int(string name) => _config.GetProperty(name).GetInt32();

    /// <summary>Keys that a row of the layer sees, itself included.</summary>
    private int Window(int layer)
    {
        if (!_config.TryGetProperty("sliding_window", out JsonElement window) || window.ValueKind == JsonValueKind.Null) return int.MaxValue / 2;
        if (_config.GetProperty("model_type").GetString() == "mistral") return window.GetInt32();
        bool use = _config.TryGetProperty("use_sliding_window", out JsonElement u) && u.GetBoolean();
        bool slides = _config.TryGetProperty("layer_types", out JsonElement types)
            ? types[layer].GetString() == "sliding_attention"
            : use && layer >= Int("max_window_layers");
        return slides ? window.GetInt32() : int.MaxValue / 2;
    }

    private double[] Frequencies()
    {
        double theta = _config.GetProperty("rope_theta").GetDouble();
        double[] frequencies = [.. Enumerable.Range(0, _headDim / 2).Select(i => 1 / Math.Pow(theta, 2.0 * i / _headDim))];
        if (!_config.TryGetProperty("rope_scaling", out JsonElement s) || s.ValueKind == JsonValueKind.Null) return frequencies;
        double factor = s.GetProperty("factor").GetDouble();
        if (s.GetProperty("rope_type").GetString() == "linear") return [.. frequencies.Select(f => f / factor)];
        double low = s.GetProperty("low_freq_factor").GetDouble(), high = s.GetProperty("high_freq_factor").GetDouble();
        double original = s.GetProperty("original_max_position_embeddings").GetDouble();
        return [.. frequencies.Select(f =>
        {
            double turns = original * f / (2 * Math.PI); // full turns within the original context
            double smooth = Math.Clamp((turns - low) / (high - low), 0, 1);
            return f / (1 / ((1 - smooth) / factor + smooth));
        })];
    }

    private void ReadFile(string path, Action<float[]>? matrixRow)
    {
        byte[] bytes = File.ReadAllBytes(path);
        int start = 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        using JsonDocument header = JsonDocument.Parse(bytes.AsMemory(8, start - 8));
        foreach (JsonProperty tensor in header.RootElement.EnumerateObject())
        {
            if (tensor.Name == "__metadata__") continue;
            int[] shape = [.. tensor.Value.GetProperty("shape").EnumerateArray().Select(e => e.GetInt32())];
            JsonElement offsets = tensor.Value.GetProperty("data_offsets");
            float[] values = Decode(bytes.AsSpan(start + offsets[0].GetInt32(), offsets[1].GetInt32() - offsets[0].GetInt32()), tensor.Value.GetProperty("dtype").GetString()!);
            for (int row = 0; matrixRow is not null && shape.Length == 2 && row < shape[0]; row++)
            {
                float[] copy = values[(row * shape[1])..((row + 1) * shape[1])];
                matrixRow(copy);
                copy.CopyTo(values, row * shape[1]);
            }

            _weights[tensor.Name] = [.. values.Select(v => (double)v)];
        }
    }

    private static float[] Decode(ReadOnlySpan<byte> bytes, string dtype)
    {
        int size = dtype switch { "F64" => 8, "F32" => 4, _ => 2 };
        var values = new float[bytes.Length / size];
        for (int i = 0; i < values.Length; i++)
        {
            ReadOnlySpan<byte> at = bytes[(i * size)..];
            values[i] = dtype switch
            {
                "F64" => (float)BinaryPrimitives.ReadDoubleLittleEndian(at),
                "F32" => BinaryPrimitives.ReadSingleLittleEndian(at),
                "F16" => (float)BinaryPrimitives.ReadHalfLittleEndian(at),
                "BF16" => BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(at) << 16),
                _ => throw new ArgumentException(dtype),
            };
        }

        return values;
    }
}
