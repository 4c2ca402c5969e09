namespace Foretoken.Tokenization;

/// <summary>Builds the pre-tokenizer stages of a <c>tokenizer.json</c>.</summary>
internal static class PreTokenizerReader
{
    /// <summary>Byte-level text goes to the model as bytes, so <c>ByteLevel</c> is not a stage of its own: <paramref name="byteLevel"/> tells the model.</summary>
    public static PreTokenizer[] Read(JsonField field, out bool byteLevel)
    {
        var stages = new List<PreTokenizer>();
        byteLevel = false;
        if (!field.IsNull)
            Add(field, stages, ref byteLevel);
        return [.. stages];
    }

    private static void Add(JsonField field, List<PreTokenizer> stages, ref bool byteLevel)
    {
        JsonField typeField = field.Required("type");
        string type = typeField.String();
        if (byteLevel)
            throw typeField.Error($"\"{type}\" follows ByteLevel", "ByteLevel must be the last pre-tokenizer");
        switch (type)
        {
            case "Sequence":
                foreach (JsonField item in field.Required("pretokenizers").Items())
                    Add(item, stages, ref byteLevel);
                break;
            case "Split":
                stages.Add(ReadSplit(field));
                break;
            case "ByteLevel":
                if (field.Optional("add_prefix_space").Bool(true))
                    throw field.Optional("add_prefix_space").Error("is not supported", "Set it to false");
                if (field.Optional("use_regex").Bool(true))
                    stages.Add(new PatternPreTokenizer(SplitPattern.Gpt2));
                byteLevel = true;
                break;
            default:
                throw typeField.Error($"unsupported pre-tokenizer \"{type}\"", "Supported: ByteLevel, Split, Sequence");
        }
    }

    private static PatternPreTokenizer ReadSplit(JsonField field)
    {
        string behavior = field.Required("behavior").String();
        bool invert = field.Optional("invert").Bool(false);
        JsonField pattern = field.Required("pattern").Required("Regex");
        SplitPattern scanner = SplitPattern.Find(pattern.String())
            ?? throw pattern.Error($"unknown split pattern {pattern.String()}", "Supported: the published patterns of GPT-2, Llama 3 and Qwen2");
        // The patterns match everywhere, so keeping the matches and isolating them are the same.
        bool keepsMatches = behavior == "Isolated" || behavior == "Removed" && invert;
        return keepsMatches ? new PatternPreTokenizer(scanner) : throw field.Error($"unsupported split behavior \"{behavior}\"", "Supported: Isolated");
    }
}
