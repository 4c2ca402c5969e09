using System.Runtime.InteropServices;
using System.Text;
using Foretoken.Formats;

namespace Foretoken.Tokenization;

/// <summary>
/// A BPE tokenizer as stored in a Hugging Face <c>tokenizer.json</c> or a GGUF file, byte-level or SentencePiece-style; method names as in
/// Microsoft.ML.Tokenizers. Immutable and thread-safe. Text that is not well-formed UTF-16 is read with U+FFFD in place of every unpaired
/// surrogate.
/// </summary>
public sealed class BpeTokenizer
{
    private readonly TokenizerParts _parts;
    private readonly AddedTokenMatcher _rawTokens, _normalizedTokens;
    private readonly string?[] _tokens;  // [VocabularySize] as written in the file; null where an id has no token
    private readonly bool[] _special;    // [VocabularySize]
    private readonly Dictionary<string, int> _addedIds;

    internal BpeTokenizer(TokenizerParts parts)
    {
        _parts = parts;
        _addedIds = parts.AddedTokens.ToDictionary(token => token.Content, token => token.Id);
        _rawTokens = new AddedTokenMatcher(parts.AddedTokens.Where(token => !token.Normalized).Select(token => (token.Content, token)));
        _normalizedTokens = new AddedTokenMatcher(parts.AddedTokens.Where(token => token.Normalized).Select(token =>
            (NormalizedContent(token), token)));
        int size = Math.Max(parts.Size, parts.Model.Vocabulary.Values.Concat(_addedIds.Values).DefaultIfEmpty(-1).Max() + 1);
        _tokens = new string?[size];
        _special = new bool[size];
        foreach (var (token, id) in parts.Model.Vocabulary.Concat(_addedIds))
            _tokens[id] = token;
        foreach (AddedToken token in parts.AddedTokens)
            _special[token.Id] |= token.Special;
        Decoder = new TokenDecoder(_tokens, parts.Decoder);
    }

    /// <summary>One more than the largest token id; ids below it may be without a token.</summary>
    public int VocabularySize => _tokens.Length;

    /// <summary>Tokens that are matched in the text before BPE, control tokens among them.</summary>
    public IReadOnlyList<AddedToken> AddedTokens => _parts.AddedTokens;

    /// <summary>
    /// The tokens that <c>addBos</c> puts before a text: those of the post-processor's template, else the configured BOS; may be empty.
    /// </summary>
    public IReadOnlyList<int> PrefixTokenIds => _parts.Prefix.Count > 0 || BosTokenId is null ? _parts.Prefix : [BosTokenId.Value];

    /// <summary>The tokens that the post-processor's template puts after a text; never added by this class.</summary>
    public IReadOnlyList<int> SuffixTokenIds => _parts.Suffix;

    /// <summary>Whether the model expects <see cref="PrefixTokenIds"/> before every text (GGUF files may name a BOS token and not want it).</summary>
    public bool AddsPrefix => _parts.AddsPrefix;

    /// <summary>The BOS token that <c>tokenizer_config.json</c> or the GGUF file names, or null.</summary>
    public int? BosTokenId { get; internal init; }

    /// <summary>The EOS token that <c>tokenizer_config.json</c> or the GGUF file names, or null. The model's configuration may name more.</summary>
    public int? EosTokenId { get; internal init; }

    /// <summary>
    /// Bytes that have no token; not 0 only in incomplete byte-level vocabularies. Text with such bytes gets the unknown token in their place or,
    /// without one, loses them, as it does in the reference implementation.
    /// </summary>
    public int MissingBytes => _parts.Model.ByteLevel ? _parts.Model.MissingBytes : 0;

    internal TokenDecoder Decoder { get; }

    internal TokenizerParts Parts => _parts;

    /// <summary>Reads a <c>tokenizer.json</c>, and the <c>tokenizer_config.json</c> beside it if there is one, or the tokenizer of a GGUF file.</summary>
    /// <exception cref="TokenizerException">A file is missing, malformed or asks for something unsupported.</exception>
    /// <exception cref="ModelFormatException">A GGUF file breaks a rule of its format.</exception>
    public static BpeTokenizer FromFile(string path)
    {
        if (GgufFile.IsGguf(path))
        {
            using var file = new GgufFile(path);
            return FromGguf(file.Metadata);
        }

        BpeTokenizer tokenizer = TokenizerJsonReader.Read(TokenizerFiles.Read(path), path);
        TokenizerConfigFile config = TokenizerConfigFile.FromDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        return new BpeTokenizer(tokenizer._parts) { BosTokenId = tokenizer.IdOf(config.BosToken), EosTokenId = tokenizer.IdOf(config.EosToken) };
    }

    /// <summary>Reads the <c>tokenizer.json</c> of a Hugging Face model directory.</summary>
    /// <exception cref="TokenizerException">As <see cref="FromFile"/>.</exception>
    public static BpeTokenizer FromDirectory(string directory) => FromFile(Path.Combine(directory, TokenizerFiles.TokenizerJson));

