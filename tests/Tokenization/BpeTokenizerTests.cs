using System.Text;
using Foretoken.Numerics;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public class BpeTokenizerTests
{
    private static readonly TrainedBpe s_trained = Train();
    private static readonly BpeTokenizer s_tokenizer = s_trained.ToTokenizer();

    private static TrainedBpe Train()
    {
        var random = new SeededRandom(3);
        IEnumerable<string> corpus = Enumerable.Range(0, 400).Select(_ => RandomText.Mixed(random, 20) + RandomText.FromAlphabet(random, "abc", 30));
        return new BpeTrainer(700, SplitPattern.Qwen2, ["<|end|>", "<|user|>", "<|assistant|>"]).Train(corpus);
    }

    /// <summary>The definition: merge the lowest-ranked pair, leftmost first, until nothing merges.</summary>
    private static List<int> EncodeNaively(string text)
    {
        var ids = new List<int>();
        foreach (string piece in SplitPattern.Qwen2.Split(text))
        {
            List<string> symbols = [.. Encoding.UTF8.GetBytes(piece).Select(b => ByteAlphabet.ToChar(b).ToString())];
            while (true)
            {
                int best = int.MaxValue, at = -1;
                for (int i = 0; i + 1 < symbols.Count; i++)
                {
                    for (int rank = 0; rank < Math.Min(best, s_trained.Merges.Count); rank++)
                    {
                        if (s_trained.Tokens[s_trained.Merges[rank].Left] == symbols[i]
                            && s_trained.Tokens[s_trained.Merges[rank].Right] == symbols[i + 1])
                            (best, at) = (rank, i);
                    }
                }
                if (at < 0)
                    break;
                symbols[at] += symbols[at + 1];
                symbols.RemoveAt(at + 1);
            }
            ids.AddRange(symbols.Select(symbol => s_tokenizer.TokenToId(symbol)!.Value));
        }
        return ids;
    }

    [Fact]
    public void Encoding_merges_the_lowest_rank_first_and_the_leftmost_of_equals()
    {
        var random = new SeededRandom(5);
        for (int round = 0; round < 60; round++)
        {
            string text = RandomText.Mixed(random, 10) + RandomText.FromAlphabet(random, "abc", random.Next(1, 120));
            Assert.Equal(EncodeNaively(text), s_tokenizer.EncodeToIds(text));
            Assert.Equal(EncodeNaively(text), s_tokenizer.EncodeToIds(text)); // again, from the cache
        }
    }

    [Fact]
    public void Decoding_gives_the_text_back()
    {
        var random = new SeededRandom(6);
        for (int round = 0; round < 500; round++)
        {
            string text = RandomText.Mixed(random, 15);
            Assert.Equal(text, s_tokenizer.Decode(s_tokenizer.EncodeToIds(text)));
        }
    }

    [Fact]
    public void A_megabyte_of_one_letter_is_encoded()
    {
        string text = new('a', 1 << 20);
        IReadOnlyList<int> ids = s_tokenizer.EncodeToIds(text);
        Assert.Equal(text, s_tokenizer.Decode(ids));
        Assert.True(ids.Count < text.Length / 2);
        Assert.Equal(ids.Take(10), Enumerable.Repeat(ids[0], 10));
    }

    [Fact]
    public void Special_tokens_are_recognised_unless_the_text_is_plain()
    {
        Assert.Equal([1, 2, 0], s_tokenizer.EncodeToIds("<|user|><|assistant|><|end|>"));
        IReadOnlyList<int> plain = s_tokenizer.EncodeToIds("<|user|>", recognizeSpecialTokens: false);
        Assert.DoesNotContain(1, plain);
        Assert.Equal("<|user|>", s_tokenizer.Decode(plain));
        Assert.Equal("", s_tokenizer.Decode([1, 2, 0], skipSpecialTokens: true));
    }

    [Fact]
    public void Unpaired_surrogates_are_read_as_replacement_characters()
    {
        Assert.Equal(s_tokenizer.EncodeToIds("a\uFFFDb😀\uFFFD"), s_tokenizer.EncodeToIds("a\uD83Db😀\uDE00"));
    }

    [Fact]
    public void The_span_overload_writes_the_same_ids()
    {
        Span<int> ids = stackalloc int[32];
        int count = s_tokenizer.EncodeToIds("Hello there 42", ids);
        Assert.Equal(s_tokenizer.EncodeToIds("Hello there 42"), ids[..count].ToArray());
        Assert.Equal(count, s_tokenizer.CountTokens("Hello there 42"));
    }

    [Fact]
    public void BOS_comes_from_the_template_or_the_configuration_beside_the_file()
    {
        string directory = Directory.CreateTempSubdirectory("foretoken-bos-").FullName;
        try
        {
            File.WriteAllBytes(Path.Combine(directory, "tokenizer.json"), TokenizerJsonWriter.TokenizerJson(s_trained));
            Assert.Empty(BpeTokenizer.FromDirectory(directory).PrefixTokenIds);
            File.WriteAllText(Path.Combine(directory, "tokenizer_config.json"), """{"bos_token":{"content":"<|user|>"},"eos_token":"<|end|>"}""");
            BpeTokenizer configured = BpeTokenizer.FromDirectory(directory);
            Assert.Equal((1, 0), (configured.BosTokenId!.Value, configured.EosTokenId!.Value));
            Assert.Equal([1, 0], configured.EncodeToIds("<|end|>", addBos: true));
            TokenizerJson json = TokenizerJson.SentencePiece(["a"]);
            File.WriteAllText(Path.Combine(directory, "tokenizer.json"), json.ToString());
            Assert.Equal([1], BpeTokenizer.FromDirectory(directory).PrefixTokenIds);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Threads_may_share_a_tokenizer()
    {
        var random = new SeededRandom(31);
        string[] texts = [.. Enumerable.Range(0, 200).Select(_ => RandomText.Mixed(random, 20))];
        int[][] expected = [.. texts.Select(text => s_tokenizer.EncodeToIds(text).ToArray())];
        BpeTokenizer shared = s_trained.ToTokenizer();
        Parallel.For(0, 4 * texts.Length, i => Assert.Equal(expected[i % texts.Length], shared.EncodeToIds(texts[i % texts.Length])));
    }
}
