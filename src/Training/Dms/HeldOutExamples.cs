using Foretoken.Numerics;
using Foretoken.Training.Evaluation;
using Foretoken.Training.Tasks;

namespace Foretoken.Training;

/// <summary>Held-out problems with their solutions as token sequences, on which compression and distance from the teacher are measured.</summary>
public static class HeldOutExamples
{
    private const ulong Seed = 2024;

    /// <summary>
    /// <paramref name="perBucket"/> problems of every task, the levels of <see cref="HeldOutSuite.Levels"/> up to <paramref name="topLevels"/>[task] in turn;
    /// problems that exceed the source's longest example are left out.
    /// </summary>
    public static List<TrainingExample> Make(TaskExampleSource source, IReadOnlyList<ITask> tasks, IReadOnlyList<int> topLevels, int perBucket)
    {
        var examples = new List<TrainingExample>();
        for (int bucket = 0; bucket < tasks.Count; bucket++)
        {
            int top = Math.Min(topLevels[bucket], tasks[bucket].Levels - 1);
            int[] levels = [.. HeldOutSuite.Levels(tasks[bucket].Bucket).Where(level => level <= top).DefaultIfEmpty(top)];
            examples.AddRange(OfLevels(source, tasks[bucket], bucket, levels, perBucket, Seed));
        }
        return examples;
    }

    /// <summary><paramref name="count"/> problems of one task, the levels in turn.</summary>
    public static IEnumerable<TrainingExample> OfLevels(TaskExampleSource source, ITask task, int bucket, IReadOnlyList<int> levels, int count, ulong seed)
    {
        for (int i = 0; i < count; i++)
        {
            int level = levels[i % levels.Count];
            TaskExample problem = task.Generate(new SeededRandom(seed, (ulong)(bucket * 1_000_000 + i)), level, Split.HeldOut);
            if (source.Encode(problem, bucket, level) is { } example) yield return example;
        }
    }
}
