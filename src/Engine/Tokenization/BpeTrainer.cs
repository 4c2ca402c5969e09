using System.Runtime.InteropServices;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// Learns byte-level BPE merges from text: the most frequent pair of neighbouring symbols becomes a token, until the vocabulary is full.
/// Deterministic: equal counts are decided by the smaller pair of ids. Pair counts are kept up to date word by word, so that a step costs
/// what the words with that pair cost. Sennrich et al., "Neural machine translation of rare words with subword units" (2016).
/// </summary>
/// <param name="vocabularySize">Tokens in all: special tokens, 256 bytes and merges.</param>
/// <param name="pattern">How text is cut into words; merges never cross words.</param>
/// <param name="specialTokens">Control tokens; they get the ids 0, 1, … in this order.</param>
public sealed class BpeTrainer(int vocabularySize, SplitPattern pattern, IReadOnlyList<string> specialTokens)
{
    private readonly List<int[]> _words = [];    // symbols of each distinct word; shrinks as pairs merge, the tail is cut off
    private readonly List<long> _wordCounts = [];
    private readonly Dictionary<(int, int), long> _pairCounts = [];
    private readonly Dictionary<(int, int), List<int>> _pairWords = []; // words that hold, or once held, the pair
    private readonly PriorityQueue<(int, int), (long, int, int)> _queue = new();

    /// <summary>Trains on <paramref name="corpus"/>. A text that holds a special token is cut there; the token itself is not learned from.</summary>
    /// <exception cref="TokenizerException">The vocabulary is too small for the bytes, or the corpus has too few pairs to fill it.</exception>
    public TrainedBpe Train(IEnumerable<string> corpus)
    {
        ArgumentNullException.ThrowIfNull(corpus);
        int merges = vocabularySize - 256 - specialTokens.Count;
        if (merges < 0)
            throw new TokenizerException($"vocabulary size: {vocabularySize} is less than 256 bytes and {specialTokens.Count} special tokens. Ask for at least {256 + specialTokens.Count}");
        if (specialTokens.Any(token => token.Length == 0) || specialTokens.Distinct().Count() != specialTokens.Count)
            throw new TokenizerException("special tokens: one is empty or stands twice. Give each a text of its own");
        var tokens = new List<string>(specialTokens);
        var byteIds = new int[256];
        foreach (int value in Enumerable.Range(0, 256).OrderBy(value => ByteAlphabet.ToChar((byte)value)))
        {
            byteIds[value] = tokens.Count;
            tokens.Add(ByteAlphabet.ToChar((byte)value).ToString());
        }
        CountWords(corpus, byteIds);
        CountPairs();
        var learned = new List<(int Left, int Right)>(merges);
        while (learned.Count < merges)
        {
            var (left, right) = MostFrequentPair(tokens.Count);
            learned.Add((left, right));
            tokens.Add(tokens[left] + tokens[right]);
            Merge(left, right, tokens.Count - 1);
        }
        return new TrainedBpe(pattern, specialTokens, tokens, learned);
    }

    private void CountWords(IEnumerable<string> corpus, int[] byteIds)
    {
        _words.Clear();
        _wordCounts.Clear();
        var index = new Dictionary<string, int>();
        var lookup = index.GetAlternateLookup<ReadOnlySpan<char>>();
        var specials = new AddedTokenMatcher(specialTokens.Select((content, id) => (content, new AddedToken(id, content))));
        foreach (string text in corpus)
        {
            for (int start = 0; start < text.Length;)
            {
                AddedTokenMatch? special = specials.Next(text, start, recognizeSpecialTokens: true, protectedText: default);
                ReadOnlySpan<char> segment = text.AsSpan(start, (special?.Start ?? text.Length) - start);
                for (int at = 0; at < segment.Length;)
                {
                    int end = pattern.NextEnd(segment, at);
                    ref int word = ref CollectionsMarshal.GetValueRefOrAddDefault(lookup, segment[at..end], out bool known);
                    if (!known)
                    {
                        word = _words.Count;
                        _words.Add([.. Encoding.UTF8.GetBytes(segment[at..end].ToString()).Select(value => byteIds[value])]);
                        _wordCounts.Add(0);
                    }
                    _wordCounts[word]++;
                    at = end;
                }
                start = special?.End ?? text.Length;
            }
        }
    }

