using System.Text.Json;

namespace Foretoken.Tokenization;

/// <summary>Reads the decoder of a <c>tokenizer.json</c>.</summary>
internal static class DecoderReader
{
    public static DecoderRules Read(JsonField field)
    {
        var rules = new DecoderRules();
        if (field.IsNull)
            rules.Separator = " ";
        else
            Add(field, rules, fused: false);
        return rules;
    }

    /// <returns>Whether the tokens are one text after this step.</returns>
    private static bool Add(JsonField field, DecoderRules rules, bool fused)
    {
        JsonField typeField = field.Required("type");
        string type = typeField.String();
        if (rules.ByteLevel || fused && type is not ("Strip" or "Fuse"))
            throw typeField.Error($"\"{type}\" after ByteLevel or Fuse is not supported", "Only Strip may follow Fuse");
        switch (type)
        {
            case "Sequence":
                foreach (JsonField item in field.Required("decoders").Items())
                    fused = Add(item, rules, fused);
                return fused;
            case "ByteLevel" when rules is { ByteFallback: false, Mark: null, Replacements.Count: 0 }:
                rules.ByteLevel = true;
                return true;
            case "ByteFallback" when rules.Mark is null:
                rules.ByteFallback = true;
                return false;
            case "Replace" when rules is { ByteFallback: false, Mark: null }:
                rules.Replacements.Add((NormalizerReader.LiteralPattern(field), field.Required("content").String()));
                return false;
            case "Metaspace" when rules.Mark is null:
                rules.Mark = PreTokenizerReader.ReadMark(field);
                rules.DropsFirstMark = PreTokenizerReader.ReadScheme(field) != PrependScheme.Never;
                return false;
            case "Fuse":
                return true;
            case "Strip":
                AddStrip(field, rules, fused);
                return fused;
            case "ByteLevel" or "ByteFallback" or "Replace" or "Metaspace":
                throw typeField.Error($"\"{type}\" at this place of the sequence is not supported",
                    "Supported: Replace, ByteFallback, Metaspace, Fuse, Strip in this order");
            default:
                throw typeField.Error($"unsupported decoder \"{type}\"",
                    "Supported: ByteLevel, Replace, ByteFallback, Metaspace, Fuse, Strip, Sequence");
        }
    }

    private static void AddStrip(JsonField field, DecoderRules rules, bool fused)
    {
        string content = field.Required("content").String();
        JsonElement start = field.Required("start").OfKind(JsonValueKind.Number).Element;
        JsonElement stop = field.Required("stop").OfKind(JsonValueKind.Number).Element;
        bool supported = fused && rules.StripCount == 0 && content.Length == 1 && char.IsAscii(content[0])
            && start.TryGetInt32(out int count) && count >= 0
            && stop.TryGetInt32(out int trailing) && trailing == 0;
        if (!supported)
            throw field.Error("this Strip is not supported", "Supported: once, after Fuse, of one ASCII character, with stop 0");
        rules.StripContent = (byte)content[0];
        rules.StripCount = start.GetInt32();
    }
}
