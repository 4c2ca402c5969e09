using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Numerics;

namespace Foretoken.Models.Export;

/// <summary>Writes any model that can be opened as config.json, generation_config.json and model.safetensors; the tokenizer's files are the caller's.</summary>
public static class HuggingFaceExport
{
    private static readonly JsonWriterOptions Indented = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Scalings that Llama 3 models were published with: factor at low 1, high 4, original context 8192.</summary>
    private static readonly double[] PublishedFactors = [8, 32];

    /// <summary>Writes a model into an existing empty directory.</summary>
    /// <exception cref="ModelFormatException">A weight is damaged or does not fit the type, or the format cannot hold the model.</exception>
    /// <exception cref="ArgumentException">The mix has types that safetensors files do not hold.</exception>
    public static void Write(string directory, ModelSource source, ExportOptions options)
    {
        if (!options.Mix.IsPlain) throw new ArgumentException($"A Hugging Face directory holds f32, f16 or bf16, not {options.Mix.Name}.", nameof(options));
        ModelConfig config = source.Config;
        RopeScaling rope = Rope(source);
        DType type = options.Mix.TypeOf(WeightSpec.Of(config).First(), config);
        WriteJson(Path.Combine(directory, "config.json"), json => WriteConfig(json, config, rope, type));
        WriteJson(Path.Combine(directory, "generation_config.json"), json =>
        {
            json.WriteBoolean("do_sample", config.Generation.DoSample ?? false);
            WriteEos(json, config);
        });
        var encoder = new RowEncoder(options);
        WeightSpec[] specs = [.. WeightSpec.Of(config)];
        long total = specs.Sum(source.StoredBytes), done = 0;
        using var stream = new FileStream(Path.Combine(directory, SafetensorsModel.SingleName), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
        SafetensorsWriter.Write(stream, specs.Select(spec =>
        {
            string name = HuggingFaceNames.Of(spec);
            DType stored = spec.IsMatrix && !spec.IsDecision ? type : DType.F32;
            return new StreamedTensor(name, stored, spec.Shape, s =>
            {
                options.Cancellation.ThrowIfCancellationRequested();
                if (spec.IsMatrix) encoder.Write(s, source.Origin, source.Matrix(spec), stored, rowOf: null);
                else s.Write(MemoryMarshal.AsBytes<float>(source.Vector(spec)));
                options.Progress?.Report(new LoadProgress(name, done += source.StoredBytes(spec), total));
            });
        }), new Dictionary<string, string> { ["format"] = "pt" });
        source.VerifyUnchanged();
    }

    private static void WriteConfig(Utf8JsonWriter json, ModelConfig config, RopeScaling rope, DType type)
    {
        TransformerShape s = config.Shape;
        json.WriteStartArray("architectures");
        json.WriteStringValue(config.Architecture);
        json.WriteEndArray();
        json.WriteString("model_type", config.Family);
        if (config.Family is "llama" or "qwen3") json.WriteBoolean("attention_bias", config.QkvBias);
        if (config.BosTokenId is { } bos) json.WriteNumber("bos_token_id", bos);
        WriteEos(json, config);
        json.WriteNumber("head_dim", s.HeadDim);
        json.WriteString("hidden_act", "silu");
        json.WriteNumber("hidden_size", s.HiddenSize);
        json.WriteNumber("intermediate_size", s.IntermediateSize);
        json.WriteNumber("max_position_embeddings", s.MaxPositions);
        json.WriteNumber("num_attention_heads", s.HeadCount);
        json.WriteNumber("num_hidden_layers", s.LayerCount);
        json.WriteNumber("num_key_value_heads", s.KvHeadCount);
        json.WriteNumber("rms_norm_eps", s.RmsNormEpsilon);
        json.WriteNumber("rope_theta", rope.Theta);
        WriteScaling(json, rope);
        WriteWindows(json, config);
        json.WriteBoolean("tie_word_embeddings", config.TiedEmbeddings);
        json.WriteString("torch_dtype", type switch { DType.BF16 => "bfloat16", DType.F16 => "float16", _ => "float32" });
        json.WriteNumber("vocab_size", s.VocabSize);
        if (config.Dms is { } dms) WriteDecisions(json, dms);
    }

    private static void WriteDecisions(Utf8JsonWriter json, DmsConfig dms)
    {
        json.WriteNumber("dms_window_size", dms.Window);
        json.WriteNumber("dms_alpha_scale", dms.Scale);
        json.WriteNumber("dms_initial_alpha_offset", dms.Offset);
        json.WriteBoolean("dms_separate_alpha", dms.Adapter);
        json.WriteString("dms_alpha_per", dms.PerLayer ? "layer" : "head");
        json.WriteBoolean("dms_one_token_shift", dms.Shift == 1);
        json.WriteBoolean("dms_zero_after_rope", dms.ZeroAfterRope);
        json.WriteBoolean("dms_disable_eviction", dms.Disabled);
        if (dms.Compression is { } compression) json.WriteNumber("dms_cr", compression);
    }

    private static void WriteScaling(Utf8JsonWriter json, RopeScaling rope)
    {
        if (rope.Kind == RopeScalingKind.None) return;
        json.WriteStartObject("rope_scaling");
        json.WriteString("rope_type", rope.Kind == RopeScalingKind.Linear ? "linear" : "llama3");
        json.WriteNumber("factor", rope.Factor);
        if (rope.Kind == RopeScalingKind.Llama3)
        {
            json.WriteNumber("low_freq_factor", rope.LowFrequencyFactor);
            json.WriteNumber("high_freq_factor", rope.HighFrequencyFactor);
            json.WriteNumber("original_max_position_embeddings", rope.OriginalContext);
        }

        json.WriteEndObject();
    }

    private static void WriteWindows(Utf8JsonWriter json, ModelConfig config)
    {
        int window = config.SlidingWindows.Max();
        if (config.Family == "mistral" && window == 0) json.WriteNull("sliding_window");
        if (window == 0) return;
        json.WriteNumber("sliding_window", window);
        if (config.Family == "mistral") return;
        json.WriteBoolean("use_sliding_window", true);
        json.WriteStartArray("layer_types");
        foreach (int w in config.SlidingWindows) json.WriteStringValue(w == 0 ? "full_attention" : "sliding_attention");
        json.WriteEndArray();
    }

    private static void WriteEos(Utf8JsonWriter json, ModelConfig config)
    {
        if (config.EosTokenIds.Count == 0) return;
        json.WriteStartArray("eos_token_id");
        foreach (int id in config.EosTokenIds) json.WriteNumberValue(id);
        json.WriteEndArray();
    }

    /// <summary>A GGUF file holds the divided frequencies of Llama 3 and not the scaling that they come from; the published ones are recognised.</summary>
    private static RopeScaling Rope(ModelSource source)
    {
        RopeScaling rope = source.Config.Rope;
        if (rope.Kind != RopeScalingKind.Divisors) return rope;
        double[] wanted = source.Config.Shape.RopeInverseFrequencies;
        foreach (double factor in PublishedFactors)
        {
            var candidate = new RopeScaling(rope.Theta, RopeScalingKind.Llama3, factor, 1, 4, 8192);
            double[] frequencies = candidate.InverseFrequencies(source.Config.Shape.HeadDim);
            if (frequencies.Zip(wanted, (a, b) => Math.Abs(a / b - 1)).All(error => error < 1e-5)) return candidate;
        }

        throw new ModelFormatException(source.Origin, $"\"{GgufNames.RopeDivisors}\"", "scales RoPE in a way that config.json cannot describe", "Keep the GGUF file, which can be run as it is.");
    }

    private static void WriteJson(string path, Action<Utf8JsonWriter> content)
    {
        using var stream = new FileStream(path, FileMode.CreateNew, FileAccess.Write);
        using (var json = new Utf8JsonWriter(stream, Indented))
        {
            json.WriteStartObject();
            content(json);
            json.WriteEndObject();
        }

        stream.WriteByte((byte)'\n');
    }
}
