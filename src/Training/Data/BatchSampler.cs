using Foretoken.Numerics;

namespace Foretoken.Training;

/// <summary>
/// Draws batches of about a given number of tokens. Example n is a function of (seed, n) and the curriculum; examples are made in parallel and
/// taken in order.
/// </summary>
public sealed class BatchSampler(IExampleSource source, ulong seed, WorkerTeam team)
{
    private const int Group = 16;
    private const int MostMisses = 10_000; // in sequence; the shortest tasks have some dozen tokens
    private readonly TrainingExample?[] _group = new TrainingExample?[Group];

    /// <summary>Number of the next example; saved in checkpoints.</summary>
    public long NextExample { get; set; }

    /// <summary>Fills <paramref name="batch"/> with examples until they have <paramref name="tokens"/> tokens; returns how many they have.</summary>
    /// <exception cref="RecipeException">No example fits the model's context.</exception>
    public int Fill(List<TrainingExample> batch, Curriculum curriculum, int tokens)
    {
        batch.Clear();
        int total = 0, misses = 0;
        while (misses < MostMisses)
        {
            long first = NextExample;
            team.Run(Group, (item, _) => _group[item] = Make(first + item, curriculum));
            foreach (TrainingExample? example in _group)
            {
                NextExample++;
                misses = example is null ? misses + 1 : 0;
                if (example is null) continue;
                batch.Add(example);
                total += example.Tokens.Length;
                if (total >= tokens) return total;
            }
        }

        throw new RecipeException($"None of {misses} drawn examples in sequence fits the model's context; raise model.max_position_embeddings.");
    }

    private TrainingExample? Make(long index, Curriculum curriculum)
    {
        var random = new SeededRandom(seed, (ulong)index + 1);
        (int bucket, int level) = curriculum.Choose(random.NextDouble(), random.NextDouble(), random.NextDouble());
        return source.Draw(random, bucket, level);
    }
}
