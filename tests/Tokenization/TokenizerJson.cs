using System.Globalization;
using System.Text;
using System.Text.Json;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

/// <summary>Builds small tokenizer.json texts; parts are raw JSON.</summary>
internal sealed record TokenizerJson(IReadOnlyList<string> Vocabulary, IReadOnlyList<string> Merges)
{
    public string Normalizer { get; init; } = "null";

    public string PreTokenizer { get; init; } = "null";

    public string PostProcessor { get; init; } = "null";

    public string Decoder { get; init; } = """{"type":"Fuse"}""";

    public string Added { get; init; } = "";

    public string ModelExtra { get; init; } = "";

    /// <summary>Raw JSON of the vocabulary and merges in place of the lists.</summary>
    public string? RawVocabulary { get; init; }

    public string? RawMerges { get; init; }

    /// <summary>All bytes in the order of their values (ids 0 to 255), then the merged tokens in order.</summary>
    public static TokenizerJson ByteLevel(params string[] merges) => new(
        [.. Enumerable.Range(0, 256).Select(value => ByteAlphabet.ToChar((byte)value).ToString()),
            .. merges.Select(merge => merge.Replace(" ", "", StringComparison.Ordinal))],
        merges)
    {
        PreTokenizer = """{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""",
        Decoder = """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}""",
    };

    /// <summary>Llama-2's way: unk 0, bos 1, eos 2, bytes 3 to 258, then ▁ and the given tokens.</summary>
    public static TokenizerJson SentencePiece(string[] tokens, params string[] merges) => new(
        ["<unk>", "<s>", "</s>", .. Enumerable.Range(0, 256).Select(value => "<0x" + value.ToString("X2",
            CultureInfo.InvariantCulture) + ">"), "▁", .. tokens], merges)
    {
        Normalizer = """{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""",
        PostProcessor = """
            {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],
             "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}
            """,
        Decoder = """
            {"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
             {"type":"Strip","content":" ","start":1,"stop":0}]}
            """,
        Added = AddedToken(0, "<unk>") + "," + AddedToken(1, "<s>") + "," + AddedToken(2, "</s>"),
        ModelExtra = "\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,",
    };

    public static string AddedToken(int id, string content, string flags = "\"special\":true,\"normalized\":false") =>
        $"{{\"id\":{id},\"content\":{JsonSerializer.Serialize(content)},{flags}}}";

    public override string ToString() => $$"""
        {"version":"1.0","added_tokens":[{{Added}}],"normalizer":{{Normalizer}},"pre_tokenizer":{{PreTokenizer}},"post_processor":{{PostProcessor}},
         "decoder":{{Decoder}},"model":{"type":"BPE",{{ModelExtra}}
         "vocab":{{RawVocabulary ?? "{" + string.Join(',', Vocabulary.Select((token, id) => JsonSerializer.Serialize(token) + ":" + id.ToString(CultureInfo.InvariantCulture))) + "}"}},
         "merges":{{RawMerges ?? JsonSerializer.Serialize(Merges)}} } }
        """;

    public BpeTokenizer Load() => BpeTokenizer.FromJson(Encoding.UTF8.GetBytes(ToString()), "dir/tokenizer.json");
}
