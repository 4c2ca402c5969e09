using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Foretoken.Training;

/// <summary>What recipe files of every kind share: how they are read, and what is said of those that cannot be.</summary>
internal static class RecipeFile
{
    private static readonly JsonDocumentOptions s_options = new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true };

    /// <summary>The recipe at <paramref name="path"/>; its values are not checked yet.</summary>
    /// <param name="path">The file.</param>
    /// <param name="type">What it must be; unknown keys are refused.</param>
    /// <param name="example">Where a complete recipe of this kind stands.</param>
    /// <exception cref="RecipeException">The file is missing, not JSON, or has an unknown key.</exception>
    public static T Read<T>(string path, JsonTypeInfo<T> type, string example) where T : class
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            return JsonSerializer.Deserialize(stream, type) ?? throw new RecipeException($"{path}: the recipe is empty.");
        }
        catch (JsonException exception)
        {
            string key = exception.Path is { Length: > 2 } at ? at[2..] : "(root)"; // $.key
            throw new RecipeException($"{path}: key {key} {Rule(exception.Message)} (line {exception.LineNumber + 1}). See {example} for a complete recipe.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new RecipeException(
                Directory.Exists(path) ? $"{path} is a folder: give the path of a recipe's JSON file."
                : !File.Exists(path) ? $"{path}: there is no such recipe. Check the path."
                : $"{path}: the recipe cannot be read ({exception.Message.TrimEnd('.')}). Check the permissions of the file.");
        }
    }

    /// <summary>What the reader says, in a recipe's words.</summary>
    private static string Rule(string message)
    {
        if (message.Contains("could not be mapped to any .NET member", StringComparison.Ordinal)) return "is none of this kind of recipe";
        if (message.Contains("doesn't allow setting null", StringComparison.Ordinal)) return "must not be null";
        const string Conversion = "could not be converted to ";
        int at = message.IndexOf(Conversion, StringComparison.Ordinal), path = message.IndexOf(" Path: ", StringComparison.Ordinal);
        string cut = (path < 0 ? message : message[..path]).TrimEnd('.', ' ');
        if (at < 0) return $"is not valid JSON ({cut})";
        string type = cut[(at + Conversion.Length)..];
        (string Part, string Words)[] known =
        [
            ("List`1", "an array"), ("UInt", "a whole number from 0"), ("Int", "a whole number in range"), ("Double", "a number"), ("Single", "a number"),
            ("Boolean", "true or false"), ("String", "a string"),
        ];
        return $"must be {Array.Find(known, k => type.Contains(k.Part, StringComparison.Ordinal)).Words ?? "an object"}";
    }

    /// <summary>The kind of training: the value of "kind", else the one of the keys "drafter" and "compare" that stands in the file, else null, also for a file that cannot be read.</summary>
    public static string? KindOf(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path), s_options);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object) return null;
            if (root.TryGetProperty("kind", out JsonElement kind)) return kind.ValueKind == JsonValueKind.String ? kind.GetString() : null;
            return Array.Find(["drafter", "compare"], key => root.TryGetProperty(key, out _));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException)
        {
            return null; // reading it as a model's recipe says what is wrong
        }
    }
}
