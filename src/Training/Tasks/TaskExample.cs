using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>Which side of the train/held-out division a problem belongs to; see <see cref="TaskSplit"/>.</summary>
public enum Split
{
    /// <summary>Problems the trainer may see.</summary>
    Train,

    /// <summary>Problems kept for evaluation; half of them also use phrasings that training never shows.</summary>
    HeldOut,
}

/// <summary>One problem with its step-by-step solution.</summary>
/// <param name="Bucket">arithmetic, trace, recall, extract, mapping or json.</param>
/// <param name="Prompt">What the user types, plain text without chat tokens.</param>
/// <param name="Solution">The steps, ending in "\n#### " + <paramref name="Answer"/> with nothing after it.</param>
/// <param name="Answer">The one right answer, a single line.</param>
/// <param name="Key">The canonical content of the problem, independent of its phrasing. The split is a hash of this key.</param>
public sealed record TaskExample(string Bucket, string Prompt, string Solution, string Answer, string Key);

/// <summary>A generator of problems of one bucket: a pure function of the random sequence, the level and the split.</summary>
public interface ITask
{
    /// <summary>Name of the bucket in reports.</summary>
    string Bucket { get; }

    /// <summary>Number of levels; level 0 has problems of tens of tokens, the last level the full difficulty.</summary>
    int Levels { get; }

    /// <summary>One problem of exactly this level and split.</summary>
    TaskExample Generate(SeededRandom random, int level, Split split);
}
