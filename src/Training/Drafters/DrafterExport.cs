using System.Runtime.InteropServices;
using System.Text.Json;
using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Numerics;

namespace Foretoken.Training.Drafters;

/// <summary>Writes drafters in the layouts under which others publish them, bf16.</summary>
internal static unsafe class DrafterExport
{
    private static readonly Dictionary<string, string> Metadata = new() { ["format"] = "pt" };

    /// <summary>FasterDecoding/Medusa: config.json, and medusa_lm_head.safetensors with {head}.{block}.linear.weight, .bias and {head}.{blocks}.weight.</summary>
    public static void WriteMedusa(
        DrafterModel model, IEnumerable<Parameter> heads, string directory, MedusaSettings settings, TransformerShape target, string targetName, double[][]? rankAccuracies)
    {
        Directory.CreateDirectory(directory);
        ModelExport.WriteJson(directory, "config.json", json =>
        {
            WriteArchitecture(json, "MedusaModel");
            json.WriteString("base_model_name_or_path", targetName);
            json.WriteNumber("hidden_size", target.HiddenSize);
            json.WriteNumber("medusa_num_heads", settings.NumHeads);
            json.WriteNumber("medusa_num_layers", settings.NumLayers);
            if (rankAccuracies is not null) WriteAccuracies(json, rankAccuracies);
            json.WriteString("model_type", "medusa");
            json.WriteString("torch_dtype", "bfloat16");
            json.WriteNumber("vocab_size", target.VocabularySize);
        });
        SafetensorsWriter.Write(Path.Combine(directory, "medusa_lm_head.safetensors"), heads.Select(p => Entry(model, p)), Metadata);
    }

    /// <summary>SafeAILab/EAGLE, version 3: config.json, and model.safetensors with fc, midlayer.*, norm, lm_head, d2t and t2d. Embeddings are the target's.</summary>
    public static void WriteEagle(EagleModel model, string directory, string targetName)
    {
        Directory.CreateDirectory(directory);
        TransformerShape shape = model.Shape;
        ModelExport.WriteJson(directory, "config.json", json =>
        {
            WriteArchitecture(json, "LlamaForCausalLMEagle3");
            json.WriteBoolean("attention_bias", false);
            json.WriteString("base_model_name_or_path", targetName);
            json.WriteNumber("draft_vocab_size", model.Vocabulary.Length);
            json.WriteStartArray("eagle_aux_hidden_state_layer_ids");
            foreach (int layer in model.Settings.Layers) json.WriteNumberValue(layer);
            json.WriteEndArray();
            json.WriteNumber("head_dim", shape.HeadDim);
            json.WriteString("hidden_act", "silu");
            json.WriteNumber("hidden_size", shape.HiddenSize);
            json.WriteNumber("intermediate_size", shape.IntermediateSize);
            json.WriteNumber("max_position_embeddings", shape.MaxPositions);
            json.WriteString("model_type", "llama");
            json.WriteNumber("num_attention_heads", shape.QueryHeads);
            json.WriteNumber("num_hidden_layers", 1);
            json.WriteNumber("num_key_value_heads", shape.KeyValueHeads);
            json.WriteNumber("rms_norm_eps", (decimal)shape.RmsNormEpsilon);
            json.WriteNumber("rope_theta", shape.RopeTheta);
            json.WriteBoolean("tie_word_embeddings", false);
            json.WriteString("torch_dtype", "bfloat16");
            json.WriteNumber("vocab_size", shape.VocabularySize);
        });
        var shift = new long[model.Vocabulary.Length];
        var inDraft = new byte[shape.VocabularySize];
        for (int i = 0; i < shift.Length; i++) (shift[i], inDraft[model.Vocabulary[i]]) = (model.Vocabulary[i] - i, 1);
        SafetensorsWriter.Write(Path.Combine(directory, "model.safetensors"),
        [
            .. model.Parameters.Parameters.Select(p => Entry(model, p)),
            new SafetensorsEntry("d2t", "I64", [shift.Length], MemoryMarshal.AsBytes(shift.AsSpan()).ToArray()),
            new SafetensorsEntry("t2d", "BOOL", [inDraft.Length], inDraft),
        ], Metadata);
    }

