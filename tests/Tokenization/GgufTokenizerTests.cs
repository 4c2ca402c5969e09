using Foretoken.Formats;
using Foretoken.Tests.Fixtures;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public sealed class GgufTokenizerTests : IDisposable
{
    private const int Normal = 1, Unknown = 2, Control = 3, User = 4, Unused = 5, Byte = 6;
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    /// <summary>Ids: 0 unk, 1 bos, 2 eos, 3..258 bytes, then ▁ a b c ab ▁ab abc ▁▁, a user token and an unused one.</summary>
    private static (string[] Tokens, int[] Types, float[] Scores) ScoredTables()
    {
        (string Token, int Type, float Score)[] all =
        [
            ("<unk>", Unknown, 0), ("<s>", Control, 0), ("</s>", Control, 0), .. Enumerable.Range(0, 256).Select(b => ($"<0x{b:X2}>", Byte, 0f)),
            ("\u2581", Normal, -10), ("a", Normal, -11), ("b", Normal, -12), ("c", Normal, -13), ("ab", Normal, -3), ("\u2581ab", Normal, -2), ("abc", Normal, -1),
            ("\u2581\u2581", Normal, -4), ("<tool>", User, 0), ("<pad>", Unused, 0),
        ];
        return ([.. all.Select(t => t.Token)], [.. all.Select(t => t.Type)], [.. all.Select(t => t.Score)]);
    }

    private static RawGguf Scored(Action<RawGguf>? more = null, bool? prefix = null)
    {
        var (tokens, types, scores) = ScoredTables();
        RawGguf raw = new RawGguf().Add("tokenizer.ggml.model", "llama").Add("tokenizer.ggml.tokens", tokens).Add("tokenizer.ggml.token_type", types)
            .Add("tokenizer.ggml.scores", scores).Add("tokenizer.ggml.bos_token_id", 1u).Add("tokenizer.ggml.eos_token_id", 2u).Add("tokenizer.ggml.unknown_token_id", 0u);
        if (prefix is { } value) raw.Add("tokenizer.ggml.add_space_prefix", value);
        more?.Invoke(raw);
        return raw;
    }

    [Fact]
    public void The_token_of_highest_score_is_merged_first()
    {
        const int Space = 259, C = 262, SpaceAb = 264, Abc = 265, TwoSpaces = 266;
        BpeTokenizer t = Read(Scored());
        Assert.Equal([Space, Abc], t.EncodeToIds("abc")); // abc before ▁ab
        Assert.Equal([SpaceAb, SpaceAb, C - 2], t.EncodeToIds("ab aba"));
        Assert.Equal([TwoSpaces, 260], t.EncodeToIds(" a"));
        Assert.Equal([Space, 3 + 0xC3, 3 + 0xA4], t.EncodeToIds("ä"));
        Assert.Equal(269, t.VocabularySize);
        Assert.Equal("abc ä ab", t.Decode(t.EncodeToIds("abc ä ab")));
        Assert.Equal(" abc", t.Decode(t.EncodeToIds(" abc")));
        Assert.Equal([1, Space, Abc], t.EncodeToIds("abc", addBos: true));
        Assert.True(t.AddsPrefix);
    }

    [Fact]
    public void No_space_is_put_in_front_where_the_file_says_so()
    {
        BpeTokenizer t = Read(Scored(raw => raw.Add("tokenizer.ggml.add_bos_token", false), prefix: false));
        Assert.Equal([265], t.EncodeToIds("abc"));
        Assert.Equal(" abc", t.Decode(t.EncodeToIds(" abc")));
        Assert.False(t.AddsPrefix);
        Assert.Equal([1], t.PrefixTokenIds);
    }

    [Fact]
    public void Control_tokens_are_matched_only_in_trusted_text_and_user_tokens_always()
    {
        BpeTokenizer t = Read(Scored(prefix: false));
        Assert.Equal([260, 2, 267, 261], t.EncodeToIds("a</s><tool>b"));
        Assert.Equal([260, 3 + '<', 3 + '/', 3 + 's', 3 + '>', 267], t.EncodeToIds("a</s><tool>", recognizeSpecialTokens: false));
        Assert.DoesNotContain(268, t.EncodeToIds("<pad>"));
        Assert.True(t.IsSpecial(2));
        Assert.False(t.IsSpecial(267));
        Assert.Equal((1, 2), (t.BosTokenId, t.EosTokenId));
    }

    [Theory]
    [InlineData("qwen2", "12 ab", new[] { 16, 17, 258 })]
    [InlineData("llama-bpe", "12 ab", new[] { 259, 258 })]
    [InlineData("gpt-2", "12 ab", new[] { 16, 17, 258 })]
    [InlineData("smollm", "12 ab", new[] { 16, 17, 258 })]
    public void Byte_level_text_is_cut_as_the_pre_tokenizer_says(string pre, string text, int[] expected)
    {
        BpeTokenizer t = Read(ByteLevel(pre));
        Assert.Equal(expected, t.EncodeToIds(text));
        Assert.Equal("grün 12", t.Decode(t.EncodeToIds("grün 12")));
        Assert.Equal([260], t.EncodeToIds("<|end|>"));
        Assert.Equal(pre == "llama-bpe", t.AddsPrefix);
    }

    public static TheoryData<string, RawGguf, string> Malformed()
    {
        var (tokens, types, scores) = ScoredTables();
        RawGguf Tables(string[] tokens, int[] types, float[] scores) => new RawGguf().Add("tokenizer.ggml.model", "llama").Add("tokenizer.ggml.tokens", tokens)
            .Add("tokenizer.ggml.token_type", types).Add("tokenizer.ggml.scores", scores);
        string[] Named(int at, string token) => [.. tokens.Select((t, i) => i == at ? token : t)];
        return new TheoryData<string, RawGguf, string>
        {
            { "tokenizer.ggml.model", new RawGguf().Add("a", 1u), "is missing" },
            { "tokenizer.ggml.model", new RawGguf().Add("tokenizer.ggml.model", "t5"), "\"t5\" is not supported" },
            { "tokenizer.ggml.tokens", new RawGguf().Add("tokenizer.ggml.model", "llama"), "is missing" },
            { "tokenizer.ggml.scores", Tables(tokens, types, scores[1..]), "268 numbers for 269 tokens" },
            { "tokenizer.ggml.scores", Tables(tokens, types, [float.NaN, .. scores[1..]]), "finite" },
            { "tokenizer.ggml.token_type", Tables(tokens, types[1..], scores), "268 numbers for 269 tokens" },
            { "tokenizer.ggml.token_type[0]", Tables(tokens, [7, .. types[1..]], scores), "is 7" },
            { "tokenizer.ggml.tokens[3]", Tables(Named(3, "<0x-1>"), types, scores), "of type byte" },
            { "tokenizer.ggml.tokens[4]", Tables(Named(4, "<0xZZ>"), types, scores), "of type byte" },
            { "tokenizer.ggml.tokens[261]", Tables(Named(261, "a"), types, scores), "twice" },
            { "tokenizer.ggml.tokens[1]", Tables(Named(1, ""), types, scores), "is empty" },
            { "tokenizer.ggml.tokens[265]", Tables(Named(265, new string('x', 300)), types, scores), "300 characters" },
            { "tokenizer.ggml.eos_token_id", Tables(tokens, types, scores).Add("tokenizer.ggml.eos_token_id", 269u), "from 0 to 268" },
            { "tokenizer.ggml.add_bos_token", Tables(tokens, types, scores).Add("tokenizer.ggml.add_bos_token", true), "bos_token_id is missing" },
            { "tokenizer.ggml.pre", ByteLevel("tekken"), "\"tekken\" is not supported" },
            { "tokenizer.ggml.pre", ByteLevel("default"), "\"default\" is not supported" },
            { "tokenizer.ggml.merges[0]", ByteLevel("qwen2", "ab"), "not two tokens" },
            { "tokenizer.ggml.merges[0]", ByteLevel("qwen2", "a "), "not two tokens" },
            { "tokenizer.ggml.merges[1]", ByteLevel("qwen2", "a b", "a zz"), "\"zz\"" },
        };
    }

    [Theory]
    [MemberData(nameof(Malformed), DisableDiscoveryEnumeration = true)]
    public void Malformed_tables_are_refused_by_field(string field, RawGguf raw, string rule)
    {
        string path = Write(raw);
        Exception e = Record.Exception(() => BpeTokenizer.FromFile(path)) ?? new InvalidOperationException("accepted");
        Assert.True(e is TokenizerException or ModelFormatException, e.ToString());
        Assert.StartsWith($"{path}: {field}", e.Message, StringComparison.Ordinal);
        Assert.Contains(rule, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_chat_template_comes_from_the_metadata()
    {
        string path = Write(Scored(raw => raw.Add("tokenizer.chat_template", "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"), prefix: false));
        ChatTemplate template = ChatTemplate.FromModel(path)!;
        Assert.Equal("<s>a</s>", template.Render([new ChatMessage("user", "a")]));
        Assert.Equal([1, 260, 3 + '<', 3 + 's', 3 + '>', 2], template.Encode(BpeTokenizer.FromModel(path), [new ChatMessage("user", "a<s>")]));
        Assert.Null(ChatTemplate.FromModel(Write(Scored())));
    }

    /// <summary>Ids 0..255 bytes in the order of the alphabet's characters from '!', then ab, "Ġa", Ġab, 12 and a control token.</summary>
    private static RawGguf ByteLevel(string pre, params string[] merges)
    {
        string[] bytes = [.. Enumerable.Range(0, 256).Select(b => ByteAlphabet.ToChar((byte)b).ToString()).Order(StringComparer.Ordinal)];
        string[] tokens = [.. bytes, "ab", "\u0120a", "\u0120ab", "12", "<|end|>"];
        return new RawGguf().Add("tokenizer.ggml.model", "gpt2").Add("tokenizer.ggml.pre", pre).Add("tokenizer.ggml.tokens", tokens)
            .Add("tokenizer.ggml.token_type", [.. tokens.Select((_, i) => i == 260 ? Control : Normal)]).Add("tokenizer.ggml.bos_token_id", 260u)
            .Add("tokenizer.ggml.merges", merges.Length > 0 ? merges : ["a b", "\u0120 a", "\u0120 ab", "\u0120a b"]);
    }

    private BpeTokenizer Read(RawGguf raw) => BpeTokenizer.FromFile(Write(raw));

    private string Write(RawGguf raw)
    {
        string path = _directory.File($"{Guid.NewGuid():N}.gguf");
        File.WriteAllBytes(path, raw.Build());
        return path;
    }
}
