namespace Foretoken.Training.Evaluation;

/// <summary>Exact match of the final answer.</summary>
public static class AnswerScorer
{
    /// <summary>What precedes the answer on its line.</summary>
    public const string Marker = "####";

    /// <summary>The text after the last line that starts with "####", trimmed; null when there is none or it is empty.</summary>
    public static string? Extract(string completion)
    {
        ArgumentNullException.ThrowIfNull(completion);
        foreach (string line in completion.Split('\n').Reverse())
        {
            if (line.StartsWith(Marker, StringComparison.Ordinal))
            {
                string answer = line[Marker.Length..].Trim();
                return answer.Length > 0 ? answer : null;
            }
        }
        return null;
    }

    /// <summary>Whether the extracted answer equals <paramref name="expected"/>, both trimmed, letter by letter.</summary>
    public static bool IsCorrect(string completion, string expected)
    {
        ArgumentNullException.ThrowIfNull(expected);
        return Extract(completion) == expected.Trim();
    }
}
