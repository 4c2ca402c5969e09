using System.Text.Json;

namespace Foretoken.Tokenization;

/// <summary>
/// Reads a Hugging Face <c>tokenizer.json</c> with a BPE model. Parts that are not known are refused by name, because a tokenizer that
/// silently differs from the one that the model was trained with gives wrong answers without any error.
/// </summary>
internal static class TokenizerJsonReader
{
    public static BpeTokenizer Read(ReadOnlyMemory<byte> utf8, string file)
    {
        JsonField root = JsonField.Parse(utf8, file);
        JsonField modelField = root.Required("model");
        Dictionary<string, int> vocabulary = ReadVocabulary(modelField);
        PreTokenizer[] stages = PreTokenizerReader.Read(root.Optional("pre_tokenizer"), out bool byteLevel);
        BpeModel model = ReadModel(modelField, vocabulary, byteLevel);
        var (prefix, suffix) = PostProcessorReader.Read(root.Optional("post_processor"));
        return new BpeTokenizer(new TokenizerParts(file, model, NormalizerReader.Read(root.Optional("normalizer")), stages,
            ReadAddedTokens(root.Optional("added_tokens"), vocabulary), DecoderReader.Read(root.Optional("decoder")), prefix, suffix));
    }

    private static Dictionary<string, int> ReadVocabulary(JsonField model)
    {
        JsonField type = model.Optional("type");
        if (!type.IsNull && type.String() != "BPE")
            throw type.Error($"unsupported model \"{type.String()}\"", "Only BPE tokenizers can be read");
        var vocabulary = new Dictionary<string, int>();
        var owners = new Dictionary<int, string>();
        foreach (var (token, field) in model.Required("vocab").Members())
        {
            int id = field.TokenId();
            if (!vocabulary.TryAdd(token, id))
                throw field.Error("the token stands twice in the vocabulary", "Each token may have one id");
            if (!owners.TryAdd(id, token))
                throw field.Error($"id {id} already belongs to the token \"{owners[id]}\"", "Each id may have one token");
        }
        return vocabulary;
    }

    private static BpeModel ReadModel(JsonField field, Dictionary<string, int> vocabulary, bool byteLevel)
    {
        JsonField dropout = field.Optional("dropout");
        if (!dropout.IsNull && !(dropout.Element.ValueKind == JsonValueKind.Number && dropout.Element.GetDouble() == 0))
            throw dropout.Error("BPE dropout makes encoding random", "Set it to null");
        foreach (string affix in (string[])["continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (!string.IsNullOrEmpty(field.Optional(affix).OptionalString()))
                throw field.Optional(affix).Error("is not supported", "Use a byte-level or SentencePiece-style BPE tokenizer");
        }
        JsonField unknown = field.Optional("unk_token");
        string? unknownToken = unknown.OptionalString();
        if (unknownToken is not null && !vocabulary.ContainsKey(unknownToken))
            throw unknown.Error($"\"{unknownToken}\" is not in the vocabulary", "Add it to model.vocab or set unk_token to null");
        var options = new BpeModelOptions(byteLevel, field.Optional("byte_fallback").Bool(false), unknownToken,
            field.Optional("fuse_unk").Bool(false), field.Optional("ignore_merges").Bool(false));
        return new BpeModel(vocabulary, ReadMerges(field.Required("merges"), vocabulary), options);
    }

    private static MergeTable ReadMerges(JsonField field, Dictionary<string, int> vocabulary)
    {
        var merges = new Dictionary<(int Left, int Right), (int Rank, int Merged)>();
        int rank = 0;
        foreach (JsonField item in field.Items())
        {
            if (rank == 0 && item.Element.ValueKind == JsonValueKind.String && item.String().StartsWith("#version", StringComparison.Ordinal))
                continue; // the header line of a merges.txt
            var (left, right) = ReadPair(item);
            int leftId = IdOf(item, vocabulary, left), rightId = IdOf(item, vocabulary, right), merged = IdOf(item, vocabulary, left + right);
            merges[(leftId, rightId)] = (rank++, merged);
        }
        return new MergeTable(merges);
    }

    private static (string Left, string Right) ReadPair(JsonField item)
    {
        const string Remedy = "A merge is \"a b\" or [\"a\", \"b\"] with two tokens of the vocabulary";
        string[] parts;
        if (item.Element.ValueKind == JsonValueKind.Array)
            parts = [.. item.Items().Select(part => part.String())];
        else
            parts = item.String().Split(' ');
        if (parts.Length != 2)
            throw item.Error($"has {parts.Length} parts instead of 2", Remedy);
        return parts[0].Length > 0 && parts[1].Length > 0 ? (parts[0], parts[1]) : throw item.Error("has an empty part and would never end", Remedy);
    }

    private static int IdOf(JsonField merge, Dictionary<string, int> vocabulary, string token) =>
        vocabulary.TryGetValue(token, out int id)
            ? id
            : throw merge.Error($"the token \"{token}\" of this merge is not in the vocabulary",
                "Both parts and the merged token must be in model.vocab");

    private static List<AddedToken> ReadAddedTokens(JsonField field, Dictionary<string, int> vocabulary)
    {
        var added = new List<AddedToken>();
        if (field.IsNull)
            return added;
        var owners = vocabulary.ToDictionary(entry => entry.Value, entry => entry.Key);
        var seen = new HashSet<string>();
        foreach (JsonField item in field.Items())
        {
            string content = item.Required("content").String();
            int id = item.Required("id").TokenId();
            if (content.Length == 0)
                throw item.Error("an added token is empty and would match everywhere", "Remove it from added_tokens");
            if (!seen.Add(content))
                throw item.Error($"\"{content}\" is added twice", "Remove one of the two");
            if (vocabulary.TryGetValue(content, out int known) && known != id)
                throw item.Error($"\"{content}\" has id {id} here and {known} in the vocabulary", "Use one id for both");
            if (!owners.TryAdd(id, content) && owners[id] != content)
                throw item.Error($"id {id} of \"{content}\" already belongs to \"{owners[id]}\"", "Each id may have one token");
            bool special = item.Optional("special").Bool(false);
            added.Add(new AddedToken(id, content, special, item.Optional("normalized").Bool(!special), item.Optional("lstrip").Bool(false),
                item.Optional("rstrip").Bool(false), item.Optional("single_word").Bool(false)));
        }
        return added;
    }
}
