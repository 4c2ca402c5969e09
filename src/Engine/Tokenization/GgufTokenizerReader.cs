using System.Globalization;
using Foretoken.Formats;

namespace Foretoken.Tokenization;

/// <summary>Kinds of tokens in <c>tokenizer.ggml.token_type</c>; the numbers are those of the file.</summary>
public enum GgufTokenType
{
    /// <summary>Text.</summary>
    Normal = 1,
    /// <summary>Stands for what cannot be encoded.</summary>
    Unknown = 2,
    /// <summary>Never text: begins, ends or structures; left out of decoded text.</summary>
    Control = 3,
    /// <summary>Text that is matched as a whole, before any merging.</summary>
    UserDefined = 4,
    /// <summary>A place in the vocabulary that no text leads to.</summary>
    Unused = 5,
    /// <summary>One byte of UTF-8, for characters that have no token.</summary>
    Byte = 6,
}

/// <summary>
/// Reads the tokenizer that the metadata of a GGUF file hold: byte-level BPE (<c>tokenizer.ggml.model</c> gpt2) with its merges, or SentencePiece's BPE
/// (llama), where the token of highest score is merged first. Pre-tokenizers that are not known are refused by name: a tokenizer that silently differs from
/// the one of the training gives wrong answers without any error.
/// </summary>
internal sealed class GgufTokenizerReader
{
    public const string ModelKey = "tokenizer.ggml.model", PreKey = "tokenizer.ggml.pre", TokensKey = "tokenizer.ggml.tokens", TypesKey = "tokenizer.ggml.token_type",
        MergesKey = "tokenizer.ggml.merges", ScoresKey = "tokenizer.ggml.scores", TemplateKey = "tokenizer.chat_template";

    private const string ConvertAgain = "Convert the model again";
    private const char SpaceMark = '\u2581';
    private const int LongestScoredToken = 256; // UTF-16 units; every way to cut it in two is looked up

    private readonly GgufMetadata _metadata;
    private readonly string[] _tokens;  // [ids]
    private readonly GgufTokenType[] _types; // [ids]
    private readonly int? _bos, _eos, _unknown;

    private GgufTokenizerReader(GgufMetadata metadata)
    {
        _metadata = metadata;
        _tokens = metadata.Texts(TokensKey) ?? throw Error(TokensKey, "is missing", ConvertAgain);
        if (_tokens.Length == 0) throw Error(TokensKey, "is empty", ConvertAgain);
        _bos = SpecialId(metadata, "bos", _tokens.Length);
        _eos = SpecialId(metadata, "eos", _tokens.Length);
        _unknown = SpecialId(metadata, "unknown", _tokens.Length);
        _types = ReadTypes();
    }

    /// <summary>The tokenizer of a file.</summary>
    /// <exception cref="TokenizerException">There is none, or it is malformed or not supported.</exception>
    /// <exception cref="ModelFormatException">A value has the wrong type.</exception>
    public static BpeTokenizer Read(GgufMetadata metadata)
    {
        string model = metadata.Text(ModelKey) ?? throw For(metadata, ModelKey, "is missing", "The file holds no tokenizer: use one that was converted with it");
        return model switch
        {
            "gpt2" => new GgufTokenizerReader(metadata).ReadByteLevel(),
            "llama" => new GgufTokenizerReader(metadata).ReadScored(),
            _ => throw For(metadata, ModelKey, $"\"{model}\" is not supported", "Supported: gpt2 (byte-level BPE), llama (SentencePiece-style BPE)"),
        };
    }

