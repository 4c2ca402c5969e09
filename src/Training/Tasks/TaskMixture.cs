using Foretoken.Numerics;

namespace Foretoken.Training.Tasks;

/// <summary>
/// A weighted mixture of tasks. A bucket is drawn with probability proportional to its weight divided by the square root of its mean
/// length at the asked level, so that buckets of long examples do not take most of the tokens.
/// </summary>
public sealed class TaskMixture
{
    private const double LowerLevelShare = 0.35;
    private const int LengthSamples = 12;

    private readonly (ITask Task, double Weight)[] _tasks;
    private readonly double[][] _lengths; // [task][level], mean characters

    /// <summary>A mixture of tasks; weights need not sum to one.</summary>
    public TaskMixture(params (ITask Task, double Weight)[] tasks)
    {
        _tasks = tasks;
        _lengths = [.. tasks.Select(entry => Enumerable.Range(0, entry.Task.Levels).Select(level => MeanLength(entry.Task, level)).ToArray())];
    }

    /// <summary>The six buckets with the weights of the shipped recipe; recall and traces, the hardest to learn, weigh most.</summary>
    public static TaskMixture Default() => new(
        (new ArithmeticTask(), 1.0), (new TraceTask(), 1.2), (new RecallTask(), 1.4), (new ExtractTask(), 1.0), (new MappingTask(), 0.8), (new JsonTask(), 0.7));

    /// <summary>Every task that a recipe's mixture may name: the six buckets, and those that are only trained on.</summary>
    public static IReadOnlyList<ITask> Known() =>
        [.. Default().Tasks, new MappingTask(reverseOnly: true), new VariedArithmeticTask(), new RecallTask(RecallForm.List), new RecallTask(RecallForm.Needle)];

    /// <summary>The tasks in a fixed order: arithmetic, trace, recall, extract, mapping, json for <see cref="Default"/>.</summary>
    public IReadOnlyList<ITask> Tasks => [.. _tasks.Select(entry => entry.Task)];

    /// <summary>
    /// One problem of a random bucket. <paramref name="levels"/> holds the present level of each task in the order of <see cref="Tasks"/>;
    /// 65 % of the problems are of that level, the others of a lower one, so that nothing is forgotten.
    /// </summary>
    public TaskExample Sample(SeededRandom random, IReadOnlyList<int> levels, Split split = Split.Train)
    {
        Span<double> cumulative = stackalloc double[_tasks.Length];
        double total = 0;
        for (int i = 0; i < _tasks.Length; i++)
        {
            total += _tasks[i].Weight / Math.Sqrt(_lengths[i][levels[i]]);
            cumulative[i] = total;
        }
        double roll = random.NextDouble() * total;
        int chosen = 0;
        while (chosen < _tasks.Length - 1 && roll >= cumulative[chosen])
        {
            chosen++;
        }
        return _tasks[chosen].Task.Generate(random, PickLevel(random, levels[chosen]), split);
    }

    /// <summary>The level itself with probability 0.65, else a lower one, higher ones among them more often.</summary>
    public static int PickLevel(SeededRandom random, int level)
    {
        if (level == 0 || !random.Chance(LowerLevelShare))
        {
            return level;
        }
        return Math.Max(random.Next(level), random.Next(level));
    }

    private static double MeanLength(ITask task, int level)
    {
        var random = new SeededRandom(0x5EED, (ulong)level);
        double characters = 0;
        for (int i = 0; i < LengthSamples; i++)
        {
            TaskExample example = task.Generate(random, level, Split.Train);
            characters += example.Prompt.Length + example.Solution.Length;
        }
        return characters / LengthSamples;
    }
}
