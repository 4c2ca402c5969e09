using System.Text.Json;

namespace Foretoken.Tokenization;

/// <summary>
/// Turns the tokenizer of a Hugging Face directory into the tables of a GGUF file. What those cannot say is refused by name, except the NFC normalisation of
/// Qwen's tokenizers, which GGUF files never had (<see cref="DropsNormalization"/>).
/// </summary>
public sealed class GgufTokenizerConverter
{
    private const string KeepDirectory = "Keep the Hugging Face directory, which can be run as it is";
    private readonly string _file;
    private readonly JsonField _root;
    private readonly BpeTokenizer _tokenizer;

    private GgufTokenizerConverter(string file, JsonField root, BpeTokenizer tokenizer) => (_file, _root, _tokenizer) = (file, root, tokenizer);

    /// <summary>The text is no longer brought into Unicode form C before it is encoded.</summary>
    public bool DropsNormalization { get; private set; }

    /// <summary>Reads and converts.</summary>
    /// <param name="directory">Holds tokenizer.json and perhaps tokenizer_config.json.</param>
    /// <param name="vocabulary">Rows of the model's embedding table; ids without a token become unused ones.</param>
    /// <param name="ends">Tokens that end an answer; empty = the tokenizer's own.</param>
    /// <param name="bos">The model's BOS token, or null = the tokenizer's own.</param>
    /// <param name="dropsNormalization">Whether a normalisation of the text is lost.</param>
    /// <exception cref="TokenizerException">The tokenizer is malformed or has parts that the format cannot hold.</exception>
    public static GgufTokenizer Convert(string directory, int vocabulary, IReadOnlyList<int> ends, int? bos, out bool dropsNormalization)
    {
        string file = Path.Combine(directory, TokenizerFiles.TokenizerJson);
        byte[] utf8 = TokenizerFiles.Read(file);
        var converter = new GgufTokenizerConverter(file, JsonField.Parse(utf8, file), BpeTokenizer.FromFile(file));
        GgufTokenizer converted = converter.Convert(vocabulary, ends, bos, ChatTemplate.FromDirectory(directory)?.Source);
        dropsNormalization = converter.DropsNormalization;
        return converted;
    }

    private GgufTokenizer Convert(int vocabulary, IReadOnlyList<int> ends, int? bos, string? template)
    {
        if (_tokenizer.VocabularySize > vocabulary)
            throw Error("vocabulary", $"has ids up to {_tokenizer.VocabularySize - 1}, but the model has {vocabulary} embeddings", "Use the tokenizer of this model");
        BpeModel model = _tokenizer.Parts.Model;
        string[] normalizers = [.. Kinds(_root.Optional("normalizer"), "normalizers")];
        string[] tokens = [.. Enumerable.Range(0, vocabulary).Select(id => _tokenizer.IdToToken(id) ?? $"[PAD{id}]")];
        var converted = new GgufTokenizer
        {
            Model = model.ByteLevel ? "gpt2" : "llama",
            Pre = model.ByteLevel ? FindPre(model) : "default",
            Tokens = tokens,
            Types = Types(vocabulary),
            Bos = bos ?? (_tokenizer.PrefixTokenIds is [var first, ..] ? first : null),
            Ends = ends.Count > 0 ? ends : _tokenizer.EosTokenId is { } eos ? [eos] : [],
            AddBos = _tokenizer.Parts.Prefix.Count > 0,
            ChatTemplate = template,
        };
        if (model.ByteLevel)
        {
            if (normalizers.Any(n => n != "NFC")) throw Error("normalizer", $"\"{normalizers.First(n => n != "NFC")}\" has no place in a GGUF file", KeepDirectory);
            DropsNormalization = normalizers.Length > 0;
            return converted with { Merges = Merges() };
        }

        if (normalizers.Any(n => n is not ("Prepend" or "Replace")) || !model.ByteFallback)
            throw Error("normalizer", "and byte_fallback must be those of SentencePiece-style tokenizers (Prepend, Replace, byte_fallback true)", KeepDirectory);
        bool prefix = normalizers.Contains("Prepend") || _root.Optional("pre_tokenizer") is { IsNull: false } pre && PreTokenizerReader.ReadScheme(pre) != PrependScheme.Never;
        return converted with { Scores = Scores(vocabulary), AddSpacePrefix = prefix, Unknown = _tokenizer.Parts.Model.UnknownId };
    }

    /// <summary>The name of the pre-tokenizer. Where the name implies another treatment of whole words, every token must come out the same either way.</summary>
    private string FindPre(BpeModel model)
    {
        PreTokenizer[] stages = _tokenizer.Parts.Stages;
        bool digits = stages is [DigitsPreTokenizer { Individual: true }, ..];
        GgufPreTokenizer? known = stages.Skip(digits ? 1 : 0).ToArray() is [PatternPreTokenizer { Pattern: var pattern }] ? GgufPreTokenizers.Find(pattern, digits) : null;
        if (known is null) throw Error("pre_tokenizer", "is none that GGUF files have a name for", $"Names that are known: {GgufPreTokenizers.Names}. {KeepDirectory}");
        if (known.IgnoreMerges != model.IgnoreMerges && !model.MergesReachEveryToken())
            throw Error("model.ignore_merges", $"must be {(known.IgnoreMerges ? "true" : "false")} with this pre-tokenizer", KeepDirectory);
        return known.Names[0];
    }

    private List<GgufTokenType> Types(int vocabulary)
    {
        BpeModel model = _tokenizer.Parts.Model;
        var types = new List<GgufTokenType>(vocabulary);
        for (int id = 0; id < vocabulary; id++)
            types.Add(_tokenizer.IdToToken(id) is null ? GgufTokenType.Unused : !model.ByteLevel && model.IsByte(id) ? GgufTokenType.Byte : GgufTokenType.Normal);
        foreach (AddedToken token in _tokenizer.AddedTokens) types[token.Id] = token.Special ? GgufTokenType.Control : GgufTokenType.UserDefined;
        if (model.UnknownId is { } unknown) types[unknown] = GgufTokenType.Unknown;
        return types;
    }

    private List<string> Merges()
    {
        var merges = new List<string>();
        foreach (JsonField item in _root.Required("model").Required("merges").Items())
        {
            string text = item.Element.ValueKind == JsonValueKind.Array ? string.Join(' ', item.Items().Select(part => part.String())) : item.String();
            if (!text.StartsWith("#version", StringComparison.Ordinal)) merges.Add(text);
        }

        return merges;
    }

    /// <summary>A token's score falls with the rank of its first merge; tokens without a merge come last.</summary>
    private float[] Scores(int vocabulary)
    {
        List<string> merges = Merges();
        var scores = new float[vocabulary];
        Array.Fill(scores, -(merges.Count + 1f));
        for (int rank = merges.Count - 1; rank >= 0; rank--)
        {
            if (_tokenizer.TokenToId(merges[rank].Replace(" ", "", StringComparison.Ordinal)) is { } id) scores[id] = -rank;
        }

        foreach (AddedToken token in _tokenizer.AddedTokens) scores[token.Id] = 0;
        return scores;
    }

    private static IEnumerable<string> Kinds(JsonField field, string list)
    {
        if (field.IsNull) return [];
        string type = field.Required("type").String();
        return type == "Sequence" ? field.Required(list).Items().SelectMany(item => Kinds(item, list)) : [type];
    }

    private TokenizerException Error(string field, string rule, string remedy) => TokenizerException.For(_file, field, rule, remedy);
}
