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
            throw new RecipeException($"{path}: key {exception.Path ?? "(root)"}: {exception.Message} See {example} for a complete recipe.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new RecipeException($"{path}: the recipe cannot be read: {exception.Message}");
        }
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
