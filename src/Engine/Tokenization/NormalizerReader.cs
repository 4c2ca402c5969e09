namespace Foretoken.Tokenization;

/// <summary>Builds the normalizer of a <c>tokenizer.json</c>.</summary>
internal static class NormalizerReader
{
    /// <summary>The normalizer, or null if the text is left as it is.</summary>
    public static Normalizer? Read(JsonField field)
    {
        if (field.IsNull)
            return null;
        JsonField type = field.Required("type");
        switch (type.String())
        {
            case "Sequence":
                List<Normalizer> steps = [.. field.Required("normalizers").Items().Select(Read).OfType<Normalizer>()];
                return steps.Count == 0 ? null : new SequenceNormalizer(steps);
            case "NFC":
                return new RewritingNormalizer(UnicodeNormalization.ToFormC);
            case "NFD":
                return new RewritingNormalizer(UnicodeNormalization.ToFormD);
            case "Lowercase":
                return new RewritingNormalizer(RewritingNormalizer.ToLower);
            case "Prepend":
                return new PrependNormalizer(field.Required("prepend").String());
            case "Replace":
                return new ReplaceNormalizer(LiteralPattern(field), field.Required("content").String());
            case "Strip":
                return new StripNormalizer(field.Optional("strip_left").Bool(true), field.Optional("strip_right").Bool(true));
            default:
                throw type.Error($"unsupported normalizer \"{type.String()}\"", "Supported: NFC, NFD, Lowercase, Prepend, Replace, Strip, Sequence");
        }
    }

    /// <summary>The string of <c>{"pattern": {"String": …}}</c>; an expression is refused.</summary>
    public static string LiteralPattern(JsonField field)
    {
        JsonField pattern = field.Required("pattern");
        JsonField expression = pattern.Optional("Regex");
        if (!expression.IsNull)
            throw expression.Error($"unsupported regular expression {expression.String()}", "Only {\"String\": …} patterns are supported here");
        string literal = pattern.Required("String").String();
        return literal.Length > 0 ? literal : throw pattern.Error("is empty and would match everywhere", "Give the text to replace");
    }
}