    /// <summary>The chat template of a file with the tokens that it may name, or null.</summary>
    /// <exception cref="TokenizerException">The template is malformed or asks for something unsupported.</exception>
    public static ChatTemplate? ReadTemplate(GgufMetadata metadata)
    {
        if (metadata.Text(TemplateKey) is not { } source) return null;
        string[] tokens = metadata.Texts(TokensKey) ?? [];
        var special = new Dictionary<string, string>();
        foreach ((string variable, string kind) in ((string, string)[])
            [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")])
        {
            if (SpecialId(metadata, kind, tokens.Length) is { } id) special.Add(variable, tokens[id]);
        }

        return ChatTemplate.Parse(source, special, $"{metadata.File}: {TemplateKey}");
    }

    private static int? SpecialId(GgufMetadata metadata, string kind, int tokens) =>
        tokens == 0 ? null : (int?)metadata.Integer($"tokenizer.ggml.{kind}_token_id", 0, tokens - 1);

    private BpeTokenizer ReadByteLevel()
    {
        (PreTokenizer[] stages, bool ignoreMerges, bool addBos) = ReadStages();
        Dictionary<string, int> vocabulary = Vocabulary(t => t is GgufTokenType.Normal or GgufTokenType.Byte);
        string[] merges = _metadata.Texts(MergesKey) ?? throw Error(MergesKey, "is missing", ConvertAgain);
        var table = new Dictionary<(int, int), (int, int)>(merges.Length);
        for (int rank = 0; rank < merges.Length; rank++)
        {
            int space = merges[rank].Length < 2 ? -1 : merges[rank].IndexOf(' ', 1);
            if (space < 0 || space == merges[rank].Length - 1) throw Error($"{MergesKey}[{rank}]", $"\"{merges[rank]}\" is not two tokens with a space between them", ConvertAgain);
            string left = merges[rank][..space], right = merges[rank][(space + 1)..];
            table.TryAdd((IdOf(left), IdOf(right)), (rank, IdOf(left + right)));

            int IdOf(string token) => vocabulary.TryGetValue(token, out int id)
                ? id
                : throw Error($"{MergesKey}[{rank}]", $"the token \"{token}\" of this merge is not in the vocabulary", ConvertAgain);
        }

        var model = new BpeModel(vocabulary, new MergeTable(table), new BpeModelOptions(ByteLevel: true, IgnoreMerges: ignoreMerges));
        return Build(model, normalizer: null, stages, new DecoderRules { ByteLevel = true }, addBos);
    }

    private (PreTokenizer[] Stages, bool IgnoreMerges, bool AddBos) ReadStages()
    {
        string name = _metadata.Text(PreKey) ?? throw Error(PreKey, "is missing, so that it is not known how text is cut into words", ConvertAgain);
        return GgufPreTokenizers.Find(name) is { } known
            ? (known.Stages(), known.IgnoreMerges, known.AddsBos)
            : throw Error(PreKey, $"\"{name}\" is not supported", $"Supported: {GgufPreTokenizers.Names}");
    }

    private BpeTokenizer ReadScored()
    {
        float[] scores = _metadata.Numbers(ScoresKey) ?? throw Error(ScoresKey, "is missing", ConvertAgain);
        if (scores.Length != _tokens.Length) throw Error(ScoresKey, $"has {scores.Length} numbers for {_tokens.Length} tokens", ConvertAgain);
        if (_metadata.Count("tokenizer.ggml.precompiled_charsmap") > 0)
            throw Error("tokenizer.ggml.precompiled_charsmap", "rewrites the text before it is encoded, which is not supported", "Use a model without it");
        bool prefix = _metadata.Boolean("tokenizer.ggml.add_space_prefix") ?? true;
        Dictionary<string, int> vocabulary = Vocabulary(t => t is GgufTokenType.Normal or GgufTokenType.Byte or GgufTokenType.Unknown);
        string? unknown = _unknown is { } id && vocabulary.TryGetValue(_tokens[id], out int known) && known == id ? _tokens[id] : null;
        var model = new BpeModel(vocabulary, MergesOf(scores),
            new BpeModelOptions(ByteLevel: false, ByteFallback: true, UnknownToken: unknown, FuseUnknown: true));
        var decoder = new DecoderRules { ByteFallback = true, StripContent = (byte)' ', StripCount = prefix ? 1 : 0 };
        decoder.Replacements.Add((SpaceMark.ToString(), " "));
        Normalizer spaces = new ReplaceNormalizer(" ", SpaceMark.ToString());
        return Build(model, prefix ? new SequenceNormalizer([new PrependNormalizer(SpaceMark.ToString()), spaces]) : spaces, [], decoder, addBosByDefault: true);
    }

    /// <summary>Two tokens merge where their texts joined are a token; the merge's rank is that of the joined token's score, equal for equal scores.</summary>
    private MergeTable MergesOf(float[] scores)
    {
        var normal = new Dictionary<string, int>(StringComparer.Ordinal);
        for (int id = 0; id < _tokens.Length; id++)
        {
            if (_types[id] == GgufTokenType.Normal) normal.Add(_tokens[id], id);
        }

        var ranks = new Dictionary<float, int>();
        foreach (float score in normal.Values.Select(id => scores[id]).Distinct().OrderDescending()) ranks.Add(score, ranks.Count);
        var lookup = normal.GetAlternateLookup<ReadOnlySpan<char>>();
        var merges = new Dictionary<(int, int), (int, int)>();
        foreach ((string token, int merged) in normal)
        {
            if (token.Length > LongestScoredToken) throw Error($"{TokensKey}[{merged}]", $"has {token.Length} characters, and at most {LongestScoredToken} are supported", ConvertAgain);
            for (int cut = 1; cut < token.Length; cut++)
            {
                if (char.IsLowSurrogate(token[cut])) continue;
                if (lookup.TryGetValue(token.AsSpan(0, cut), out int left) && lookup.TryGetValue(token.AsSpan(cut), out int right))
                    merges.Add((left, right), (ranks[scores[merged]], merged));
            }
        }

        return new MergeTable(merges);
    }

    private BpeTokenizer Build(BpeModel model, Normalizer? normalizer, PreTokenizer[] stages, DecoderRules decoder, bool addBosByDefault)
    {
        bool? asked = _metadata.Boolean("tokenizer.ggml.add_bos_token");
        if (asked == true && _bos is null) throw Error("tokenizer.ggml.add_bos_token", "is true, but tokenizer.ggml.bos_token_id is missing", ConvertAgain);
        var parts = new TokenizerParts(_metadata.File, model, normalizer, stages, AddedTokens(), decoder, _bos is { } bos ? [bos] : [], [])
        {
            Size = _tokens.Length,
            AddsPrefix = asked ?? addBosByDefault,
        };
        return new BpeTokenizer(parts) { BosTokenId = _bos, EosTokenId = _eos };
    }

    private List<AddedToken> AddedTokens()
    {
        var added = new List<AddedToken>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (int id = 0; id < _tokens.Length; id++)
        {
            if (_types[id] is not (GgufTokenType.Control or GgufTokenType.UserDefined or GgufTokenType.Unknown)) continue;
            if (_tokens[id].Length == 0) throw Error($"{TokensKey}[{id}]", $"is empty and of type {_types[id]}: it would match everywhere", ConvertAgain);
            if (!seen.Add(_tokens[id])) throw Error($"{TokensKey}[{id}]", $"\"{_tokens[id]}\" stands twice in the vocabulary", "Each token may have one id");
            added.Add(new AddedToken(id, _tokens[id], Special: _types[id] != GgufTokenType.UserDefined));
        }

        return added;
    }

    private GgufTokenType[] ReadTypes()
    {
        var types = new GgufTokenType[_tokens.Length];
        Array.Fill(types, GgufTokenType.Normal);
        if (_metadata.Integers(TypesKey) is not { } numbers)
        {
            foreach (int? special in (int?[])[_bos, _eos, SpecialId(_metadata, "padding", _tokens.Length)])
                if (special is { } id) types[id] = GgufTokenType.Control;
            if (_unknown is { } unknown) types[unknown] = GgufTokenType.Unknown;
            return types;
        }

        if (numbers.Length != types.Length) throw Error(TypesKey, $"has {numbers.Length} numbers for {types.Length} tokens", ConvertAgain);
        for (int id = 0; id < types.Length; id++)
        {
            types[id] = numbers[id] is >= (int)GgufTokenType.Normal and <= (int)GgufTokenType.Byte
                ? (GgufTokenType)numbers[id]
                : throw Error($"{TypesKey}[{id}]", $"is {numbers[id]}, and types are 1 to 6", ConvertAgain);
            if (types[id] == GgufTokenType.Byte && !IsByte(_tokens[id]))
                throw Error($"{TokensKey}[{id}]", $"\"{_tokens[id]}\" is of type byte, and such tokens are <0x00> to <0xFF>", ConvertAgain);
        }

        return types;
    }

    /// <summary>Text → id of the tokens that encoding can produce.</summary>
    private Dictionary<string, int> Vocabulary(Predicate<GgufTokenType> belongs)
    {
        var vocabulary = new Dictionary<string, int>(_tokens.Length, StringComparer.Ordinal);
        for (int id = 0; id < _tokens.Length; id++)
        {
            if (belongs(_types[id]) && !vocabulary.TryAdd(_tokens[id], id))
                throw Error($"{TokensKey}[{id}]", $"\"{_tokens[id]}\" stands twice in the vocabulary (also as {vocabulary[_tokens[id]]})", "Each token may have one id");
        }

        return vocabulary;
    }

    private static bool IsByte(string token) => token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
        && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out _);

    private TokenizerException Error(string field, string rule, string remedy) => For(_metadata, field, rule, remedy);

    private static TokenizerException For(GgufMetadata metadata, string field, string rule, string remedy) => TokenizerException.For(metadata.File, field, rule, remedy);
}
