using System.Text.Encodings.Web;
using System.Text.Json;

namespace Foretoken.Tokenization;

/// <summary>Writes the byte-level tokenizer of a GGUF file as <c>tokenizer.json</c> and <c>tokenizer_config.json</c>.</summary>
public static class GgufToTokenizerJson
{
    private static readonly JsonWriterOptions s_options = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes both files into an existing directory.</summary>
    /// <param name="directory">Receives them.</param>
    /// <param name="tokenizer">The tables.</param>
    /// <param name="origin">The file that they come from, for errors.</param>
    /// <param name="maxPositions">The model's context in tokens.</param>
    /// <exception cref="TokenizerException">A SentencePiece-style tokenizer, whose scores a tokenizer.json does not hold.</exception>
    public static void Write(string directory, GgufTokenizer tokenizer, string origin, int maxPositions)
    {
        if (tokenizer.Model != "gpt2" || GgufPreTokenizers.Find(tokenizer.Pre) is not { } pre)
            throw TokenizerException.For(origin, GgufTokenizerReader.ModelKey, $"\"{tokenizer.Model}\" cannot be written as tokenizer.json", "Keep the GGUF file, which can be run as it is");
        Build(Path.Combine(directory, TokenizerFiles.TokenizerJson), json => WriteTokenizer(json, tokenizer, pre));
        Build(Path.Combine(directory, TokenizerFiles.ConfigJson), json =>
        {
            json.WriteBoolean("add_bos_token", tokenizer.AddBos);
            json.WriteString("bos_token", tokenizer.Bos is { } bos ? tokenizer.Tokens[bos] : null);
            json.WriteString("eos_token", tokenizer.Ends is [var end, ..] ? tokenizer.Tokens[end] : null);
            json.WriteString("pad_token", tokenizer.Padding is { } padding ? tokenizer.Tokens[padding] : null);
            if (tokenizer.ChatTemplate is not null) json.WriteString("chat_template", tokenizer.ChatTemplate);
            json.WriteNumber("model_max_length", maxPositions);
            json.WriteString("tokenizer_class", "PreTrainedTokenizerFast");
        });
    }

    private static void WriteTokenizer(Utf8JsonWriter json, GgufTokenizer tokenizer, GgufPreTokenizer pre)
    {
        json.WriteString("version", "1.0");
        json.WriteStartArray("added_tokens");
        for (int id = 0; id < tokenizer.Tokens.Count; id++)
        {
            if (tokenizer.Types[id] is not (GgufTokenType.Control or GgufTokenType.UserDefined or GgufTokenType.Unknown)) continue;
            json.WriteStartObject();
            json.WriteNumber("id", id);
            json.WriteString("content", tokenizer.Tokens[id]);
            foreach (string off in (string[])["single_word", "lstrip", "rstrip", "normalized"]) json.WriteBoolean(off, false);
            json.WriteBoolean("special", tokenizer.Types[id] != GgufTokenType.UserDefined);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNull("normalizer");
        json.WriteStartObject("pre_tokenizer");
        json.WriteString("type", "Sequence");
        json.WriteStartArray("pretokenizers");
        if (pre.SplitsDigits) json.WriteRawValue("""{"type": "Digits", "individual_digits": true}""");
        json.WriteStartObject();
        json.WriteString("type", "Split");
        json.WriteStartObject("pattern");
        json.WriteString("Regex", pre.Pattern.Expression);
        json.WriteEndObject();
        json.WriteString("behavior", "Isolated");
        json.WriteBoolean("invert", false);
        json.WriteEndObject();
        json.WriteRawValue(ByteLevel);
        json.WriteEndArray();
        json.WriteEndObject();
        WritePostProcessor(json, tokenizer);
        json.WritePropertyName("decoder");
        json.WriteRawValue(ByteLevel);
        WriteModel(json, tokenizer, pre);
    }

    private const string ByteLevel = """{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}""";

    private static void WritePostProcessor(Utf8JsonWriter json, GgufTokenizer tokenizer)
    {
        json.WritePropertyName("post_processor");
        if (!tokenizer.AddBos || tokenizer.Bos is not { } bos)
        {
            json.WriteRawValue(ByteLevel);
            return;
        }

        string token = tokenizer.Tokens[bos];
        json.WriteStartObject();
        json.WriteString("type", "TemplateProcessing");
        json.WriteStartArray("single");
        json.WriteStartObject();
        json.WriteStartObject("SpecialToken");
        json.WriteString("id", token);
        json.WriteNumber("type_id", 0);
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteRawValue("""{"Sequence": {"id": "A", "type_id": 0}}""");
        json.WriteEndArray();
        json.WriteStartArray("pair");
        json.WriteEndArray();
        json.WriteStartObject("special_tokens");
        json.WriteStartObject(token);
        json.WriteString("id", token);
        json.WriteStartArray("ids");
        json.WriteNumberValue(bos);
        json.WriteEndArray();
        json.WriteStartArray("tokens");
        json.WriteStringValue(token);
        json.WriteEndArray();
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteModel(Utf8JsonWriter json, GgufTokenizer tokenizer, GgufPreTokenizer pre)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        foreach (string absent in (string[])["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"]) json.WriteNull(absent);
        json.WriteBoolean("fuse_unk", false);
        json.WriteBoolean("byte_fallback", false);
        json.WriteBoolean("ignore_merges", pre.IgnoreMerges);
        json.WriteStartObject("vocab");
        for (int id = 0; id < tokenizer.Tokens.Count; id++)
            if (tokenizer.Types[id] is GgufTokenType.Normal or GgufTokenType.Byte) json.WriteNumber(tokenizer.Tokens[id], id);
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach (string merge in tokenizer.Merges ?? []) json.WriteStringValue(merge);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void Build(string path, Action<Utf8JsonWriter> content)
    {
        using FileStream stream = File.Create(path);
        using (var json = new Utf8JsonWriter(stream, s_options))
        {
            json.WriteStartObject();
            content(json);
            json.WriteEndObject();
        }

        stream.WriteByte((byte)'\n');
    }
}
