namespace Foretoken.Training.Evaluation;

/// <summary>Asks a model every question and counts right answers.</summary>
public static class Evaluator
{
    /// <summary>Recall contexts up to this many prompt tokens are reported apart from longer ones.</summary>
    public const int ShortContextTokens = 400;

    /// <summary>
    /// Evaluates in batches of <paramref name="batchSize"/> questions of like length. <paramref name="countTokens"/> measures prompts;
    /// <paramref name="progress"/> receives (questions done, questions in all) after each batch.
    /// </summary>
    /// <exception cref="InvalidOperationException">The delegate returned another number of completions than questions.</exception>
    public static EvaluationReport Run(
        IReadOnlyList<EvaluationItem> items, CompleteBatch complete, Func<string, int> countTokens, int batchSize = 16, Action<int, int>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(complete);
        ArgumentNullException.ThrowIfNull(countTokens);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batchSize);
        int[] promptTokens = [.. items.Select(item => countTokens(item.Question))];
        int[] order = [.. Enumerable.Range(0, items.Count).OrderBy(i => promptTokens[i]).ThenBy(i => i)];
        var outcomes = new EvaluationOutcome[items.Count];
        for (int start = 0; start < order.Length; start += batchSize)
        {
            int[] batch = order[start..Math.Min(start + batchSize, order.Length)];
            IReadOnlyList<Completion> completions = complete([.. batch.Select(i => items[i].Question)]);
            if (completions.Count != batch.Length)
            {
                throw new InvalidOperationException($"{batch.Length} questions were asked and {completions.Count} completions returned; one per question is needed.");
            }
            for (int j = 0; j < batch.Length; j++)
            {
                EvaluationItem item = items[batch[j]];
                outcomes[batch[j]] = new EvaluationOutcome(item, promptTokens[batch[j]], completions[j], AnswerScorer.IsCorrect(completions[j].Text, item.Answer));
            }
            progress?.Invoke(start + batch.Length, order.Length);
        }
        return new EvaluationReport(outcomes);
    }
}

/// <summary>One question, what the model said, and whether its final answer is right.</summary>
public sealed record EvaluationOutcome(EvaluationItem Item, int PromptTokens, Completion Completion, bool Correct);
