using System.Text.Json.Nodes;

namespace Foretoken.Tests.Fixtures;

/// <summary>
/// A byte-level BPE tokenizer for <see cref="TinyModel"/>: ids 0..255 are the bytes, then <c>&lt;|end|&gt;</c>, <c>&lt;|user|&gt;</c> and
/// <c>&lt;|assistant|&gt;</c>, then merged pairs of small letters (aa, ab, …) up to the vocabulary's size. Every text can be encoded, every id decoded.
/// </summary>
public static class TinyTokenizer
{
    private const string Qwen2Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string ChatTemplate =
        "{%- for message in messages -%}{{- '<|' + message['role'] + '|>' + message['content'] -}}" +
        "{%- if message['role'] == 'assistant' -%}{{- '<|end|>' -}}{%- endif -%}{%- endfor -%}" +
        "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}";

    private static readonly string[] Specials = ["<|end|>", "<|user|>", "<|assistant|>"];

    public static void Write(string directory, int vocab)
    {
        var ids = new JsonObject();
        for (int b = 0; b < 256; b++) ids[Letter(b).ToString()] = b;
        var merges = new JsonArray();
        for (int i = 256 + Specials.Length; i < vocab; i++)
        {
            int pair = i - 256 - Specials.Length;
            char first = (char)('a' + pair / 26), second = (char)('a' + pair % 26);
            ids[$"{first}{second}"] = i;
            merges.Add(new JsonArray(first.ToString(), second.ToString()));
        }

        var added = new JsonArray();
        for (int i = 0; i < Specials.Length; i++) added.Add(Special(256 + i, Specials[i]));
        TinyModel.WriteJson(directory, "tokenizer.json", new JsonObject
        {
            ["version"] = "1.0",
            ["truncation"] = null,
            ["padding"] = null,
            ["added_tokens"] = added,
            ["normalizer"] = null,
            ["pre_tokenizer"] = new JsonObject
            {
                ["type"] = "Sequence",
                ["pretokenizers"] = new JsonArray(
                    new JsonObject
                    {
                        ["type"] = "Split",
                        ["pattern"] = new JsonObject { ["Regex"] = Qwen2Pattern },
                        ["behavior"] = "Isolated",
                        ["invert"] = false,
                    },
                    ByteLevel()),
            },
            ["post_processor"] = ByteLevel(),
            ["decoder"] = ByteLevel(),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = null,
                ["continuing_subword_prefix"] = "",
                ["end_of_word_suffix"] = "",
                ["fuse_unk"] = false,
                ["byte_fallback"] = false,
                ["ignore_merges"] = false,
                ["vocab"] = ids,
                ["merges"] = merges,
            },
        });
        TinyModel.WriteJson(directory, "tokenizer_config.json", new JsonObject
        {
            ["tokenizer_class"] = "Qwen2Tokenizer",
            ["add_prefix_space"] = false,
            ["eos_token"] = Specials[0],
            ["pad_token"] = Specials[0],
            ["bos_token"] = null,
            ["chat_template"] = ChatTemplate,
        });
    }

    private static JsonObject ByteLevel() =>
        new() { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = false, ["use_regex"] = false };

    private static JsonObject Special(int id, string content) => new()
    {
        ["id"] = id,
        ["content"] = content,
        ["single_word"] = false,
        ["lstrip"] = false,
        ["rstrip"] = false,
        ["normalized"] = false,
        ["special"] = true,
    };

    /// <summary>GPT-2's printable stand-in of a byte: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100 on.</summary>
    private static char Letter(int value)
    {
        int others = 0;
        for (int b = 0; b < 256; b++)
        {
            bool printable = b is >= 33 and <= 126 or >= 161 and <= 172 or >= 174;
            if (b == value) return (char)(printable ? b : 256 + others);
            if (!printable) others++;
        }

        throw new ArgumentOutOfRangeException(nameof(value));
    }
}
