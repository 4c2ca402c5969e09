using System.Text;
using Foretoken.Numerics;
using Foretoken.Tokenization;

namespace Foretoken.Tests.Tokenization;

public class BpeTrainerTests
{
    private static readonly string[] s_specials = ["<|end|>", "<|user|>", "<|assistant|>"];

    private static List<string> Corpus(int lines)
    {
        var random = new SeededRandom(11);
        string[] words = ["the", "then", "there", "number", "numbers", "add", "adds", "answer", "is", "fox", "mango", "café", "größer"];
        return [.. Enumerable.Range(0, lines).Select(_ => string.Join(' ', Enumerable.Range(0,
            12).Select(_ => random.Pick(words))) + $" {random.Next(1000)}\n#### 5")];
    }

    /// <summary>Counts every pair again after each merge.</summary>
    private static List<(string, string)> TrainNaively(IEnumerable<string> corpus, int merges, IReadOnlyDictionary<string, int> ids)
    {
        var words = new Dictionary<string, int>();
        foreach (string piece in corpus.SelectMany(SplitPattern.Qwen2.Split))
            words[piece] = words.GetValueOrDefault(piece) + 1;
        var split = words.Select(w => (Symbols: Encoding.UTF8.GetBytes(w.Key).Select(b => ByteAlphabet.ToChar(b).ToString()).ToList(),
            Count: w.Value)).ToList();
        var learned = new List<(string, string)>();
        for (int step = 0; step < merges; step++)
        {
            var counts = new Dictionary<(string, string), int>();
            foreach (var (symbols, count) in split)
            {
                for (int i = 0; i + 1 < symbols.Count; i++)
                    counts[(symbols[i], symbols[i + 1])] = counts.GetValueOrDefault((symbols[i], symbols[i + 1])) + count;
            }
            var best = counts.OrderByDescending(c => c.Value).ThenBy(c => ids[c.Key.Item1]).ThenBy(c => ids[c.Key.Item2]).First().Key;
            learned.Add(best);
            foreach (var (symbols, _) in split)
            {
                for (int i = 0; i + 1 < symbols.Count; i++)
                {
                    if ((symbols[i], symbols[i + 1]) != best)
                        continue;
                    symbols[i] += symbols[i + 1];
                    symbols.RemoveAt(i + 1);
                }
            }
        }
        return learned;
    }

    [Fact]
    public void Merges_equal_those_of_counting_everything_again()
    {
        List<string> corpus = Corpus(60);
        TrainedBpe trained = new BpeTrainer(259 + 45, SplitPattern.Qwen2, s_specials).Train(corpus);
        var ids = trained.Tokens.Select((token, id) => (token, id)).ToDictionary(t => t.token, t => t.id);
        Assert.Equal(TrainNaively(corpus, 45, ids), trained.Merges.Select(m => (trained.Tokens[m.Left], trained.Tokens[m.Right])));
    }

    [Fact]
    public void Vocabulary_counts_specials_bytes_and_merges_and_is_the_same_every_time()
    {
        TrainedBpe trained = new BpeTrainer(300, SplitPattern.Qwen2, s_specials).Train(Corpus(50));
        Assert.Equal(300, trained.Tokens.Count);
        Assert.Equal(41, trained.Merges.Count);
        Assert.Equal(s_specials, trained.Tokens.Take(3));
        Assert.Equal(trained.Tokens, new BpeTrainer(300, SplitPattern.Qwen2, s_specials).Train(Corpus(50)).Tokens);
    }

    [Fact]
    public void Written_directory_reads_back_as_the_same_tokenizer()
    {
        TrainedBpe trained = new BpeTrainer(305, SplitPattern.Qwen2, s_specials).Train(Corpus(50));
        string directory = Directory.CreateTempSubdirectory("foretoken-tokenizer-").FullName;
        try
        {
            TokenizerJsonWriter.Write(directory, trained, new TokenizerConfig("<|end|>", "<|end|>", 1024, "{{ 'x' }}"));
            BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(directory);
            Assert.Equal(305, tokenizer.VocabularySize);
            Assert.Equal([1, 2, 0], tokenizer.EncodeToIds("<|user|><|assistant|><|end|>"));
            Assert.Equal(trained.ToTokenizer().EncodeToIds("then the größer answer"), tokenizer.EncodeToIds("then the größer answer"));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void A_corpus_with_too_few_pairs_says_so()
    {
        var error = Assert.Throws<TokenizerException>(() => new BpeTrainer(400, SplitPattern.Qwen2, s_specials).Train(["abc abc"]));
        Assert.Contains("no pair is left", error.Message, StringComparison.Ordinal);
        Assert.Contains("259", Assert.Throws<TokenizerException>(() => new BpeTrainer(258, SplitPattern.Qwen2, s_specials)
            .Train(["a"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Special_tokens_in_the_corpus_are_not_learned_from()
    {
        TrainedBpe trained = new BpeTrainer(262, SplitPattern.Qwen2, s_specials).Train(["<|user|>abcd<|end|><|user|>abcd<|end|>"]);
        Assert.Equal(["ab", "cd", "abcd"], trained.Tokens.Skip(259));
    }
}
