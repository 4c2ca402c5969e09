using System.Text;
using System.Text.Json;

namespace Foretoken.Tokenization;

/// <summary>A JSON value with its file and path, so that every complaint names both. The path is put together only when it is asked for.</summary>
internal readonly struct JsonField(JsonElement element, string file, string parentPath, string? name = null, int index = -1)
{
    private static readonly JsonDocumentOptions s_options = new() { MaxDepth = 64 };

    public JsonElement Element => element;

    public string Path => name is not null ? $"{parentPath}[{name}]" : index >= 0 ? $"{parentPath}[{index}]" : parentPath;

    public bool IsNull => element.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined;

    /// <summary>Parses <paramref name="utf8"/> (a byte-order mark is allowed) whose root must be an object.</summary>
    public static JsonField Parse(ReadOnlyMemory<byte> utf8, string file)
    {
        if (utf8.Span.StartsWith(Encoding.UTF8.Preamble))
            utf8 = utf8[3..];
        try
        {
            JsonElement root = JsonDocument.Parse(utf8, s_options).RootElement;
            return new JsonField(root, file, "").OfKind(JsonValueKind.Object);
        }
        catch (JsonException error)
        {
            throw TokenizerException.For(file, "JSON", $"not well-formed at line {error.LineNumber + 1}, byte {error.BytePositionInLine + 1}",
                "The file is damaged or cut short: download it again", error);
        }
    }

    public TokenizerException Error(string rule, string remedy) => TokenizerException.For(file, Path.Length == 0 ? "(root)" : Path, rule, remedy);

    /// <summary>The member <paramref name="name"/>, null-valued if absent.</summary>
    public JsonField Optional(string name)
    {
        bool present = OfKind(JsonValueKind.Object).Element.TryGetProperty(name, out JsonElement value);
        string path = Path;
        return new JsonField(present ? value : default, file, path.Length == 0 ? name : path + "." + name);
    }

    public JsonField Required(string name)
    {
        JsonField field = Optional(name);
        return field.IsNull ? throw field.Error("is missing",
            "Use a complete tokenizer.json as written by the Hugging Face tokenizers library") : field;
    }

    public JsonField OfKind(JsonValueKind kind) =>
        element.ValueKind == kind ? this : throw Error($"must be {Name(kind)}, not {Name(element.ValueKind)}",
            "Correct the file or download it again");

    public IEnumerable<JsonField> Items()
    {
        string path = Path;
        int at = 0;
        foreach (JsonElement item in OfKind(JsonValueKind.Array).Element.EnumerateArray())
            yield return new JsonField(item, file, path, index: at++);
    }

    public IEnumerable<(string Name, JsonField Value)> Members()
    {
        string path = Path;
        foreach (JsonProperty member in OfKind(JsonValueKind.Object).Element.EnumerateObject())
        {
            string key = NameOf(member);
            yield return (key, new JsonField(member.Value, file, path, name: key));
        }
    }

    public string String()
    {
        JsonElement value = OfKind(JsonValueKind.String).Element;
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException) // half a surrogate pair may be escaped in JSON, but it is not text
        {
            throw NotText();
        }
    }

    public string? OptionalString() => IsNull ? null : String();

    public bool Bool(bool absent) => element.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Null or JsonValueKind.Undefined => absent,
        _ => throw Error($"must be true or false, not {Name(element.ValueKind)}", "Correct the file or download it again"),
    };

    /// <summary>A token id: an integer from 0 to 2^24 - 1 (no vocabulary is near that; a larger one would only reserve memory).</summary>
    public int TokenId() =>
        element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int id) && id is >= 0 and < 1 << 24
            ? id
            : throw Error($"must be a token id (an integer from 0 to {(1 << 24) - 1})", "Correct the file or download it again");

    private string NameOf(JsonProperty member)
    {
        try
        {
            return member.Name;
        }
        catch (InvalidOperationException)
        {
            throw NotText();
        }
    }

    private TokenizerException NotText() => Error("holds an unpaired surrogate or invalid UTF-8", "Correct the file or download it again");

    private static string Name(JsonValueKind kind) => kind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "an array",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "a number",
        JsonValueKind.True or JsonValueKind.False => "true or false",
        _ => "null",
    };
}