    /// <summary>Reads the tokenizer of a model: a Hugging Face directory or a GGUF file.</summary>
    /// <exception cref="TokenizerException">As <see cref="FromFile"/>.</exception>
    /// <exception cref="ModelFormatException">As <see cref="FromFile"/>.</exception>
    public static BpeTokenizer FromModel(string path) => GgufFile.IsGguf(path) ? FromFile(path) : FromDirectory(path);

    /// <summary>Reads the tokenizer of an open GGUF file.</summary>
    /// <exception cref="TokenizerException">There is none, or it is malformed or asks for something unsupported.</exception>
    /// <exception cref="ModelFormatException">A value has the wrong type.</exception>
    public static BpeTokenizer FromGguf(GgufMetadata metadata) => GgufTokenizerReader.Read(metadata);

    /// <summary>Reads the UTF-8 text of a <c>tokenizer.json</c>; <paramref name="name"/> stands for the file in error messages.</summary>
    /// <exception cref="TokenizerException">As <see cref="FromFile"/>.</exception>
    public static BpeTokenizer FromJson(ReadOnlyMemory<byte> utf8,
        string name = TokenizerFiles.TokenizerJson) => TokenizerJsonReader.Read(utf8, name);

    /// <summary>The id of a token as written in the vocabulary (byte-level tokens in their alphabet), or null.</summary>
    public int? TokenToId(string token) =>
        _addedIds.TryGetValue(token, out int id) || _parts.Model.Vocabulary.TryGetValue(token, out id) ? id : null;

    /// <summary>The token of an id as written in the vocabulary, or null if there is none.</summary>
    public string? IdToToken(int id) => (uint)id < (uint)_tokens.Length ? _tokens[id] : null;

    /// <summary>True for control tokens.</summary>
    public bool IsSpecial(int id) => (uint)id < (uint)_special.Length && _special[id];

    /// <summary>The UTF-8 bytes that a token decodes to inside a text (part of a character, possibly); empty for an id without a token.</summary>
    public ReadOnlySpan<byte> TokenBytes(int id) => Decoder.Bytes(id, first: false);

    /// <summary>Token ids of <paramref name="text"/>.</summary>
    /// <param name="text">Text.</param>
    /// <param name="recognizeSpecialTokens">Whether the text of a control token becomes that token; false for text that is not trusted.</param>
    /// <param name="addBos">Whether <see cref="PrefixTokenIds"/> come first.</param>
    public IReadOnlyList<int> EncodeToIds(string text, bool recognizeSpecialTokens = true, bool addBos = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>();
        EncodeToIds(text, ids, recognizeSpecialTokens, addBos);
        return ids;
    }

    /// <summary>
    /// Appends the token ids of <paramref name="text"/> to <paramref name="destination"/>; see
    /// <see cref="EncodeToIds(string, bool, bool)"/>.
    /// </summary>
    public void EncodeToIds(ReadOnlySpan<char> text, List<int> destination, bool recognizeSpecialTokens = true, bool addBos = false)
    {
        ArgumentNullException.ThrowIfNull(destination);
        if (addBos)
            destination.AddRange(PrefixTokenIds);
        Encode(text, default, new EncodeRun(_parts.Model, destination), recognizeSpecialTokens);
    }

    /// <summary>Writes the token ids of <paramref name="text"/> to <paramref name="destination"/> and returns their number.</summary>
    /// <exception cref="ArgumentException">
    /// The destination is too short. A text without normalizer has at most one token per UTF-8 byte, and a few for the beginning.
    /// </exception>
    public int EncodeToIds(ReadOnlySpan<char> text, Span<int> destination, bool recognizeSpecialTokens = true, bool addBos = false)
    {
        var ids = new List<int>();
        EncodeToIds(text, ids, recognizeSpecialTokens, addBos);
        CollectionsMarshal.AsSpan(ids).CopyTo(destination);
        return ids.Count;
    }

    /// <summary>The number of tokens of <paramref name="text"/>.</summary>
    public int CountTokens(ReadOnlySpan<char> text, bool recognizeSpecialTokens = true, bool addBos = false)
    {
        var ids = new List<int>();
        EncodeToIds(text, ids, recognizeSpecialTokens, addBos);
        return ids.Count;
    }

