using System.Text;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public class MalformedTokenizerTests
{
    private static TokenizerJson Ab => new(["a", "b", "ab"], ["a b"]);

    public static TheoryData<string, string, string> Cases
    {
        get
        {
            var cases = new TheoryData<string, string, string>();
            void Add(string what, TokenizerJson json, string expected) => cases.Add(what, json.ToString(), expected);
            Add("merge of an unknown token", Ab with { RawMerges = """["a c"]""" }, "model.merges[0]: the token \"c\"");
            Add("merge into an unknown token", Ab with { RawMerges = """["b a"]""" }, "the token \"ba\"");
            Add("merge of three", Ab with { RawMerges = """["a b c"]""" }, "3 parts");
            Add("merge of one", Ab with { RawMerges = """[["a"]]""" }, "1 parts");
            Add("merge with an empty part (a cycle)", Ab with { RawMerges = """[["a",""]]""" }, "empty part");
            Add("merge that is a number", Ab with { RawMerges = "[7]" }, "model.merges[0]: must be a string");
            Add("merges that are no list", Ab with { RawMerges = "{}" }, "model.merges: must be an array");
            Add("duplicate id", Ab with { RawVocabulary = """{"a":0,"b":0,"ab":1}""" }, "id 0 already belongs to the token \"a\"");
            Add("duplicate token", Ab with { RawVocabulary = """{"a":0,"a":1,"b":2,"ab":3}""" }, "stands twice");
            Add("negative id", Ab with { RawVocabulary = """{"a":-1,"b":0,"ab":1}""" }, "must be a token id");
            Add("huge id", Ab with { RawVocabulary = """{"a":2147483647,"b":0,"ab":1}""" }, "must be a token id");
            Add("fractional id", Ab with { RawVocabulary = """{"a":0.5,"b":0,"ab":1}""" }, "must be a token id");
            Add("vocabulary that is a list", Ab with { RawVocabulary = "[]" }, "model.vocab: must be an object");
            Add("lone surrogate in a token", Ab with { RawVocabulary = """{"\ud800":0}""" }, "surrogate");
            Add("lone surrogate in a merge", Ab with { RawMerges = """["\ud800 b"]""" }, "surrogate");
            Add("empty added token", Ab with { Added = TokenizerJson.AddedToken(3, "") }, "added_tokens[0]: an added token is empty");
            Add("added token twice", Ab with { Added = TokenizerJson.AddedToken(3, "x") + "," + TokenizerJson.AddedToken(4, "x") }, "added twice");
            Add("added token with another's id", Ab with { Added = TokenizerJson.AddedToken(1, "x") }, "already belongs to \"b\"");
            Add("added token with two ids", Ab with { Added = TokenizerJson.AddedToken(5, "a") }, "has id 5 here and 0 in the vocabulary");
            Add("added token without id", Ab with { Added = """{"content":"x"}""" }, "added_tokens[0].id: is missing");
            Add("added token lost in normalization", Ab with
            {
                Normalizer = """{"type":"Strip"}""",
                Added = TokenizerJson.AddedToken(3, " ", "\"normalized\":true,\"special\":false"),
            }, "nothing is left");
            Add("unknown normalizer", Ab with { Normalizer = """{"type":"Precompiled"}""" }, "unsupported normalizer \"Precompiled\"");
            Add("unknown normalizer in a sequence", Ab with { Normalizer = """{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"BertNormalizer"}]}""" },
                "normalizer.normalizers[1].type: unsupported normalizer \"BertNormalizer\"");
            Add("replacing by an expression", Ab with { Normalizer = """{"type":"Replace","pattern":{"Regex":"a*"},"content":""}""" }, "unsupported regular expression a*");
            Add("replacing nothing", Ab with { Normalizer = """{"type":"Replace","pattern":{"String":""},"content":"x"}""" }, "match everywhere");
            Add("unknown pre-tokenizer", Ab with { PreTokenizer = """{"type":"UnicodeScripts"}""" }, "unsupported pre-tokenizer \"UnicodeScripts\"");
            Add("unknown pattern", Ab with { PreTokenizer = """{"type":"Split","pattern":{"Regex":"(a+)+$"},"behavior":"Isolated"}""" }, "unknown split pattern (a+)+$");
            Add("unknown behavior", Ab with { PreTokenizer = """{"type":"Split","pattern":{"String":"x"},"behavior":"7"}""" }, "unknown split behavior \"7\"");
            Add("pre-tokenizer after ByteLevel", Ab with { PreTokenizer = """{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]}""" }, "follows ByteLevel");
            Add("unknown decoder", Ab with { Decoder = """{"type":"CTC"}""" }, "unsupported decoder \"CTC\"");
            Add("decoders in an order that is not known", Ab with { Decoder = """{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]}""" }, "\"ByteFallback\" after");
            Add("stripping the end", Ab with { Decoder = """{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":0,"stop":1}]}""" }, "this Strip");
            Add("unknown post-processor", Ab with { PostProcessor = """{"type":"Magic"}""" }, "unsupported post-processor \"Magic\"");
            Add("template of an unknown token", Ab with
            {
                PostProcessor = """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}],"special_tokens":{}}""",
            }, "special_tokens.<s>: is missing");
            Add("dropout", Ab with { ModelExtra = "\"dropout\":0.1," }, "model.dropout");
            Add("word suffix", Ab with { ModelExtra = "\"end_of_word_suffix\":\"</w>\"," }, "model.end_of_word_suffix");
            Add("unknown token that is unknown", Ab with { ModelExtra = "\"unk_token\":\"<unk>\"," }, "\"<unk>\" is not in the vocabulary");
            Add("flag that is a string", Ab with { ModelExtra = "\"byte_fallback\":\"yes\"," }, "model.byte_fallback: must be true or false");
            cases.Add("another model", """{"model":{"type":"Unigram","vocab":[]}}""", "model.type: unsupported model \"Unigram\"");
            cases.Add("no model", "{}", "model: is missing");
            cases.Add("no object", "[]", "(root): must be an object");
            cases.Add("nothing", "", "JSON: not well-formed");
            cases.Add("deep nesting", new string('[', 100_000), "JSON: not well-formed");
            cases.Add("null vocabulary", """{"model":{"vocab":null,"merges":[]}}""", "model.vocab: is missing");
            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Broken_files_are_refused_by_file_and_field(string what, string json, string expected)
    {
        var error = Assert.Throws<TokenizerException>(() => BpeTokenizer.FromJson(Encoding.UTF8.GetBytes(json), "dir/tokenizer.json"));
        Assert.StartsWith("dir/tokenizer.json: ", error.Message, StringComparison.Ordinal);
        Assert.True(error.Message.Contains(expected, StringComparison.Ordinal), $"{what}: {error.Message}");
    }

    [Fact]
    public void A_file_cut_anywhere_is_refused()
    {
        byte[] json = Encoding.UTF8.GetBytes(TokenizerJson.SentencePiece(["h"], "▁ h") with { Vocabulary = ["<unk>", "<s>", "</s>", "▁",
            "h", "▁h"] } + "");
        _ = BpeTokenizer.FromJson(json);
        int end = Encoding.UTF8.GetString(json).TrimEnd().Length;
        for (int length = 0; length < json.Length - 4; length++)
            Assert.Throws<TokenizerException>(() => BpeTokenizer.FromJson(json.AsMemory(0, length)));
        Assert.True(end > 100);
    }

    [Theory]
    [InlineData("<0x-1>")]
    [InlineData("<0xZZ>")]
    [InlineData("<0x 1>")]
    [InlineData("<0x1>")]
    [InlineData("<0x100>")]
    public void Names_that_only_look_like_byte_tokens_are_text(string token)
    {
        TokenizerJson json = TokenizerJson.SentencePiece([token]);
        Assert.Equal("x" + token, "x" + json.Load().Decode([260]));
    }

    [Fact]
    public void Invalid_UTF8_in_the_file_is_refused()
    {
        byte[] json = Encoding.UTF8.GetBytes(Ab.ToString());
        json[Array.IndexOf(json, (byte)'a', Encoding.UTF8.GetString(json).IndexOf("vocab", StringComparison.Ordinal) + 5)] = 0xFF;
        Assert.Throws<TokenizerException>(() => BpeTokenizer.FromJson(json));
    }

    [Fact]
    public void Gaps_between_ids_are_allowed()
    {
        BpeTokenizer tokenizer = (Ab with { RawVocabulary = """{"a":5,"b":90,"ab":1000}""" }).Load();
        Assert.Equal([1000, 5], tokenizer.EncodeToIds("aba"));
        Assert.Equal(1001, tokenizer.VocabularySize);
    }

    [Fact]
    public void Duplicate_merges_do_not_loop()
    {
        Assert.Equal([2, 2], (Ab with { RawMerges = """["a b","a b"]""" }).Load().EncodeToIds("abab"));
    }

    [Fact]
    public void A_missing_file_and_a_directory_are_named()
    {
        string missing = Path.Combine(Path.GetTempPath(), "foretoken-no-such-directory");
        Assert.Contains("does not exist", Assert.Throws<TokenizerException>(() => BpeTokenizer.FromDirectory(missing)).Message,
            StringComparison.Ordinal);
        Assert.Contains("cannot be read", Assert.Throws<TokenizerException>(() => BpeTokenizer.FromFile(Path.GetTempPath())).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_megabyte_of_one_character_ends_for_character_models_too()
    {
        BpeTokenizer tokenizer = new TokenizerJson(["a", "aa", "aaaa", "aaaaaaaa"], ["a a", "aa aa", "aaaa aaaa"]).Load();
        Assert.Equal(Enumerable.Repeat(3, 1 << 17), tokenizer.EncodeToIds(new string('a', 1 << 20)));
    }
}
