using Foretoken.Numerics;
using Foretoken.Tokenization;
using Foretoken.Training.Evaluation;
using Foretoken.Training.Tasks;

namespace Foretoken.Tests.Tasks;

public class TaskMixtureTests
{
    private static readonly string s_models = Path.Combine(RepositoryRoot(), "models", "reasoner");

    [Fact]
    public void Buckets_have_the_six_fixed_names() =>
        Assert.Equal(["arithmetic", "trace", "recall", "extract", "mapping", "json"], TaskMixture.Default().Tasks.Select(task => task.Bucket));

    [Fact]
    public void Same_seed_gives_the_same_problems_and_another_seed_others()
    {
        TaskMixture mixture = TaskMixture.Default();
        Assert.Equal(Draw(mixture, 9), Draw(TaskMixture.Default(), 9));
        Assert.NotEqual(Draw(mixture, 9), Draw(mixture, 10));

        static TaskExample[] Draw(TaskMixture mixture, ulong seed)
        {
            var random = new SeededRandom(seed);
            return [.. Enumerable.Range(0, 60).Select(_ => mixture.Sample(random, [3, 4, 5, 6, 7, 8]))];
        }
    }

    [Fact]
    public void Present_level_is_drawn_about_two_thirds_of_the_time_and_never_a_higher_one()
    {
        var random = new SeededRandom(1);
        int[] levels = [.. Enumerable.Range(0, 10_000).Select(_ => TaskMixture.PickLevel(random, 6))];
        Assert.InRange(levels.Count(level => level == 6), 6300, 6700);
        Assert.Equal(6, levels.Max());
        Assert.Equal(0, levels.Min());
    }

    [Fact]
    public void Sampling_visits_every_bucket()
    {
        var random = new SeededRandom(2);
        TaskMixture mixture = TaskMixture.Default();
        var counts = Enumerable.Range(0, 3000).Select(_ => mixture.Sample(random, [9, 9, 9, 9, 9, 9]).Bucket).CountBy(bucket => bucket).ToDictionary();
        Assert.Equal(6, counts.Count);
        Assert.All(counts.Values, count => Assert.True(count > 150));
    }

    [Fact]
    public void Solutions_end_with_the_answer_line_and_fit_the_context()
    {
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(s_models);
        foreach (ITask task in TaskMixture.Known())
        {
            for (int i = 0; i < 600; i++)
            {
                TaskExample example = task.Generate(new SeededRandom(6, (ulong)i), i % task.Levels, i % 3 == 0 ? Split.HeldOut : Split.Train);
                Assert.EndsWith("\n#### " + example.Answer, example.Solution, StringComparison.Ordinal);
                Assert.Equal(example.Answer, AnswerScorer.Extract(example.Solution));
                Assert.True((example.Prompt + example.Solution).All(c => c is '\n' or >= ' ' and <= '~'), example.Prompt);
                Assert.InRange(tokenizer.CountTokens(example.Prompt) + tokenizer.CountTokens(example.Solution) + 3, 8, 1000);
            }
        }
    }

    [Fact]
    public void Levels_grow_from_tens_of_tokens_to_long_problems()
    {
        foreach (ITask task in TaskMixture.Known())
        {
            double first = MeanLength(task, 0), middle = MeanLength(task, 5), last = MeanLength(task, 9);
            Assert.True(first < 350 && first < middle && middle < last, $"{task.Bucket}: {first} {middle} {last} characters");
        }

        static double MeanLength(ITask task, int level) => Enumerable.Range(0, 200)
            .Select(i => task.Generate(new SeededRandom(8, (ulong)i), level, Split.Train)).Average(example => example.Prompt.Length + example.Solution.Length);
    }

    [Fact]
    public void Committed_tokenizer_is_what_the_recipe_produces()
    {
        string expected = Path.Combine(Path.GetTempPath(), "foretoken-tokenizer-" + Guid.NewGuid().ToString("N"));
        try
        {
            TokenizerRecipe.Run(expected);
            foreach (string file in (string[])["tokenizer.json", "tokenizer_config.json"])
            {
                Assert.Equal(File.ReadAllText(Path.Combine(expected, file)), File.ReadAllText(Path.Combine(s_models, file)));
            }
        }
        finally
        {
            Directory.Delete(expected, recursive: true);
        }
    }

    [Fact]
    public void Tokenizer_has_1024_entries_single_digits_and_whole_special_tokens()
    {
        BpeTokenizer tokenizer = BpeTokenizer.FromDirectory(s_models);
        Assert.Equal(TokenizerRecipe.VocabularySize, tokenizer.VocabularySize);
        Assert.Equal([0, 1, 2], new[] { TokenizerRecipe.EndToken, TokenizerRecipe.UserToken, TokenizerRecipe.AssistantToken }.Select(token => tokenizer.TokenToId(token)!.Value));
        Assert.Equal(5, tokenizer.EncodeToIds("40817").Count);
        Assert.Equal(4, tokenizer.EncodeToIds("<|user|>7<|assistant|><|end|>").Count);
    }

    private static string RepositoryRoot()
    {
        string? directory = AppContext.BaseDirectory;
        while (directory is not null && !File.Exists(Path.Combine(directory, "Engine.sln")))
        {
            directory = Path.GetDirectoryName(directory);
        }
        return directory ?? throw new InvalidOperationException("Engine.sln not found above the test assembly.");
    }
}
