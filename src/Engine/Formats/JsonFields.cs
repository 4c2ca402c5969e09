using System.Text.Json;
using System.Text.Unicode;

namespace Foretoken.Formats;

/// <summary>
/// A JSON object of a model directory with checked access: every error names file and field. A field that is null counts as missing, as in the
/// Hugging Face configuration classes. Duplicate keys, comments and nesting beyond 64 levels are refused.
/// </summary>
public sealed class JsonFields
{
    private const long MaxFileBytes = 64 << 20;
    private readonly JsonElement _object;
    private readonly string _prefix;

    private JsonFields(string file, JsonElement element, string prefix)
    {
        File = file;
        _object = element;
        _prefix = prefix;
    }

    /// <summary>Path of the file.</summary>
    public string File { get; }

    /// <summary>Names of the fields that are not null.</summary>
    public IEnumerable<string> Names =>
        _object.EnumerateObject().Where(p => p.Value.ValueKind != JsonValueKind.Null).Select(p => p.Name);

    /// <summary>Reads a file.</summary>
    /// <exception cref="ModelFormatException">The file is missing, too large, or not one JSON object.</exception>
    public static JsonFields Read(string path)
    {
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists) throw new ModelFormatException(path, "file", "does not exist", "Check that the directory is a complete Hugging Face model.");
            if (info.Length > MaxFileBytes) throw new ModelFormatException(path, "file", $"has {info.Length} bytes, and at most {MaxFileBytes} are read", "Check that it is the right file.");
            return Parse(path, System.IO.File.ReadAllBytes(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException(path, "file", $"cannot be read: {e.Message}", "Check that it is a readable file.", e);
        }
    }

    /// <summary>Parses the bytes of a file; a byte-order mark is skipped.</summary>
    public static JsonFields Parse(string file, ReadOnlyMemory<byte> utf8)
    {
        if (utf8.Span.StartsWith("\uFEFF"u8)) utf8 = utf8[3..];
        if (!Utf8.IsValid(utf8.Span)) throw new ModelFormatException(file, "content", "must be UTF-8", "Correct the file or download it again.");
        try
        {
            CheckStrings(utf8.Span);
            using JsonDocument document = JsonDocument.Parse(utf8, new JsonDocumentOptions { AllowDuplicateProperties = false, MaxDepth = 64 });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new ModelFormatException(file, "content", $"must be a JSON object, but is {Describe(document.RootElement)}", "Check that it is the right file.");
            return new JsonFields(file, document.RootElement.Clone(), "");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new ModelFormatException(file, "content", $"must be valid JSON (NaN and Infinity are not): {e.Message}", "Correct the file or download it again.", e);
        }
    }

