using Foretoken.Numerics;

namespace Foretoken.Training;

/// <summary>Endless training examples in buckets and difficulty levels; what an example is depends only on the random sequence given.</summary>
public interface IExampleSource
{
    /// <summary>Names of the buckets.</summary>
    IReadOnlyList<string> Buckets { get; }

    /// <summary>Number of difficulty levels of every bucket.</summary>
    int Levels { get; }

    /// <summary>An example of <paramref name="bucket"/> at <paramref name="level"/>, or null when the drawn one exceeds the context.</summary>
    TrainingExample? Draw(SeededRandom random, int bucket, int level);
}
