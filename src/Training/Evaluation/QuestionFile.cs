using System.Text.Json;

namespace Foretoken.Training.Evaluation;

/// <summary>A malformed question file; the message names file, line, rule and remedy.</summary>
public sealed class QuestionFileException(string message) : Exception(message);

/// <summary>Reads a user's own questions: JSON Lines, one object with the strings "question" and "answer" (optionally "bucket") per line.</summary>
public static class QuestionFile
{
    /// <summary>Bucket of questions that name none.</summary>
    public const string DefaultBucket = "custom";

    /// <summary>Reads all questions of a file; blank lines are skipped.</summary>
    /// <exception cref="QuestionFileException">The file is missing, empty or has a malformed line.</exception>
    public static IReadOnlyList<EvaluationItem> Read(string path) => Parse(JsonLinesText.Read(path, message => new QuestionFileException(message)), path);

    /// <summary>Parses the text of a question file; <paramref name="name"/> stands in messages.</summary>
    /// <exception cref="QuestionFileException">The text has no question or a malformed line.</exception>
    public static IReadOnlyList<EvaluationItem> Parse(string text, string name)
    {
        ArgumentNullException.ThrowIfNull(text);
        var items = new List<EvaluationItem>();
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            if (!string.IsNullOrWhiteSpace(lines[i]))
            {
                items.Add(ParseLine(lines[i], $"{name}, line {i + 1}"));
            }
        }
        return items.Count > 0 ? items : throw new QuestionFileException($"{name}: holds no question. Write one object like {{\"question\": \"What is 2 + 3?\", \"answer\": \"5\"}} per line.");
    }

    private static EvaluationItem ParseLine(string line, string where)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(line);
        }
        catch (JsonException error)
        {
            throw new QuestionFileException($"{where}: is not JSON ({JsonLinesText.Reason(error)}). Write one complete object per line.");
        }
        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw new QuestionFileException($"{where}: is a JSON {document.RootElement.ValueKind}, not an object. Write an object with \"question\" and \"answer\".");
            }
            string question = Field(document.RootElement, "question", where) ?? throw Missing("question", where);
            string answer = Field(document.RootElement, "answer", where) ?? throw Missing("answer", where);
            return new EvaluationItem(Field(document.RootElement, "bucket", where) ?? DefaultBucket, question, answer);
        }
    }

    private static QuestionFileException Missing(string field, string where) => new($"{where}: has no \"{field}\". Each line needs the strings \"question\" and \"answer\".");

    private static string? Field(JsonElement element, string field, string where)
    {
        if (!element.TryGetProperty(field, out JsonElement value))
        {
            return null;
        }
        string? text = value.ValueKind switch
        {
            JsonValueKind.String => value.GetString(),
            JsonValueKind.Number when field == "answer" => value.GetRawText(),
            _ => throw new QuestionFileException($"{where}: \"{field}\" is a JSON {value.ValueKind}, not a string. Put it in quotes."),
        };
        return string.IsNullOrWhiteSpace(text) ? throw new QuestionFileException($"{where}: \"{field}\" is empty. Give it a text.") : text;
    }
}
