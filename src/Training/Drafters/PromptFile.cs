using System.Text.Json;
using Foretoken.Training.Evaluation;

namespace Foretoken.Training.Drafters;

/// <summary>A line of a prompt file.</summary>
/// <param name="Prompt">What the user said.</param>
/// <param name="Response">A recorded answer of the target, or null: the target answers anew.</param>
/// <param name="Bucket">Name under which acceptance is reported.</param>
internal sealed record PromptLine(string Prompt, string? Response, string Bucket);

/// <summary>
/// Reads a user's own prompts or logs: JSON Lines, one object with the string "prompt", optionally "response" (the target's recorded answer) and "bucket" per line.
/// </summary>
internal static class PromptFile
{
    /// <summary>Bucket of lines that name none.</summary>
    public const string DefaultBucket = "custom";

    /// <exception cref="RecipeException">The file is missing, empty or has a malformed line.</exception>
    public static IReadOnlyList<PromptLine> Read(string path)
    {
        string[] lines = JsonLinesText.Read(path, message => new RecipeException(message)).Split('\n');
        var prompts = new List<PromptLine>();
        for (int i = 0; i < lines.Length; i++)
            if (!string.IsNullOrWhiteSpace(lines[i])) prompts.Add(Parse(lines[i], $"{path}, line {i + 1}"));
        return prompts.Count > 0 ? prompts : throw new RecipeException($"{path}: holds no prompt; write one object like {{\"prompt\": \"What is 2 + 3?\"}} per line.");
    }

    private static PromptLine Parse(string line, string where)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object) throw new RecipeException($"{where}: is not a JSON object; write an object with \"prompt\".");
            string prompt = Text(root, "prompt", where) ?? throw new RecipeException($"{where}: has no \"prompt\"; each line needs that string.");
            return new PromptLine(prompt, Text(root, "response", where), Text(root, "bucket", where) ?? DefaultBucket);
        }
        catch (JsonException exception)
        {
            throw new RecipeException($"{where}: is not JSON ({JsonLinesText.Reason(exception)}); write one complete object per line.");
        }
    }

    private static string? Text(JsonElement root, string field, string where)
    {
        if (!root.TryGetProperty(field, out JsonElement value) || value.ValueKind == JsonValueKind.Null) return null;
        if (value.ValueKind != JsonValueKind.String || string.IsNullOrWhiteSpace(value.GetString()))
            throw new RecipeException($"{where}: \"{field}\" must be a string that is not empty.");
        return value.GetString();
    }
}