    private void CountPairs()
    {
        _pairCounts.Clear();
        _pairWords.Clear();
        _queue.Clear();
        for (int word = 0; word < _words.Count; word++)
        {
            for (int i = 0; i + 1 < _words[word].Length; i++)
                Change((_words[word][i], _words[word][i + 1]), _wordCounts[word], word);
        }
        foreach (var (pair, count) in _pairCounts)
            Enqueue(pair, count);
    }

    private (int Left, int Right) MostFrequentPair(int tokenCount)
    {
        while (_queue.TryDequeue(out var pair, out var priority))
        {
            if (!_pairCounts.TryGetValue(pair, out long count) || count <= 0)
                continue;
            if (count == -priority.Item1)
                return pair;
            Enqueue(pair, count); // the count fell since it was queued
        }
        throw new TokenizerException(
            $"training corpus: no pair is left to merge at {tokenCount} of {vocabularySize} tokens. Give more text or ask for a smaller vocabulary");
    }

    private void Merge(int left, int right, int merged)
    {
        if (!_pairWords.Remove((left, right), out List<int>? words))
            return;
        var grown = new HashSet<(int, int)>();
        int previousWord = -1;
        foreach (int word in words)
        {
            // The list is in increasing order with repetitions next to each other.
            if (word != previousWord)
                MergeInWord(word, left, right, merged, grown);
            previousWord = word;
        }
        _pairCounts.Remove((left, right));
        foreach (var pair in grown)
        {
            if (_pairCounts.TryGetValue(pair, out long count) && count > 0)
                Enqueue(pair, count);
        }
    }

    private void MergeInWord(int word, int left, int right, int merged, HashSet<(int, int)> grown)
    {
        int[] symbols = _words[word];
        if (!Contains(symbols, left, right))
            return;
        long weight = _wordCounts[word];
        for (int i = 0; i + 1 < symbols.Length; i++)
            Change((symbols[i], symbols[i + 1]), -weight, -1);
        int count = 0;
        for (int i = 0; i < symbols.Length; count++)
        {
            bool here = i + 1 < symbols.Length && symbols[i] == left && symbols[i + 1] == right;
            symbols[count] = here ? merged : symbols[i];
            i += here ? 2 : 1;
        }
        _words[word] = symbols = symbols[..count];
        for (int i = 0; i + 1 < symbols.Length; i++)
        {
            var pair = (symbols[i], symbols[i + 1]);
            bool touched = pair.Item1 == merged || pair.Item2 == merged;
            Change(pair, weight, touched ? word : -1);
            if (touched)
                grown.Add(pair);
        }
    }

    private static bool Contains(int[] symbols, int left, int right)
    {
        for (int i = 0; i + 1 < symbols.Length; i++)
        {
            if (symbols[i] == left && symbols[i + 1] == right)
                return true;
        }
        return false;
    }

    /// <summary>Adds <paramref name="by"/> to the count of a pair and, if it is new in <paramref name="word"/> (not -1), notes the word.</summary>
    private void Change((int, int) pair, long by, int word)
    {
        CollectionsMarshal.GetValueRefOrAddDefault(_pairCounts, pair, out _) += by;
        if (word < 0)
            return;
        ref List<int>? words = ref CollectionsMarshal.GetValueRefOrAddDefault(_pairWords, pair, out _);
        words ??= [];
        if (words.Count == 0 || words[^1] != word)
            words.Add(word);
    }

    private void Enqueue((int Left, int Right) pair, long count) => _queue.Enqueue(pair, (-count, pair.Left, pair.Right));
}

/// <summary>What <see cref="BpeTrainer"/> learned.</summary>
/// <param name="Pattern">How text is cut into words.</param>
/// <param name="SpecialTokens">Control tokens, ids 0, 1, ….</param>
/// <param name="Tokens">All tokens by id; bytes and merges in the byte-level alphabet.</param>
/// <param name="Merges">Merges by rank, as pairs of ids.</param>
public sealed record TrainedBpe(
    SplitPattern Pattern, IReadOnlyList<string> SpecialTokens, IReadOnlyList<string> Tokens, IReadOnlyList<(int Left, int Right)> Merges)
{
    /// <summary>The tokenizer that a reader of the written files gets.</summary>
    public BpeTokenizer ToTokenizer() => BpeTokenizer.FromJson(TokenizerJsonWriter.TokenizerJson(this), "trained tokenizer");
}
