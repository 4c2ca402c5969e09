using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public class TokenizerJsonReaderTests
{
    private static IEnumerable<string> Tokens(BpeTokenizer tokenizer, string text, bool special = true) =>
        tokenizer.EncodeToIds(text, special).Select(id => tokenizer.IdToToken(id)!);

    [Fact]
    public void SentencePiece_style_prepends_marks_spaces_and_falls_back_to_bytes()
    {
        BpeTokenizer tokenizer = TokenizerJson.SentencePiece(["h", "i", "▁h", "▁hi"], "▁ h", "▁h i").Load();
        Assert.Equal(["▁hi", "▁hi", "▁", "<0xC3>", "<0xA9>"], Tokens(tokenizer, "hi hi é"));
        Assert.Equal(tokenizer.EncodeToIds("hi").Prepend(1), tokenizer.EncodeToIds("hi", addBos: true));
        Assert.Equal("hi hi é", tokenizer.Decode(tokenizer.EncodeToIds("hi hi é")));
        Assert.Equal(["<s>", "▁hi", "</s>"], Tokens(tokenizer, "<s>hi</s>"));
        Assert.Equal("<s> hi", tokenizer.Decode(tokenizer.EncodeToIds("<s>hi"))); // only the text's own first space is dropped
        Assert.Equal("hi", tokenizer.Decode(tokenizer.EncodeToIds("<s>hi"), skipSpecialTokens: true));
    }

    [Fact]
    public void Unknown_symbols_are_fused_only_on_request_and_dropped_without_an_unknown_token()
    {
        var json = new TokenizerJson(["<unk>", "a", "b"], []) { ModelExtra = "\"unk_token\":\"<unk>\",\"fuse_unk\":true," };
        Assert.Equal([1, 0, 2], json.Load().EncodeToIds("axyb"));
        Assert.Equal([1, 0, 0, 2], (json with { ModelExtra = "\"unk_token\":\"<unk>\"," }).Load().EncodeToIds("axyb"));
        Assert.Equal([1, 2], (json with { ModelExtra = "\"unk_token\":null," }).Load().EncodeToIds("axyb"));
    }

    [Theory]
    [InlineData("always", true, "▁a|▁b|<x>|▁c")]
    [InlineData("first", true, "▁a|▁b|<x>|c")]
    [InlineData("never", true, "a|▁b|<x>|c")]
    [InlineData("first", false, "▁a|▁b|<x>|c")]
    public void Metaspace_puts_its_mark_where_the_scheme_says(string scheme, bool split, string expected)
    {
        string metaspace = $$"""{"type":"Metaspace","replacement":"▁","prepend_scheme":"{{scheme}}","split":{{(split ? "true" : "false")}}}""";
        BpeTokenizer tokenizer = new TokenizerJson(["▁", "a", "b", "c", "▁a", "▁b", "▁c", "a▁", "<x>"], ["▁ a", "▁ b", "▁ c"])
        {
            PreTokenizer = metaspace,
            Decoder = metaspace,
            Added = TokenizerJson.AddedToken(8, "<x>"),
        }.Load();
        Assert.Equal(expected.Split('|'), Tokens(tokenizer, "a b<x>c"));
        Assert.Equal("a b", tokenizer.Decode(tokenizer.EncodeToIds("a b")));
    }

    [Fact]
    public void Metaspace_split_keeps_merges_inside_words()
    {
        var json = new TokenizerJson(["▁", "a", "a▁"], ["a ▁"]) { PreTokenizer = """{"type":"Metaspace","replacement":"▁","add_prefix_space":false}""" };
        Assert.Equal(["a", "▁", "a"], Tokens(json.Load(), "a a"));
        Assert.Equal(["a▁", "a"], Tokens((json with
        {
            PreTokenizer = """{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}""",
        }).Load(), "a a"));
    }

    [Fact]
    public void Byte_level_prefix_space_and_the_GPT2_pattern()
    {
        TokenizerJson json = TokenizerJson.ByteLevel("Ġ a", "b b");
        Assert.Equal(["a", "Ġa", "Ġ", "b"], Tokens(json.Load(), "a a b"));
        BpeTokenizer prefixed = (json with { PreTokenizer = """{"type":"ByteLevel"}""" }).Load();
        Assert.Equal(["Ġa", "Ġa"], Tokens(prefixed, "a a"));
        Assert.Equal(["Ġa"], Tokens(prefixed, " a"));
    }

    [Fact]
    public void Digits_literal_splits_and_sequences_cut_before_merging()
    {
        TokenizerJson json = TokenizerJson.ByteLevel("1 2", "a -", "- a");
        string byteLevel = """{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}""";
        IEnumerable<string> With(string stage, string text) =>
            Tokens((json with { PreTokenizer = $$"""{"type":"Sequence","pretokenizers":[{{stage}},{{byteLevel}}]}""" }).Load(), text);
        Assert.Equal(["1", "2"], With("""{"type":"Digits","individual_digits":true}""", "12"));
        Assert.Equal(["12", "a-"], With("""{"type":"Digits","individual_digits":false}""", "12a-"));
        string Split(string behavior) => $$"""{"type":"Split","pattern":{"String":"-"},"behavior":"{{behavior}}","invert":false}""";
        Assert.Equal(["a", "a"], With(Split("Removed"), "a-a"));
        Assert.Equal(["a", "-", "a"], With(Split("Isolated"), "a-a"));
        Assert.Equal(["a-", "a"], With(Split("MergedWithPrevious"), "a-a"));
        Assert.Equal(["a", "-a"], With(Split("MergedWithNext"), "a-a"));
    }

    [Fact]
    public void A_word_of_the_vocabulary_is_taken_whole_when_merges_are_ignored()
    {
        TokenizerJson json = TokenizerJson.ByteLevel("a b", "b c", "ab c");
        json = json with { Vocabulary = [.. json.Vocabulary, "bcd"] };
        Assert.Equal(["bc", "d"], Tokens(json.Load(), "bcd"));
        BpeTokenizer ignoring = (json with { ModelExtra = "\"ignore_merges\":true," }).Load();
        Assert.Equal(["bcd"], Tokens(ignoring, "bcd"));
        Assert.Equal(["abc", "d"], Tokens(ignoring, "abcd"));
    }

    [Fact]
    public void Merges_may_be_pairs_and_a_version_line_is_not_one()
    {
        TokenizerJson json = TokenizerJson.ByteLevel("a b", "ab c");
        Assert.Equal(["abc"], Tokens((json with { RawMerges = """[["a","b"],["ab","c"]]""" }).Load(), "abc"));
        Assert.Equal(["abc"], Tokens((json with { RawMerges = """["#version: 0.2","a b","ab c"]""" }).Load(), "abc"));
    }

    [Fact]
    public void Added_tokens_match_leftmost_longest_and_take_white_space_and_word_boundaries_into_account()
    {
        TokenizerJson json = TokenizerJson.ByteLevel() with
        {
            Added = string.Join(',',
                TokenizerJson.AddedToken(300, "<a>"), TokenizerJson.AddedToken(301, "<a><b>"), TokenizerJson.AddedToken(302, "<l>",
                    "\"lstrip\":true,\"special\":true"),
                TokenizerJson.AddedToken(303, "<r>", "\"rstrip\":true,\"special\":true"), TokenizerJson.AddedToken(304, "cat",
                    "\"single_word\":true,\"special\":false")),
        };
        BpeTokenizer tokenizer = json.Load();
        Assert.Equal([301, 300], tokenizer.EncodeToIds("<a><b><a>"));
        Assert.Equal(["x", "<l>", "Ġ", "y"], Tokens(tokenizer, "x \n<l> y"));
        Assert.Equal(["x", "Ġ", "<r>", "y"], Tokens(tokenizer, "x <r> \ty"));
        Assert.Equal(["<r>", "<l>"], Tokens(tokenizer, "<r> <l>"));
        Assert.Equal(["cat", "Ġ", "c", "a", "t", "s"], Tokens(tokenizer, "cat cats"));
        Assert.Equal(["c", "a", "t", "_", "!", "cat"], Tokens(tokenizer, "cat_!cat"));
        Assert.Equal(["cat", "<", "a", ">"], Tokens(tokenizer, "cat<a>", special: false)); // an added word that is not special stays one
        Assert.Equal(305, tokenizer.VocabularySize);
        Assert.Null(tokenizer.IdToToken(299));
        Assert.Equal("", tokenizer.Decode([299, 1 << 20]));
    }

    [Fact]
    public void Normalized_added_tokens_are_matched_after_normalization()
    {
        TokenizerJson json = TokenizerJson.ByteLevel() with
        {
            Normalizer = """{"type":"Lowercase"}""",
            Added = TokenizerJson.AddedToken(300, "Yes", "\"normalized\":true,\"special\":false") + "," + TokenizerJson.AddedToken(301, "No"),
        };
        Assert.Equal(["Yes", "n", "o", "No"], Tokens(json.Load(), "YESnONo"));
    }

    [Fact]
    public void Qwen_style_NFC_composes_before_encoding()
    {
        BpeTokenizer tokenizer = (TokenizerJson.ByteLevel("Ã ©") with { Normalizer = """{"type":"NFC"}""" }).Load();
        Assert.Equal(["Ã©"], Tokens(tokenizer, "e\u0301"));
        Assert.Equal(["e", "Ì", "ģ"], Tokens(TokenizerJson.ByteLevel("Ã ©").Load(), "e\u0301"));
    }

    [Fact]
    public void Index_by_token_count_is_where_the_first_tokens_end()
    {
        BpeTokenizer tokenizer = (TokenizerJson.ByteLevel("a b", "Ġ ab") with { Added = TokenizerJson.AddedToken(300, "<x>") }).Load();
        int Index(string text, int count, out int taken)
        {
            int index = tokenizer.GetIndexByTokenCount(text, count, out string? normalized, out taken);
            Assert.Null(normalized);
            return index;
        }
        Assert.Equal((2, 1), (Index("ab ab<x>é", 1, out int taken), taken));
        Assert.Equal((5, 2), (Index("ab ab<x>é", 2, out taken), taken));
        Assert.Equal((8, 3), (Index("ab ab<x>é", 3, out taken), taken));
        Assert.Equal((8, 3), (Index("ab ab<x>é", 4, out taken), taken)); // the fourth token is half of é
        Assert.Equal((9, 5), (Index("ab ab<x>é", 99, out taken), taken));
        BpeTokenizer marked = TokenizerJson.SentencePiece(["h", "i", "▁h", "▁hi"], "▁ h", "▁h i").Load();
        Assert.Equal(3, marked.GetIndexByTokenCount("hi hi", 1, out string? normalizedText, out taken));
        Assert.Equal("▁hi▁hi", normalizedText);
    }

    [Fact]
    public void A_vocabulary_without_some_bytes_says_how_many()
    {
        var json = TokenizerJson.ByteLevel() with { RawVocabulary = """{"a":0,"b":1}""", RawMerges = "[]" };
        Assert.Equal(254, json.Load().MissingBytes);
        Assert.Equal([0, 1], json.Load().EncodeToIds("a?b"));
        Assert.Equal(0, TokenizerJson.ByteLevel().Load().MissingBytes);
    }

    [Fact]
    public void Control_tokens_are_not_matched_in_protected_text_but_added_words_are()
    {
        BpeTokenizer tokenizer = (TokenizerJson.ByteLevel() with
        {
            Added = TokenizerJson.AddedToken(300, "<x>") + "," + TokenizerJson.AddedToken(301, "<t>",
                "\"special\":false") + "," + TokenizerJson.AddedToken(302, "  ", "\"special\":false"),
        }).Load();
        IEnumerable<string> Marked(string text, string marks)
        {
            var ids = new List<int>();
            tokenizer.EncodeToIds(new MarkedText(text, [.. marks.Select(mark => mark == 'u')]), ids);
            return ids.Select(id => tokenizer.IdToToken(id)!);
        }
        Assert.Equal(["<x>", "<", "x", ">", "<x>"], Marked("<x><x><x>", "___uuu___"));
        Assert.Equal(["<", "t", ">", "  "], Marked("<t>  ", "uuuuu"));
        Assert.Equal(["<", "x", ">"], Marked("<x>", "__u")); // a token half made of untrusted text
    }
}
