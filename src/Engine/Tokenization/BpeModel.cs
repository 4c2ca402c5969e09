using System.Globalization;
using System.Text;

namespace Foretoken.Tokenization;

/// <summary>
/// The BPE model of a tokenizer: vocabulary, merges and what to do with symbols that are not in the vocabulary. Words of a byte-level model
/// start as bytes, words of a character-level one as code points. Immutable and thread-safe.
/// </summary>
internal sealed class BpeModel
{
    private readonly Dictionary<string, int> _vocabulary;
    private readonly Dictionary<int, int> _codePointIds = []; // code point → id, of entries of one code point (character level)
    private readonly int[] _byteIds = new int[256];           // id of each byte's token, -1 without one
    private readonly int[] _sourceBytes;                      // [ids] UTF-8 bytes of the text that each token stands for
    private readonly BpeModelOptions _options;
    private readonly int _unknownId;
    private readonly WordCache _cache = new();

    public BpeModel(Dictionary<string, int> vocabulary, MergeTable merges, BpeModelOptions options)
    {
        _vocabulary = vocabulary;
        _options = options;
        Merges = merges;
        _unknownId = options.UnknownToken is null ? -1 : vocabulary[options.UnknownToken];
        for (int value = 0; value < 256; value++)
        {
            string name = options.ByteLevel ? ByteAlphabet.ToChar((byte)value).ToString()
                : "<0x" + value.ToString("X2", CultureInfo.InvariantCulture) + ">";
            _byteIds[value] = (options.ByteLevel || options.ByteFallback) && vocabulary.TryGetValue(name, out int id) ? id : -1;
        }
        _sourceBytes = new int[vocabulary.Values.DefaultIfEmpty(-1).Max() + 1];
        foreach (var (token, id) in vocabulary)
            _sourceBytes[id] = options.ByteLevel ? token.Length : Encoding.UTF8.GetByteCount(token);
        if (options.ByteLevel)
            return;
        foreach (int id in _byteIds.Where(id => id >= 0))
            _sourceBytes[id] = 1;
        foreach (var (token, id) in vocabulary)
        {
            if (Rune.DecodeFromUtf16(token, out Rune rune, out int length) == System.Buffers.OperationStatus.Done && length == token.Length)
                _codePointIds[rune.Value] = id;
        }
    }

    public IReadOnlyDictionary<string, int> Vocabulary => _vocabulary;

    public MergeTable Merges { get; }

    public bool ByteLevel => _options.ByteLevel;

    public bool ByteFallback => _options.ByteFallback;

    public bool IgnoreMerges => _options.IgnoreMerges;

    public int? UnknownId => _unknownId < 0 ? null : _unknownId;

    /// <summary>Whether a token stands for one byte (of a byte-level model, or for byte fallback).</summary>
    public bool IsByte(int id) => _byteIds.Contains(id);

    /// <summary>Whether the merges alone make every token out of its own text, so that looking up whole words changes nothing.</summary>
    public bool MergesReachEveryToken()
    {
        var merging = new BpeModel(_vocabulary, Merges, _options with { IgnoreMerges = false });
        var ids = new List<int>();
        foreach ((string token, int id) in _vocabulary)
        {
            string text = token;
            if (ByteLevel)
            {
                byte[] bytes = ByteAlphabet.ToBytes(token);
                if (!System.Text.Unicode.Utf8.IsValid(bytes)) continue; // part of a character: no word of its own
                text = Encoding.UTF8.GetString(bytes);
            }

            ids.Clear();
            merging.Encode(text, ids, BpeScratch.Current);
            if (ids is not [var only] || only != id) return false;
        }

        return true;
    }

    /// <summary>How many UTF-8 bytes of text a token of this model stands for.</summary>
    public int SourceBytes(int id) => _sourceBytes[id];

    /// <summary>
    /// Bytes without a token; text that contains them loses them unless there is an unknown token (what the reference tokenizer does).
    /// </summary>
    public int MissingBytes => _byteIds.Count(id => id < 0);

    /// <summary>Appends the tokens of <paramref name="word"/> (well-formed UTF-16) to <paramref name="output"/>.</summary>
    public void Encode(ReadOnlySpan<char> word, List<int> output, BpeScratch scratch)
    {
        if (word.Length > WordCache.MaxLength)
        {
            output.AddRange(EncodeUncached(word, scratch));
            return;
        }
        int[]? known = _cache.Find(word, out int slot);
        if (known is null)
        {
            ReadOnlySpan<int> ids = EncodeUncached(word, scratch);
            _cache.Put(slot, word, ids);
            output.AddRange(ids);
            return;
        }
        output.AddRange(known);
    }

