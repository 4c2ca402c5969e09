using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>
/// Divides problems into train and held-out by a hash of their canonical key, so that the two sets are disjoint by construction
/// whatever the seeds, phrasings and numbers of samples are.
/// </summary>
public static class TaskSplit
{
    private const ulong Modulus = 10;

    /// <summary>The side of a canonical key: one key in ten is held out.</summary>
    public static Split Of(string key) => Hash(key) % Modulus == 0 ? Split.HeldOut : Split.Train;

    /// <summary>64-bit FNV-1a over the UTF-16 units, finished by the SplitMix64 mixer so that the low digits are well mixed.</summary>
    public static ulong Hash(string key)
    {
        ulong hash = 0xCBF29CE484222325;
        foreach (char c in key)
        {
            hash = (hash ^ c) * 0x100000001B3;
        }
        hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9;
        hash = (hash ^ hash >> 27) * 0x94D049BB133111EB;
        return hash ^ hash >> 31;
    }
}

/// <summary>Base of the six tasks: draws problems until one falls on the asked side of the split.</summary>
public abstract class SplitTask : ITask
{
    private const int MaximumAttempts = 20_000;

    /// <inheritdoc/>
    public abstract string Bucket { get; }

    /// <inheritdoc/>
    public int Levels => 10;

    /// <summary>First part of the canonical keys.</summary>
    protected virtual string KeyPrefix => Bucket;

    /// <inheritdoc/>
    public TaskExample Generate(SeededRandom random, int level, Split split)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(level);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(level, Levels);
        bool unseen = split == Split.HeldOut && random.Chance(0.5);
        for (int attempt = 0; attempt < MaximumAttempts; attempt++)
        {
            TaskExample example = Draft(random, level, new Phrasing(random, unseen));
            if (TaskSplit.Of(example.Key) == split)
            {
                return example;
            }
        }
        throw new InvalidOperationException($"Task '{Bucket}' has no {split} problem at level {level}.");
    }

    /// <summary>One problem of this level, of either side.</summary>
    protected abstract TaskExample Draft(SeededRandom random, int level, Phrasing phrasing);

    /// <summary>Closes the steps with the answer line.</summary>
    protected TaskExample Example(string prompt, string steps, string answer, string key) =>
        new(Bucket, prompt, steps.TrimEnd('\n') + "\n#### " + answer, answer, KeyPrefix + "/" + key);
}
