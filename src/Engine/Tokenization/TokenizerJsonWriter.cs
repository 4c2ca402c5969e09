using System.Text.Encodings.Web;
using System.Text.Json;

namespace Foretoken.Tokenization;

/// <summary>Writes a trained tokenizer as the ordinary files of a Hugging Face directory.</summary>
public static class TokenizerJsonWriter
{
    private static readonly JsonWriterOptions s_options = new() { Indented = true, NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>
    /// Writes <c>tokenizer.json</c> and <c>tokenizer_config.json</c> into <paramref name="directory"/>, which is created if need be.
    /// </summary>
    public static void Write(string directory, TrainedBpe trained, TokenizerConfig config)
    {
        ArgumentNullException.ThrowIfNull(trained);
        ArgumentNullException.ThrowIfNull(config);
        Directory.CreateDirectory(directory);
        File.WriteAllBytes(Path.Combine(directory, "tokenizer.json"), TokenizerJson(trained));
        File.WriteAllBytes(Path.Combine(directory, "tokenizer_config.json"), ConfigJson(trained, config));
    }

    /// <summary>The UTF-8 text of <c>tokenizer.json</c>.</summary>
    public static byte[] TokenizerJson(TrainedBpe trained)
    {
        ArgumentNullException.ThrowIfNull(trained);
        return Build(json =>
        {
            json.WriteString("version", "1.0");
            json.WriteNull("truncation");
            json.WriteNull("padding");
            WriteAddedTokens(json, trained);
            json.WriteNull("normalizer");
            WritePreTokenizer(json, trained.Pattern);
            WriteByteLevel(json, "post_processor");
            WriteByteLevel(json, "decoder");
            WriteModel(json, trained);
        });
    }

    private static byte[] ConfigJson(TrainedBpe trained, TokenizerConfig config) => Build(json =>
    {
        json.WriteBoolean("add_bos_token", false);
        json.WriteBoolean("add_prefix_space", false);
        json.WriteStartObject("added_tokens_decoder");
        for (int id = 0; id < trained.SpecialTokens.Count; id++)
        {
            json.WriteStartObject(id.ToString(System.Globalization.CultureInfo.InvariantCulture));
            WriteTokenFlags(json, trained.SpecialTokens[id]);
            json.WriteEndObject();
        }
        json.WriteEndObject();
        json.WriteNull("bos_token");
        if (config.ChatTemplate is not null)
            json.WriteString("chat_template", config.ChatTemplate);
        json.WriteBoolean("clean_up_tokenization_spaces", false);
        json.WriteString("eos_token", config.EndToken);
        json.WriteNumber("model_max_length", config.ModelMaxLength);
        json.WriteString("pad_token", config.PadToken);
        json.WriteString("tokenizer_class", "PreTrainedTokenizerFast");
        json.WriteNull("unk_token");
    });

    private static byte[] Build(Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, s_options))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }
        stream.WriteByte((byte)'\n');
        return stream.ToArray();
    }

    private static void WriteAddedTokens(Utf8JsonWriter json, TrainedBpe trained)
    {
        json.WriteStartArray("added_tokens");
        for (int id = 0; id < trained.SpecialTokens.Count; id++)
        {
            json.WriteStartObject();
            json.WriteNumber("id", id);
            WriteTokenFlags(json, trained.SpecialTokens[id]);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteTokenFlags(Utf8JsonWriter json, string content)
    {
        json.WriteString("content", content);
        json.WriteBoolean("single_word", false);
        json.WriteBoolean("lstrip", false);
        json.WriteBoolean("rstrip", false);
        json.WriteBoolean("normalized", false);
        json.WriteBoolean("special", true);
    }

    private static void WritePreTokenizer(Utf8JsonWriter json, SplitPattern pattern)
    {
        json.WriteStartObject("pre_tokenizer");
        json.WriteString("type", "Sequence");
        json.WriteStartArray("pretokenizers");
        json.WriteStartObject();
        json.WriteString("type", "Split");
        json.WriteStartObject("pattern");
        json.WriteString("Regex", pattern.Expression);
        json.WriteEndObject();
        json.WriteString("behavior", "Isolated");
        json.WriteBoolean("invert", false);
        json.WriteEndObject();
        json.WriteStartObject();
        WriteByteLevelMembers(json);
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteByteLevel(Utf8JsonWriter json, string name)
    {
        json.WriteStartObject(name);
        WriteByteLevelMembers(json);
        json.WriteEndObject();
    }

    private static void WriteByteLevelMembers(Utf8JsonWriter json)
    {
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", false);
        json.WriteBoolean("use_regex", false);
    }

    private static void WriteModel(Utf8JsonWriter json, TrainedBpe trained)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        foreach (string absent in (string[])["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"])
            json.WriteNull(absent);
        foreach (string off in (string[])["fuse_unk", "byte_fallback", "ignore_merges"])
            json.WriteBoolean(off, false);
        json.WriteStartObject("vocab");
        for (int id = 0; id < trained.Tokens.Count; id++)
            json.WriteNumber(trained.Tokens[id], id);
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach (var (left, right) in trained.Merges)
            json.WriteStringValue(trained.Tokens[left] + " " + trained.Tokens[right]);
        json.WriteEndArray();
        json.WriteEndObject();
    }
}

/// <summary>What <c>tokenizer_config.json</c> says beside the tokenizer itself.</summary>
/// <param name="EndToken">The end-of-sequence token, one of the special tokens.</param>
/// <param name="PadToken">The padding token, one of the special tokens.</param>
/// <param name="ModelMaxLength">The model's context length in tokens.</param>
/// <param name="ChatTemplate">A Jinja chat template, or null.</param>
public sealed record TokenizerConfig(string EndToken, string PadToken, int ModelMaxLength, string? ChatTemplate = null);
