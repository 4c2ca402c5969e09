using Foretoken.Numerics;
using Foretoken.Tokenization;
using Foretoken.Training.Tasks;

namespace Foretoken.Training;

/// <summary>The generated reasoning tasks in the chat format <c>&lt;|user|&gt;prompt&lt;|assistant|&gt;solution&lt;|end|&gt;</c>.</summary>
public sealed class TaskExampleSource : IExampleSource
{
    private readonly BpeTokenizer _tokenizer;
    private readonly ITask[] _tasks;
    private readonly int[] _topLevels;
    private readonly int _user, _assistant, _end, _maxTokens;

    /// <summary>
    /// Training problems of <paramref name="tasks"/>, at most <paramref name="maxTokens"/> tokens each, of levels up to <paramref name="topLevels"/> (null: all).
    /// </summary>
    public TaskExampleSource(BpeTokenizer tokenizer, IReadOnlyList<ITask> tasks, int maxTokens, IReadOnlyList<int>? topLevels = null)
    {
        (_tokenizer, _tasks, _maxTokens) = (tokenizer, [.. tasks], maxTokens);
        _topLevels = [.. tasks.Select((task, i) => Math.Min(task.Levels - 1, topLevels?[i] ?? int.MaxValue))];
        (_user, _assistant, _end) = (Special("<|user|>"), Special("<|assistant|>"), Special("<|end|>"));
        Buckets = [.. tasks.Select(task => task.Bucket)];
        Levels = tasks.Max(task => task.Levels);
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Buckets { get; }

    /// <inheritdoc/>
    public int Levels { get; }

    /// <inheritdoc/>
    public TrainingExample? Draw(SeededRandom random, int bucket, int level)
    {
        TaskExample example = _tasks[bucket].Generate(random, Math.Min(level, _topLevels[bucket]), Split.Train);
        return Encode(example, bucket, level);
    }

    /// <summary>The problem in the chat format, or null when it has too many tokens.</summary>
    public TrainingExample? Encode(TaskExample example, int bucket, int level)
    {
        var tokens = new List<int>(256) { _user };
        _tokenizer.EncodeToIds(example.Prompt, tokens, recognizeSpecialTokens: false);
        tokens.Add(_assistant);
        int promptLength = tokens.Count;
        _tokenizer.EncodeToIds(example.Solution, tokens, recognizeSpecialTokens: false);
        tokens.Add(_end);
        return tokens.Count > _maxTokens ? null : new TrainingExample([.. tokens], promptLength, bucket, level);
    }

    private int Special(string token) =>
        _tokenizer.TokenToId(token) ?? throw new RecipeException($"The tokenizer has no token {token}; training needs <|user|>, <|assistant|> and <|end|>.");
}
