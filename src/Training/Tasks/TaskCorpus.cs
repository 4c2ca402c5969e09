using System.Text;
using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>Text of all buckets and levels for training the tokenizer.</summary>
public static class TaskCorpus
{
    /// <summary>
    /// About <paramref name="characters"/> characters of training prompts and solutions, one document per entry, all buckets with equal
    /// shares of characters. Deterministic by seed.
    /// </summary>
    public static IReadOnlyList<string> Build(ulong seed, int characters)
    {
        IReadOnlyList<ITask> tasks = TaskMixture.Default().Tasks;
        var documents = new List<string>();
        int share = characters / tasks.Count;
        for (int i = 0; i < tasks.Count; i++)
        {
            var random = new SeededRandom(seed, (ulong)i);
            int level = 0;
            for (int written = 0; written < share;)
            {
                TaskExample example = tasks[i].Generate(random, level, Split.Train);
                level = (level + 1) % tasks[i].Levels;
                documents.Add(example.Prompt);
                documents.Add(example.Solution);
                written += example.Prompt.Length + example.Solution.Length;
            }
        }
        return documents;
    }
}
