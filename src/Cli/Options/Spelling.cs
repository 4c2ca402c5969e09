namespace Foretoken.Cli.Options;

/// <summary>What somebody may have meant.</summary>
internal static class Spelling
{
    private const int MostEdits = 2;

    /// <summary><c> (did you mean NAME?)</c> with the nearest known name; empty where none is near.</summary>
    public static string Suggestion(string name, IEnumerable<string> known)
    {
        string? best = known.MinBy(k => Distance(k, name));
        return best is not null && Distance(best, name) <= MostEdits ? $" (did you mean {best}?)" : "";
    }

    /// <summary>Levenshtein distance.</summary>
    private static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int above = row[j];
                row[j] = Math.Min(Math.Min(above, row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }

        return row[b.Length];
    }
}