    /// <summary>Reads the tensors that a drafter was exported with into its parameters; the shapes must be the same.</summary>
    /// <exception cref="RecipeException">A tensor is missing or has another shape.</exception>
    public static void ReadInto(DrafterModel model, IEnumerable<Parameter> parameters, string file)
    {
        using var stored = new SafetensorsFile(file);
        foreach (Parameter p in parameters)
        {
            StoredTensor? tensor = stored.Tensors.FirstOrDefault(t => t.Name == p.Name);
            long[] shape = p.IsVector ? [p.Columns] : [p.Rows, p.Columns];
            if (tensor is null || !tensor.Shape.SequenceEqual(shape))
                throw new RecipeException($"{file}: \"{p.Name}\" {(tensor is null ? "is missing" : $"has shape {tensor.ShapeText}")}; the recipe needs {StoredTensor.FormatShape(shape)}: set its sizes to the drafter's.");
            var bytes = new byte[tensor.Bytes];
            stored.Read(tensor, 0, bytes);
            DTypeConverter.ToSingle(tensor.Type, bytes, new Span<float>(model.Values.Pointer + p.Offset, (int)p.Count));
        }
    }

    /// <summary>The draft vocabulary of an exported EAGLE-3 head: target tokens, rising.</summary>
    /// <exception cref="RecipeException">The file has no usable d2t.</exception>
    public static int[] ReadVocabulary(string file, int targetVocabulary)
    {
        using var stored = new SafetensorsFile(file);
        StoredTensor? tensor = stored.Tensors.FirstOrDefault(t => t.Name == "d2t");
        if (tensor is not { Type: DType.I64 }) throw new RecipeException($"{file}: has no d2t of type I64; start from a head with a draft vocabulary.");
        var shift = new long[tensor.Elements];
        stored.Read(tensor, 0, MemoryMarshal.AsBytes(shift.AsSpan()));
        int[] tokens = [.. shift.Select((s, i) => checked((int)(s + i)))];
        bool rising = tokens.Zip(tokens.Skip(1)).All(pair => pair.First < pair.Second);
        return rising && tokens[0] >= 0 && tokens[^1] < targetVocabulary ? tokens : throw new RecipeException($"{file}: d2t must name rising tokens below {targetVocabulary}.");
    }

    /// <summary>The target's own end token.</summary>
    public static int EndToken(string targetPath)
    {
        using ModelSource source = ModelLoader.Open(targetPath);
        return source.Config.EosTokenIds is [int end, ..] ? end : throw new RecipeException($"{targetPath}: names no eos_token_id, which the draft's config.json needs.");
    }

    private static SafetensorsEntry Entry(DrafterModel model, Parameter p)
    {
        var bits = new ushort[p.Count];
        BFloat16Bits.FromSingle(new ReadOnlySpan<float>(model.Values.Pointer + p.Offset, (int)p.Count), bits);
        return new SafetensorsEntry(p.Name, "BF16", p.IsVector ? [p.Columns] : [p.Rows, p.Columns], MemoryMarshal.AsBytes(bits.AsSpan()).ToArray());
    }

    private static void WriteArchitecture(Utf8JsonWriter json, string name)
    {
        json.WriteStartArray("architectures");
        json.WriteStringValue(name);
        json.WriteEndArray();
    }

    private static void WriteAccuracies(Utf8JsonWriter json, double[][] accuracies)
    {
        json.WriteStartArray("medusa_rank_accuracies");
        foreach (double[] head in accuracies)
        {
            json.WriteStartArray();
            foreach (double accuracy in head) json.WriteNumberValue(Math.Round((decimal)accuracy, 5));
            json.WriteEndArray();
        }

        json.WriteEndArray();
    }
}
