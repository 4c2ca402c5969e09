using Foretoken.Numerics;
using Foretoken.Training.Tasks;

namespace Foretoken.Training.Evaluation;

/// <summary>
/// The fixed evaluation of the six buckets. Problems are held out by content, and half of them use phrasings that training never shows.
/// Difficulty: the upper half of the levels in equal parts, 5 to 9; recall 6 to 9, whose contexts have about 200 to 900 tokens.
/// </summary>
public static class HeldOutSuite
{
    /// <summary>Questions per bucket when nothing else is asked.</summary>
    public const int DefaultPerBucket = 100;

    /// <summary>Seed of the published figures.</summary>
    public const ulong DefaultSeed = 2024;

    /// <summary>Name of the bucket of <see cref="PlainQuestions"/>, which is reported beside the six.</summary>
    public const string PlainBucket = "plain";

    /// <summary>Levels that a bucket is evaluated at, each equally often.</summary>
    public static IReadOnlyList<int> Levels(string bucket) => bucket is "recall" or "recall-list" or "needle" ? [6, 7, 8, 9] : [5, 6, 7, 8, 9];

    /// <summary>Held-out problems with their reference solutions, <paramref name="perBucket"/> per bucket, buckets one after the other.</summary>
    public static IReadOnlyList<TaskExample> Examples(int perBucket = DefaultPerBucket, ulong seed = DefaultSeed)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(perBucket);
        var examples = new List<TaskExample>();
        IReadOnlyList<ITask> tasks = TaskMixture.Default().Tasks;
        for (int t = 0; t < tasks.Count; t++)
        {
            IReadOnlyList<int> levels = Levels(tasks[t].Bucket);
            for (int i = 0; i < perBucket; i++)
            {
                var random = new SeededRandom(seed, (ulong)(t * 1_000_000 + i));
                examples.Add(tasks[t].Generate(random, levels[i % levels.Count], Split.HeldOut));
            }
        }
        return examples;
    }

    /// <summary>The same problems as questions, followed by the plain questions typed by a person.</summary>
    public static IReadOnlyList<EvaluationItem> Items(int perBucket = DefaultPerBucket, ulong seed = DefaultSeed) =>
        [.. Examples(perBucket, seed).Select(example => new EvaluationItem(example.Bucket, example.Prompt, example.Answer)), .. PlainQuestions.Items];
}
