namespace Foretoken.Tokenization;

/// <summary>Builds the pre-tokenizer stages of a <c>tokenizer.json</c>.</summary>
internal static class PreTokenizerReader
{
    /// <summary>
    /// Byte-level text goes to the model as bytes, so the alphabet is not a stage of its own: <paramref name="byteLevel"/> tells the model.
    /// </summary>
    public static PreTokenizer[] Read(JsonField field, out bool byteLevel)
    {
        var stages = new List<PreTokenizer>();
        byteLevel = false;
        if (!field.IsNull)
            Add(field, stages, ref byteLevel);
        return [.. stages];
    }

    /// <summary>The scheme of a Metaspace part; older files have <c>add_prefix_space</c> instead.</summary>
    public static PrependScheme ReadScheme(JsonField field)
    {
        JsonField scheme = field.Optional("prepend_scheme");
        if (scheme.IsNull)
            return field.Optional("add_prefix_space").Bool(true) ? PrependScheme.Always : PrependScheme.Never;
        return scheme.String() switch
        {
            "always" => PrependScheme.Always,
            "first" => PrependScheme.First,
            "never" => PrependScheme.Never,
            string other => throw scheme.Error($"unknown prepend scheme \"{other}\"", "Supported: always, first, never"),
        };
    }

    /// <summary>The character that stands for a space in a Metaspace part.</summary>
    public static char ReadMark(JsonField field)
    {
        JsonField replacement = field.Required("replacement");
        string mark = replacement.String();
        return mark.Length == 1 ? mark[0] : throw replacement.Error($"\"{mark}\" is not one character", "It is usually \u2581");
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
            case "Digits":
                stages.Add(new DigitsPreTokenizer(field.Optional("individual_digits").Bool(false)));
                break;
            case "Metaspace":
                stages.Add(new MetaspacePreTokenizer(ReadMark(field), ReadScheme(field), field.Optional("split").Bool(true)));
                break;
            case "ByteLevel":
                if (field.Optional("add_prefix_space").Bool(true))
                    stages.Add(new PrefixSpacePreTokenizer());
                if (field.Optional("use_regex").Bool(true))
                    stages.Add(new PatternPreTokenizer(SplitPattern.Gpt2));
                byteLevel = true;
                break;
            default:
                throw typeField.Error($"unsupported pre-tokenizer \"{type}\"", "Supported: ByteLevel, Split, Digits, Metaspace, Sequence");
        }
    }

    private static PreTokenizer ReadSplit(JsonField field)
    {
        JsonField behaviorField = field.Required("behavior");
        string name = behaviorField.String();
        if (!Enum.TryParse(name, out SplitBehavior behavior) || !Enum.IsDefined(behavior) || char.IsAsciiDigit(name[0]))
            throw behaviorField.Error($"unknown split behavior \"{name}\"",
                "Supported: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
        bool invert = field.Optional("invert").Bool(false);
        JsonField expression = field.Required("pattern").Optional("Regex");
        if (expression.IsNull)
        {
            return invert
                ? throw field.Optional("invert").Error("is not supported with a literal pattern", "Use a pattern of the separators")
                : new LiteralPreTokenizer(NormalizerReader.LiteralPattern(field), behavior);
        }
        SplitPattern scanner = SplitPattern.Find(expression.String())
            ?? throw expression.Error($"unknown split pattern {expression.String()}", $"Supported: the published patterns of {SplitPattern.Names}");
        // The patterns match everywhere, so only these keep the matches apart.
        bool keepsMatches = behavior == SplitBehavior.Isolated || behavior == SplitBehavior.Removed && invert;
        return keepsMatches
            ? new PatternPreTokenizer(scanner)
            : throw behaviorField.Error($"\"{name}\" with this pattern is not supported", "Supported: Isolated");
    }
}