    /// <summary>An escaped lone surrogate is valid JSON and no string: it would be met only when the field is read.</summary>
    private static void CheckStrings(ReadOnlySpan<byte> utf8)
    {
        var reader = new Utf8JsonReader(utf8);
        while (reader.Read())
        {
            if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName && reader.ValueIsEscaped) _ = reader.GetString();
        }
    }

    /// <summary>Whether the field is present and not null.</summary>
    public bool Has(string name) => Find(name) is not null;

    /// <summary>Whether the field is written in the file, with the value null.</summary>
    public bool IsNull(string name) => _object.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Null;

    /// <summary>A whole number, or null where the field is missing.</summary>
    public long? Integer(string name, long minimum, long maximum)
    {
        if (Find(name) is not { } value) return null;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetInt64(out long number)) throw Broken(name, $"must be a whole number, but is {Describe(value)}");
        return number >= minimum && number <= maximum ? number : throw Broken(name, $"must be from {minimum} to {maximum}, but is {number}");
    }

    /// <summary>A whole number that must be there.</summary>
    public int RequiredInteger(string name, int minimum, int maximum) => (int)(Integer(name, minimum, maximum) ?? throw Missing(name));

    /// <summary>A finite number, or null where the field is missing.</summary>
    public double? Number(string name, double minimum, double maximum)
    {
        if (Find(name) is not { } value) return null;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out double number)) throw Broken(name, $"must be a number, but is {Describe(value)}");
        return number >= minimum && number <= maximum ? number : throw Broken(name, $"must be from {minimum} to {maximum}, but is {Describe(value)}");
    }

    /// <summary>A finite number that must be there.</summary>
    public double RequiredNumber(string name, double minimum, double maximum) => Number(name, minimum, maximum) ?? throw Missing(name);

    /// <summary>true or false, or null where the field is missing.</summary>
    public bool? Boolean(string name) => Find(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } other => throw Broken(name, $"must be true or false, but is {Describe(other)}"),
    };

    /// <summary>A string, or null where the field is missing.</summary>
    public string? Text(string name) => Find(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        { } other => throw Broken(name, $"must be a string, but is {Describe(other)}"),
    };

    /// <summary>An object, or null where the field is missing.</summary>
    public JsonFields? Object(string name) => Find(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Object } element => new JsonFields(File, element, $"{_prefix}{name}."),
        { } other => throw Broken(name, $"must be an object, but is {Describe(other)}"),
    };

    /// <summary>An array of strings, or null where the field is missing.</summary>
    public IReadOnlyList<string>? Texts(string name)
    {
        if (Find(name) is not { } value) return null;
        if (value.ValueKind != JsonValueKind.Array || value.EnumerateArray().Any(e => e.ValueKind != JsonValueKind.String))
            throw Broken(name, $"must be an array of strings, but is {Describe(value)}");
        return [.. value.EnumerateArray().Select(e => e.GetString()!)];
    }

    /// <summary>Every field of an object that maps names to strings.</summary>
    public IEnumerable<(string Name, string Value)> TextEntries()
    {
        foreach (JsonProperty p in _object.EnumerateObject())
        {
            if (p.Value.ValueKind != JsonValueKind.String) throw Broken(p.Name, $"must be a string, but is {Describe(p.Value)}");
            yield return (p.Name, p.Value.GetString()!);
        }
    }

    /// <summary>A whole number or an array of them as a list; empty where the field is missing.</summary>
    public IReadOnlyList<int> IntegerOrList(string name, int minimum, int maximum)
    {
        if (Find(name) is not { } value) return [];
        if (value.ValueKind != JsonValueKind.Array) return [RequiredInteger(name, minimum, maximum)];
        var list = new List<int>();
        foreach (JsonElement e in value.EnumerateArray())
        {
            if (e.ValueKind != JsonValueKind.Number || !e.TryGetInt32(out int number) || number < minimum || number > maximum)
                throw Broken(name, $"must hold whole numbers from {minimum} to {maximum}, but holds {Describe(e)}");
            list.Add(number);
        }

        return list;
    }

    /// <summary>An array of arrays of numbers, or null where the field is missing.</summary>
    public IReadOnlyList<IReadOnlyList<double>>? NumberRows(string name, double minimum, double maximum)
    {
        if (Find(name) is not { } value) return null;
        if (value.ValueKind != JsonValueKind.Array || value.EnumerateArray().Any(r => r.ValueKind != JsonValueKind.Array))
            throw Broken(name, $"must be an array of arrays of numbers, but is {Describe(value)}");
        var rows = new List<IReadOnlyList<double>>();
        foreach (JsonElement row in value.EnumerateArray())
        {
            var numbers = new List<double>();
            foreach (JsonElement e in row.EnumerateArray())
            {
                if (e.ValueKind != JsonValueKind.Number || !e.TryGetDouble(out double number) || !(number >= minimum && number <= maximum))
                    throw Broken(name, $"must hold numbers from {minimum} to {maximum}, but holds {Describe(e)}");
                numbers.Add(number);
            }

            rows.Add(numbers);
        }

        return rows;
    }

    /// <summary>Whether the field, if it is there and not null, equals a JSON literal (numbers by value).</summary>
    public bool IsAbsentOr(string name, string literal)
    {
        if (Find(name) is not { } value) return true;
        using JsonDocument expected = JsonDocument.Parse(literal);
        return value.ValueKind == JsonValueKind.Number && expected.RootElement.ValueKind == JsonValueKind.Number
            ? value.TryGetDouble(out double number) && number == expected.RootElement.GetDouble()
            : JsonElement.DeepEquals(value, expected.RootElement);
    }

    /// <summary>The field as short JSON text for messages.</summary>
    public string TextOf(string name) => Find(name) is { } value ? Describe(value) : "missing";

    /// <summary>An error about a field of this object.</summary>
    public ModelFormatException Broken(string name, string rule, string remedy = "Correct the field or download the file again.") =>
        new(File, _prefix + name, rule, remedy);

    /// <summary>An error about a field that must be there.</summary>
    public ModelFormatException Missing(string name) => Broken(name, "is missing", "Add the field or download the file again.");

    private JsonElement? Find(string name) =>
        _object.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static string Describe(JsonElement value)
    {
        string raw = value.GetRawText();
        return raw.Length <= 60 ? raw : string.Concat(raw.AsSpan(0, 57), "...");
    }
}
