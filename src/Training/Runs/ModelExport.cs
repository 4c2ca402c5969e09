using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using Foretoken.Formats;
using Foretoken.Numerics;
using Foretoken.Tokenization;

namespace Foretoken.Training;

/// <summary>Writes a trained model as an ordinary Hugging Face directory in bf16 that any other tool can open.</summary>
public static unsafe class ModelExport
{
    private static readonly string[] TokenizerFiles = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];
    private static readonly JsonWriterOptions Options = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>
    /// Writes config.json, generation_config.json, model.safetensors and the tokenizer's files into <paramref name="directory"/>; every file is
    /// replaced by a rename. <paramref name="include"/> leaves parameters out that are trained beside the model; <paramref name="end"/> is the end token, null: the
    /// tokenizer's &lt;|end|&gt;; <paramref name="more"/> adds keys to config.json.
    /// </summary>
    public static void Write(
        TransformerModel model, string tokenizerDirectory, string directory, Func<Parameter, bool>? include = null, int? end = null, Action<Utf8JsonWriter>? more = null)
    {
        Directory.CreateDirectory(directory);
        int endToken = end ?? BpeTokenizer.FromDirectory(tokenizerDirectory).TokenToId("<|end|>")
            ?? throw new RecipeException($"{tokenizerDirectory}: the tokenizer has no token <|end|>.");
        WriteJson(directory, "config.json", json =>
        {
            WriteConfig(json, model.Shape, endToken);
            more?.Invoke(json);
        });
        WriteJson(directory, "generation_config.json", json =>
        {
            json.WriteBoolean("do_sample", false);
            json.WriteNumber("eos_token_id", endToken);
            json.WriteNumber("pad_token_id", endToken);
        });
        foreach (string file in TokenizerFiles)
        {
            string source = Path.Combine(tokenizerDirectory, file);
            string target = Path.Combine(directory, file);
            if (File.Exists(source) && Path.GetFullPath(source) != Path.GetFullPath(target)) File.Copy(source, target, overwrite: true);
        }
        SafetensorsWriter.Write(Path.Combine(directory, "model.safetensors"), model.Parameters.Parameters.Where(p => include?.Invoke(p) ?? true).Select(p => Entry(model, p)),
            new Dictionary<string, string> { ["format"] = "pt" });
    }

    private static SafetensorsEntry Entry(TransformerModel model, Parameter p)
    {
        if (DecisionAdapter.Owns(p)) return AdapterExport.Entry(model, p);
        var bits = new ushort[p.Count];
        BFloat16Bits.FromSingle(new ReadOnlySpan<float>(model.Values.Pointer + p.Offset, (int)p.Count), bits);
        return new SafetensorsEntry(p.Name, "BF16", p.IsVector ? [p.Columns] : [p.Rows, p.Columns], MemoryMarshal.AsBytes(bits.AsSpan()).ToArray());
    }

    private static void WriteConfig(Utf8JsonWriter json, TransformerShape shape, int end)
    {
        (string architecture, string type) = shape switch
        {
            { QueryKeyNorm: true } => ("Qwen3ForCausalLM", "qwen3"),
            { QkvBias: true } => ("Qwen2ForCausalLM", "qwen2"),
            _ => ("LlamaForCausalLM", "llama"),
        };
        json.WriteStartArray("architectures");
        json.WriteStringValue(architecture);
        json.WriteEndArray();
        json.WriteBoolean("attention_bias", false);
        json.WriteNumber("attention_dropout", 0.0);
        json.WriteNumber("eos_token_id", end);
        json.WriteNumber("head_dim", shape.HeadDim);
        json.WriteString("hidden_act", "silu");
        json.WriteNumber("hidden_size", shape.HiddenSize);
        json.WriteNumber("initializer_range", 0.02);
        json.WriteNumber("intermediate_size", shape.IntermediateSize);
        json.WriteNumber("max_position_embeddings", shape.MaxPositions);
        json.WriteString("model_type", type);
        json.WriteNumber("num_attention_heads", shape.QueryHeads);
        json.WriteNumber("num_hidden_layers", shape.Layers);
        json.WriteNumber("num_key_value_heads", shape.KeyValueHeads);
        json.WriteNumber("pad_token_id", end);
        json.WritePropertyName("rms_norm_eps");
        json.WriteRawValue("1e-06");
        json.WriteNull("rope_scaling");
        json.WriteNumber("rope_theta", shape.RopeTheta);
        json.WriteNull("sliding_window");
        json.WriteBoolean("tie_word_embeddings", shape.TiedEmbeddings);
        json.WriteString("torch_dtype", "bfloat16");
        json.WriteBoolean("use_cache", true);
        json.WriteBoolean("use_sliding_window", false);
        json.WriteNumber("vocab_size", shape.VocabularySize);
    }

    /// <summary>Writes a JSON object as an indented file.</summary>
    internal static void WriteJson(string directory, string name, Action<Utf8JsonWriter> content)
    {
        string path = Path.Combine(directory, name), temporary = path + ".tmp";
        using (FileStream stream = File.Create(temporary))
        {
            using (var json = new Utf8JsonWriter(stream, Options))
            {
                json.WriteStartObject();
                content(json);
                json.WriteEndObject();
            }
            stream.WriteByte((byte)'\n');
        }
        File.Move(temporary, path, overwrite: true);
    }
}