    private ReadOnlySpan<int> EncodeUncached(ReadOnlySpan<char> word, BpeScratch scratch)
    {
        if (_options.IgnoreMerges && FindWhole(word, out int whole))
        {
            Span<int> single = scratch.Symbols(1);
            single[0] = whole;
            return single;
        }
        // A code point takes at most 3 UTF-8 bytes per UTF-16 unit, and each byte is at most one symbol.
        Span<int> symbols = scratch.Symbols(3 * word.Length);
        int count = ByteLevel ? BytesToSymbols(word, symbols, scratch) : CodePointsToSymbols(word, symbols);
        return symbols[..scratch.Merger.Merge(symbols[..count], Merges)];
    }

    private bool FindWhole(ReadOnlySpan<char> word, out int id)
    {
        var lookup = _vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        return ByteLevel ? _vocabulary.TryGetValue(ByteAlphabet.ToText(Encoding.UTF8.GetBytes(word.ToString())), out id)
            : lookup.TryGetValue(word, out id);
    }

    private int BytesToSymbols(ReadOnlySpan<char> word, Span<int> symbols, BpeScratch scratch)
    {
        ReadOnlySpan<byte> bytes = scratch.Utf8(word);
        var sink = new SymbolSink(symbols, _unknownId, _options.FuseUnknown);
        foreach (byte value in bytes)
            sink.Add(_byteIds[value]);
        return sink.Count;
    }

    private int CodePointsToSymbols(ReadOnlySpan<char> word, Span<int> symbols)
    {
        var sink = new SymbolSink(symbols, _unknownId, _options.FuseUnknown);
        Span<byte> utf8 = stackalloc byte[4];
        foreach (Rune rune in word.EnumerateRunes())
        {
            if (_codePointIds.TryGetValue(rune.Value, out int id))
            {
                sink.Add(id);
                continue;
            }
            ReadOnlySpan<byte> bytes = utf8[..rune.EncodeToUtf8(utf8)];
            if (_options.ByteFallback && HasAll(bytes))
            {
                foreach (byte value in bytes)
                    sink.Add(_byteIds[value]);
            }
            else
            {
                sink.Add(-1);
            }
        }
        return sink.Count;
    }

    private bool HasAll(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            if (_byteIds[value] < 0)
                return false;
        }
        return true;
    }

    /// <summary>
    /// Collects symbols; an unknown one (-1) becomes the unknown token, a run of them one token when fused, nothing without such a token.
    /// </summary>
    private ref struct SymbolSink(Span<int> symbols, int unknownId, bool fuse)
    {
        private readonly Span<int> _symbols = symbols;
        private bool _afterUnknown;

        public int Count { get; private set; }

        public void Add(int id)
        {
            bool unknown = id < 0;
            if (unknown && (unknownId < 0 || fuse && _afterUnknown))
                return;
            _symbols[Count++] = unknown ? unknownId : id;
            _afterUnknown = unknown;
        }
    }
}

/// <summary>How a BPE model treats what is not in its vocabulary.</summary>
/// <param name="ByteLevel">Symbols are bytes written in <see cref="ByteAlphabet"/>, not code points.</param>
/// <param name="ByteFallback">A code point that is not in the vocabulary becomes its bytes' tokens <c>&lt;0xNN&gt;</c>.</param>
/// <param name="UnknownToken">The vocabulary entry for symbols without a token, or null.</param>
/// <param name="FuseUnknown">A run of unknown symbols becomes one unknown token.</param>
/// <param name="IgnoreMerges">A word that is itself in the vocabulary becomes that token without merging.</param>
internal sealed record BpeModelOptions(bool ByteLevel, bool ByteFallback = false, string? UnknownToken = null, bool FuseUnknown = false,
    bool IgnoreMerges = false);

/// <summary>Working memory of one encoding thread.</summary>
internal sealed class BpeScratch
{
    [ThreadStatic]
    private static BpeScratch? t_current;

    private int[] _symbols = new int[256];
    private byte[] _utf8 = new byte[256];

    /// <summary>This thread's working memory.</summary>
    public static BpeScratch Current => t_current ??= new BpeScratch();

    /// <summary>Lets go of working memory that a long word without any place to cut has made large.</summary>
    public static void ReleaseLarge()
    {
        if (t_current is { _symbols.Length: > 1 << 18 })
            t_current = null;
    }

    public BpeMerger Merger { get; } = new();

    public Span<int> Symbols(int count)
    {
        if (_symbols.Length < count)
            _symbols = new int[count + count / 2];
        return _symbols.AsSpan(0, count);
    }

    public ReadOnlySpan<byte> Utf8(ReadOnlySpan<char> text)
    {
        int limit = Encoding.UTF8.GetMaxByteCount(text.Length);
        if (_utf8.Length < limit)
            _utf8 = new byte[limit + limit / 2];
        return _utf8.AsSpan(0, Encoding.UTF8.GetBytes(text, _utf8));
    }
}