    /// <summary>
    /// How much of <paramref name="text"/> its first <paramref name="maxTokenCount"/> tokens cover, in UTF-16 units of the normalized text. A token
    /// that ends inside a character is left out together with the character.
    /// </summary>
    /// <param name="text">Text.</param>
    /// <param name="maxTokenCount">The most tokens to take.</param>
    /// <param name="normalizedText">The normalized text that the index refers to; null if it is <paramref name="text"/> itself.</param>
    /// <param name="tokenCount">How many tokens cover the text before the index.</param>
    /// <param name="recognizeSpecialTokens">As in <see cref="EncodeToIds(string, bool, bool)"/>.</param>
    public int GetIndexByTokenCount(string text, int maxTokenCount, out string? normalizedText, out int tokenCount,
        bool recognizeSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentOutOfRangeException.ThrowIfNegative(maxTokenCount);
        var ends = new List<int>();
        var run = new EncodeRun(_parts.Model, [], ends) { NormalizedText = new StringBuilder() };
        Encode(text, default, run, recognizeSpecialTokens);
        string normalized = run.NormalizedText.ToString();
        normalizedText = normalized == text ? null : normalized;
        tokenCount = Math.Min(maxTokenCount, ends.Count);
        if (tokenCount == ends.Count)
            return normalized.Length;
        while (tokenCount > 0 && ends[tokenCount - 1] < 0)
            tokenCount--;
        return tokenCount == 0 ? 0 : ends[tokenCount - 1];
    }

    /// <summary>
    /// The text of <paramref name="ids"/>. Bytes that are not UTF-8 become U+FFFD, one per maximal invalid part; ids without a token (padding of
    /// the vocabulary) give nothing.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is negative.</exception>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens = false)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var detokenizer = new IncrementalDetokenizer(this, skipSpecialTokens);
        var bytes = new MemoryStream();
        foreach (int id in ids)
            bytes.Write(detokenizer.Append(id));
        bytes.Write(detokenizer.Flush());
        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    /// <summary>Encodes a text of which some parts are not trusted: no control token is matched in those.</summary>
    internal void EncodeToIds(MarkedText text, List<int> destination) =>
        Encode(text.Text, text.Protected, new EncodeRun(_parts.Model, destination), recognizeSpecialTokens: true);

    private void Encode(ReadOnlySpan<char> text, ReadOnlySpan<bool> protectedText, EncodeRun run, bool recognizeSpecialTokens)
    {
        text = WellFormedText.Repair(text); // unit for unit, so that the marks stay in place
        EncodeWellFormed(text, protectedText, run, recognizeSpecialTokens);
        BpeScratch.ReleaseLarge();
    }

    private void EncodeWellFormed(ReadOnlySpan<char> text, ReadOnlySpan<bool> protectedText, EncodeRun run, bool recognizeSpecialTokens)
    {
        for (int start = 0; start < text.Length;)
        {
            AddedTokenMatch? match = _rawTokens.Next(text, start, recognizeSpecialTokens, protectedText);
            int end = match?.Start ?? text.Length;
            if (end > start)
                EncodeSegment(text[start..end], protectedText.IsEmpty ? default : protectedText[start..end], start == 0, run, recognizeSpecialTokens);
            if (match is not { } found)
                return;
            run.AddToken(found.Token.Id, text[found.Start..found.End]);
            start = found.End;
        }
    }

    /// <summary>
    /// A part of the text without raw added tokens: normalizes it, takes out the added tokens that are matched in normalized text, encodes
    /// the rest.
    /// </summary>
    private void EncodeSegment(ReadOnlySpan<char> text, ReadOnlySpan<bool> protectedText, bool startsText, EncodeRun run, bool recognizeSpecialTokens)
    {
        if (_parts.Normalizer is not null)
        {
            MarkedText normalized = _parts.Normalizer.Apply(new MarkedText(text.ToString(), protectedText.IsEmpty ? null : protectedText.ToArray()));
            text = normalized.Text;
            protectedText = normalized.Protected;
        }
        for (int start = 0; start < text.Length;)
        {
            AddedTokenMatch? match = _normalizedTokens.Next(text, start, recognizeSpecialTokens, protectedText);
            int end = match?.Start ?? text.Length;
            if (end > start)
                run.EncodePlain(text[start..end], startsText && start == 0, _parts.Stages);
            if (match is not { } found)
                return;
            run.AddToken(found.Token.Id, text[found.Start..found.End]);
            start = found.End;
        }
    }

    private string NormalizedContent(AddedToken token)
    {
        string content = _parts.Normalizer?.Apply(token.Content).Text ?? token.Content;
        return content.Length > 0
            ? content
            : throw TokenizerException.For(_parts.File, $"added_tokens[{token.Content}]",
                "nothing is left of the token after normalization", "Set its \"normalized\" to false");
    }

    private int? IdOf(string? token) => token is null ? null : TokenToId(token);
}

/// <summary>What a file describes.</summary>
internal sealed record TokenizerParts(
    string File, BpeModel Model, Normalizer? Normalizer, PreTokenizer[] Stages, IReadOnlyList<AddedToken> AddedTokens, DecoderRules Decoder,
    IReadOnlyList<int> Prefix, IReadOnlyList<int> Suffix)
{
    /// <summary>Least number of ids: a file may end with ids that no text gives.</summary>
    public int Size { get; init; }

    public bool AddsPrefix { get; init; } = true;
}
