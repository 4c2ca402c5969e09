using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Foretoken.Training.Evaluation;

/// <summary>Accuracy of one group of questions.</summary>
/// <param name="Name">Bucket or part of a bucket.</param>
/// <param name="Correct">Right answers.</param>
/// <param name="Count">Questions.</param>
/// <param name="MeanSolutionTokens">Mean tokens generated per question.</param>
public sealed record BucketScore(string Name, int Correct, int Count, double MeanSolutionTokens)
{
    /// <summary>Right answers per question, 0 to 1.</summary>
    public double Accuracy => Count == 0 ? 0 : (double)Correct / Count;

    internal static BucketScore Of(string name, IReadOnlyCollection<EvaluationOutcome> outcomes) =>
        new(name, outcomes.Count(outcome => outcome.Correct), outcomes.Count, outcomes.Count == 0 ? 0 : outcomes.Average(outcome => outcome.Completion.Tokens));
}

/// <summary>Scores per bucket in the order of the questions, with recall also by context length and plain questions apart from the overall score.</summary>
public sealed class EvaluationReport
{
    /// <summary>Groups the outcomes.</summary>
    public EvaluationReport(IReadOnlyList<EvaluationOutcome> outcomes)
    {
        Outcomes = outcomes;
        EvaluationOutcome[] counted = [.. outcomes.Where(outcome => outcome.Item.Bucket != HeldOutSuite.PlainBucket)];
        EvaluationOutcome[] plain = [.. outcomes.Where(outcome => outcome.Item.Bucket == HeldOutSuite.PlainBucket)];
        Overall = BucketScore.Of("overall", counted);
        Buckets = [.. counted.GroupBy(outcome => outcome.Item.Bucket).Select(group => BucketScore.Of(group.Key, [.. group]))];
        Plain = plain.Length > 0 ? BucketScore.Of(HeldOutSuite.PlainBucket, plain) : null;
        EvaluationOutcome[] recall = [.. counted.Where(outcome => outcome.Item.Bucket == "recall")];
        RecallByContext = recall.Length == 0 ? [] :
        [
            BucketScore.Of($"recall<={Evaluator.ShortContextTokens}", [.. recall.Where(outcome => outcome.PromptTokens <= Evaluator.ShortContextTokens)]),
            BucketScore.Of($"recall>{Evaluator.ShortContextTokens}", [.. recall.Where(outcome => outcome.PromptTokens > Evaluator.ShortContextTokens)]),
        ];
    }

    /// <summary>Every question with its completion.</summary>
    public IReadOnlyList<EvaluationOutcome> Outcomes { get; }

    /// <summary>All buckets together, without the plain questions.</summary>
    public BucketScore Overall { get; }

    /// <summary>One score per bucket, without the plain questions.</summary>
    public IReadOnlyList<BucketScore> Buckets { get; }

    /// <summary>Recall with prompts up to 400 tokens and longer ones; empty without recall questions.</summary>
    public IReadOnlyList<BucketScore> RecallByContext { get; }

    /// <summary>The plain questions, or null when there were none.</summary>
    public BucketScore? Plain { get; }

    /// <summary>A table for people: one line per bucket, then the parts of recall, the plain questions and the overall score.</summary>
    public string ToTable()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{"bucket",-14}{"accuracy",9}{"n",7}{"tokens",9}\n");
        IEnumerable<BucketScore> scores = [.. Buckets, .. RecallByContext, .. Plain is null ? Array.Empty<BucketScore>() : [Plain], Overall];
        foreach (BucketScore score in scores)
        {
            text.Append(CultureInfo.InvariantCulture, $"{score.Name,-14}{100 * score.Accuracy,8:F1}%{score.Count,7}{score.MeanSolutionTokens,9:F1}\n");
        }
        return text.ToString();
    }

    /// <summary>
    /// {"overall": {"accuracy", "n", "mean_solution_tokens"}, "buckets": [{"name", "accuracy", "n", "mean_solution_tokens"}],
    /// "recall_by_context": […], "plain": {…} or null}; accuracies from 0 to 1.
    /// </summary>
    public string ToJson()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WritePropertyName("overall");
            Write(json, Overall, named: false);
            WriteArray(json, "buckets", Buckets);
            WriteArray(json, "recall_by_context", RecallByContext);
            json.WritePropertyName("plain");
            if (Plain is null)
            {
                json.WriteNullValue();
            }
            else
            {
                Write(json, Plain, named: false);
            }
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    private static void WriteArray(Utf8JsonWriter json, string name, IReadOnlyList<BucketScore> scores)
    {
        json.WriteStartArray(name);
        foreach (BucketScore score in scores)
        {
            Write(json, score, named: true);
        }
        json.WriteEndArray();
    }

    private static void Write(Utf8JsonWriter json, BucketScore score, bool named)
    {
        json.WriteStartObject();
        if (named)
        {
            json.WriteString("name", score.Name);
        }
        json.WriteNumber("accuracy", Math.Round(score.Accuracy, 4));
        json.WriteNumber("n", score.Count);
        json.WriteNumber("mean_solution_tokens", Math.Round(score.MeanSolutionTokens, 1));
        json.WriteEndObject();
    }
}
