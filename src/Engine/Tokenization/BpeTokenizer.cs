using System.Runtime.InteropServices;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// A BPE tokenizer as stored in a Hugging Face <c>tokenizer.json</c>; method names as in Microsoft.ML.Tokenizers. Immutable and thread-safe.
/// Text that is not well-formed UTF-16 is read with U+FFFD in place of every unpaired surrogate.
/// </summary>
public sealed class BpeTokenizer
{
    private readonly BpeModel _model;
    private readonly PreTokenizer[] _stages;
    private readonly AddedTokenMatcher _rawTokens;
    private readonly string?[] _tokens;  // [VocabularySize] as written in the file; null where an id has no token
    private readonly byte[]?[] _bytes;   // [VocabularySize] what each token decodes to
    private readonly bool[] _special;    // [VocabularySize]
    private readonly Dictionary<string, int> _addedIds;

    internal BpeTokenizer(BpeModel model, PreTokenizer[] stages, IReadOnlyList<AddedToken> addedTokens)
    {
        _model = model;
        _stages = stages;
        AddedTokens = addedTokens;
        _addedIds = addedTokens.ToDictionary(token => token.Content, token => token.Id);
        _rawTokens = new AddedTokenMatcher(addedTokens.Select(token => (token.Content, token)));
        int size = model.Vocabulary.Values.Concat(_addedIds.Values).DefaultIfEmpty(-1).Max() + 1;
        _tokens = new string?[size];
        _bytes = new byte[]?[size];
        _special = new bool[size];
        foreach (var (token, id) in model.Vocabulary.Concat(_addedIds))
        {
            _tokens[id] = token;
            _bytes[id] = ByteAlphabet.ToBytes(token);
        }
        foreach (AddedToken token in addedTokens)
            _special[token.Id] |= token.Special;
    }

    /// <summary>One more than the largest token id; ids below it may be without a token.</summary>
    public int VocabularySize => _tokens.Length;

    /// <summary>Tokens that are matched in the text before BPE, control tokens among them.</summary>
    public IReadOnlyList<AddedToken> AddedTokens { get; }

    /// <summary>Reads a <c>tokenizer.json</c>.</summary>
    /// <exception cref="TokenizerException">The file is missing, malformed or asks for something unsupported.</exception>
    public static BpeTokenizer FromFile(string path) => TokenizerJsonReader.Read(ReadFile(path), path);

    /// <summary>Reads the <c>tokenizer.json</c> of a Hugging Face model directory.</summary>
    /// <exception cref="TokenizerException">As <see cref="FromFile"/>.</exception>
    public static BpeTokenizer FromDirectory(string directory) => FromFile(Path.Combine(directory, "tokenizer.json"));

    /// <summary>Reads the UTF-8 text of a <c>tokenizer.json</c>; <paramref name="name"/> stands for the file in error messages.</summary>
    /// <exception cref="TokenizerException">As <see cref="FromFile"/>.</exception>
    public static BpeTokenizer FromJson(ReadOnlyMemory<byte> utf8, string name = "tokenizer.json") => TokenizerJsonReader.Read(utf8, name);

    /// <summary>The id of a token as written in the vocabulary (byte-level tokens in their alphabet), or null.</summary>
    public int? TokenToId(string token) =>
        _addedIds.TryGetValue(token, out int id) || _model.Vocabulary.TryGetValue(token, out id) ? id : null;

    /// <summary>The token of an id as written in the vocabulary, or null if there is none.</summary>
    public string? IdToToken(int id) => (uint)id < (uint)_tokens.Length ? _tokens[id] : null;

    /// <summary>True for control tokens.</summary>
    public bool IsSpecial(int id) => (uint)id < (uint)_special.Length && _special[id];

    /// <summary>The UTF-8 bytes that a token decodes to (part of a character, possibly); empty for an id without a token.</summary>
    public ReadOnlySpan<byte> TokenBytes(int id) => (uint)id < (uint)_bytes.Length ? _bytes[id] : default;

    /// <summary>Token ids of <paramref name="text"/>.</summary>
    /// <param name="text">Text.</param>
    /// <param name="recognizeSpecialTokens">Whether the text of a control token becomes that token; false for text that is not trusted.</param>
    public IReadOnlyList<int> EncodeToIds(string text, bool recognizeSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>();
        EncodeToIds(text, ids, recognizeSpecialTokens);
        return ids;
    }

    /// <summary>Appends the token ids of <paramref name="text"/> to <paramref name="destination"/>.</summary>
    public void EncodeToIds(ReadOnlySpan<char> text, List<int> destination, bool recognizeSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(destination);
        if (!WellFormed(text))
            text = Repair(text);
        Encode(text, new EncodeRun(_model, destination), recognizeSpecialTokens);
    }

    /// <summary>Writes the token ids of <paramref name="text"/> to <paramref name="destination"/> and returns their number.</summary>
    /// <exception cref="ArgumentException">The destination is too short; a text has at most one token per UTF-8 byte.</exception>
    public int EncodeToIds(ReadOnlySpan<char> text, Span<int> destination, bool recognizeSpecialTokens = true)
    {
        var ids = new List<int>();
        EncodeToIds(text, ids, recognizeSpecialTokens);
        CollectionsMarshal.AsSpan(ids).CopyTo(destination);
        return ids.Count;
    }

    /// <summary>The number of tokens of <paramref name="text"/>.</summary>
    public int CountTokens(ReadOnlySpan<char> text, bool recognizeSpecialTokens = true)
    {
        var ids = new List<int>();
        EncodeToIds(text, ids, recognizeSpecialTokens);
        return ids.Count;
    }

    /// <summary>
    /// The text of <paramref name="ids"/>. Bytes that are not UTF-8 become U+FFFD, one per maximal invalid part; ids without a token (padding of
    /// the vocabulary) give nothing.
    /// </summary>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens = false)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var bytes = new MemoryStream();
        foreach (int id in ids)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(id, nameof(ids));
            if (!(skipSpecialTokens && IsSpecial(id)))
                bytes.Write(TokenBytes(id));
        }
        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    private void Encode(ReadOnlySpan<char> text, EncodeRun run, bool recognizeSpecialTokens)
    {
        int start = 0;
        while (start < text.Length)
        {
            AddedTokenMatch? match = _rawTokens.Next(text, start, recognizeSpecialTokens, default);
            int end = match?.Start ?? text.Length;
            run.SegmentStartsText = start == 0;
            if (end > start)
                new WordFlow(_stages, 0, run).Pass(text[start..end], start);
            if (match is not { } found)
                return;
            run.Add(found.Token.Id);
            start = found.End;
        }
    }

    private static byte[] ReadFile(string path)
    {
        try
        {
            return File.ReadAllBytes(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw TokenizerException.For(path, "file", error is FileNotFoundException or DirectoryNotFoundException ? "does not exist" : error.Message,
                "Give a model directory with a tokenizer.json", error);
        }
    }

    private static bool WellFormed(ReadOnlySpan<char> text)
    {
        for (int at = text.IndexOfAnyInRange('\uD800', '\uDFFF'); at >= 0 && at < text.Length;)
        {
            if (at + 1 >= text.Length || !char.IsSurrogatePair(text[at], text[at + 1]))
                return false;
            int next = text[(at + 2)..].IndexOfAnyInRange('\uD800', '\uDFFF');
            if (next < 0)
                return true;
            at += 2 + next;
        }
        return true;
    }

    private static string Repair(ReadOnlySpan<char> text)
    {
        var repaired = new StringBuilder(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
            repaired.Append(rune.ToString());
        return repaired.ToString();
    }
}
