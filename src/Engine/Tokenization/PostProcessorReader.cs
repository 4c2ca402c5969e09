namespace Foretoken.Tokenization;

/// <summary>Reads which control tokens a <c>tokenizer.json</c> puts around a single text.</summary>
internal static class PostProcessorReader
{
    public static (IReadOnlyList<int> Prefix, IReadOnlyList<int> Suffix) Read(JsonField field)
    {
        var prefix = new List<int>();
        var suffix = new List<int>();
        if (!field.IsNull)
            Add(field, prefix, suffix);
        return (prefix, suffix);
    }

    private static void Add(JsonField field, List<int> prefix, List<int> suffix)
    {
        JsonField type = field.Required("type");
        switch (type.String())
        {
            case "Sequence":
                foreach (JsonField item in field.Required("processors").Items())
                    Add(item, prefix, suffix);
                break;
            case "ByteLevel": // only trims offsets
                break;
            case "TemplateProcessing":
                AddTemplate(field, prefix, suffix);
                break;
            case "BertProcessing" or "RobertaProcessing":
                prefix.Insert(0, field.Required("cls").Items().Last().TokenId());
                suffix.Add(field.Required("sep").Items().Last().TokenId());
                break;
            default:
                throw type.Error($"unsupported post-processor \"{type.String()}\"",
                    "Supported: TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence");
        }
    }

    private static void AddTemplate(JsonField field, List<int> prefix, List<int> suffix)
    {
        var before = new List<int>();
        bool sequenceSeen = false;
        foreach (JsonField item in field.Required("single").Items())
        {
            JsonField special = item.Optional("SpecialToken");
            if (special.IsNull)
            {
                if (sequenceSeen)
                    throw item.Error("the text stands twice in the template", "A template for a single text has one Sequence");
                _ = item.Required("Sequence");
                sequenceSeen = true;
                continue;
            }
            JsonField ids = field.Required("special_tokens").Required(special.Required("id").String()).Required("ids");
            (sequenceSeen ? suffix : before).AddRange(ids.Items().Select(id => id.TokenId()));
        }
        prefix.InsertRange(0, before);
    }
}
