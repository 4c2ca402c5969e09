namespace Foretoken.Training.Evaluation;

/// <summary>The answer that most of several independent attempts agree on (self-consistency, Wang et al. 2022, arXiv 2203.11171).</summary>
public static class MajorityVote
{
    /// <summary>The most frequent answer and its votes; of equals the one that came first. Attempts without answer (null) do not vote.</summary>
    /// <returns>Null and 0 where nobody answered.</returns>
    public static (string? Answer, int Votes) Of(ReadOnlySpan<string?> answers)
    {
        string? best = null;
        int most = 0;
        for (int i = 0; i < answers.Length; i++)
        {
            if (answers[i] is not { } answer || answers[..i].Contains(answer)) continue;
            int votes = 0;
            foreach (string? other in answers[i..]) votes += other == answer ? 1 : 0;
            if (votes > most) (best, most) = (answer, votes);
        }

        return (best, most);
    }
}
