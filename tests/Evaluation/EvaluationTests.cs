using System.Text.Json;
using Foretoken.Training.Evaluation;
using Foretoken.Training.Tasks;

namespace Foretoken.Tests.Evaluation;

public class EvaluationTests
{
    [Theory]
    [InlineData("7+5+0=12\n#### 12", "12")]
    [InlineData("#### 3\nno, again\n####  14 \n", "14")]
    [InlineData("####14", "14")]
    [InlineData("the answer is 12", null)]
    [InlineData("####", null)]
    [InlineData("say #### 5", null)]
    [InlineData("#### {\"name\": \"Tom\"}\r\n", "{\"name\": \"Tom\"}")]
    public void Answer_is_the_text_after_the_last_marker_line(string completion, string? expected) => Assert.Equal(expected, AnswerScorer.Extract(completion));

    [Fact]
    public void Only_an_exact_answer_is_correct()
    {
        Assert.True(AnswerScorer.IsCorrect("x\n#### fox blue", "fox blue"));
        Assert.False(AnswerScorer.IsCorrect("x\n#### fox  blue", "fox blue"));
        Assert.False(AnswerScorer.IsCorrect("x\n#### 85.", "85"));
        Assert.False(AnswerScorer.IsCorrect("85", "85"));
    }

    [Fact]
    public void Suite_is_held_out_reproducible_and_long_enough()
    {
        IReadOnlyList<TaskExample> examples = HeldOutSuite.Examples(40);
        Assert.Equal(examples, HeldOutSuite.Examples(40));
        Assert.All(examples, example => Assert.Equal(Split.HeldOut, TaskSplit.Of(example.Key)));
        Assert.Equal([40, 40, 40, 40, 40, 40], examples.CountBy(example => example.Bucket).Select(pair => pair.Value));
        Assert.NotEqual(examples, HeldOutSuite.Examples(40, seed: 1));
    }

    [Theory]
    [InlineData("arithmetic")]
    [InlineData("trace")]
    [InlineData("recall")]
    public void Reasoning_solutions_have_at_least_eighty_tokens_on_average(string bucket)
    {
        var tokenizer = Foretoken.Tokenization.BpeTokenizer.FromFile(Path.Combine(RepositoryRoot(), "models", "reasoner", "tokenizer.json"));
        Assert.True(HeldOutSuite.Examples(200).Where(example => example.Bucket == bucket).Average(example => tokenizer.CountTokens(example.Solution)) >= 80);
    }

    [Fact]
    public void Reference_solutions_score_full_marks_and_wrong_ones_none()
    {
        IReadOnlyList<TaskExample> examples = HeldOutSuite.Examples(10);
        EvaluationItem[] items = [.. examples.Select(example => new EvaluationItem(example.Bucket, example.Prompt, example.Answer))];
        Dictionary<string, string> solutions = examples.ToDictionary(example => example.Prompt, example => example.Solution);
        EvaluationReport perfect = Evaluator.Run(items, questions => [.. questions.Select(question => new Completion(solutions[question], 7))], text => text.Length);
        Assert.Equal((1.0, 60, 7.0), (perfect.Overall.Accuracy, perfect.Overall.Count, perfect.Overall.MeanSolutionTokens));
        EvaluationReport wrong = Evaluator.Run(items, questions => [.. questions.Select(_ => new Completion("#### no", 2))], text => text.Length);
        Assert.All(wrong.Buckets, bucket => Assert.Equal(0, bucket.Accuracy));
    }

    [Fact]
    public void Report_keeps_plain_questions_apart_and_splits_recall_by_context()
    {
        EvaluationItem[] items =
        [
            new("recall", new string('a', 400), "1"), new("recall", new string('b', 401), "1"), new("json", "q", "x"), new("plain", "p", "2"), new("plain", "r", "1"),
        ];
        var asked = new List<int>();
        EvaluationReport report = Evaluator.Run(items, questions => { asked.Add(questions.Count); return [.. questions.Select(q => new Completion("#### 1", q[0] == 'b' ? 30 : 10))]; }, text => text.Length, batchSize: 2);
        Assert.Equal([2, 2, 1], asked);
        Assert.Equal(["recall", "json"], report.Buckets.Select(bucket => bucket.Name));
        Assert.Equal((2, 3), (report.Overall.Correct, report.Overall.Count));
        Assert.Equal([1, 1], report.RecallByContext.Select(bucket => bucket.Count));
        Assert.Equal(30, report.RecallByContext[1].MeanSolutionTokens);
        Assert.Equal(0.5, report.Plain!.Accuracy);

        using JsonDocument json = JsonDocument.Parse(report.ToJson());
        Assert.Equal(0.6667, json.RootElement.GetProperty("overall").GetProperty("accuracy").GetDouble());
        JsonElement recall = json.RootElement.GetProperty("buckets")[0];
        Assert.Equal(("recall", 1.0, 2), (recall.GetProperty("name").GetString(), recall.GetProperty("accuracy").GetDouble(), recall.GetProperty("n").GetInt32()));
        Assert.Equal(0.5, json.RootElement.GetProperty("plain").GetProperty("accuracy").GetDouble());
        Assert.Contains("json               0.0%      1     10.0\n", report.ToTable(), StringComparison.Ordinal);
        Assert.Contains("overall           66.7%      3", report.ToTable(), StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_completions_are_refused() =>
        Assert.Throws<InvalidOperationException>(() => Evaluator.Run([new("a", "b", "c")], _ => [], text => text.Length));

    [Fact]
    public void Plain_questions_are_forty_and_have_answers()
    {
        Assert.Equal(40, PlainQuestions.Items.Count);
        Assert.Equal(40, PlainQuestions.Items.Select(item => item.Question).Distinct().Count());
        Assert.All(PlainQuestions.Items, item => Assert.Equal(item.Answer.Trim(), item.Answer));
    }

    [Fact]
    public void Question_file_reads_lines_and_numbers()
    {
        IReadOnlyList<EvaluationItem> items = QuestionFile.Parse("{\"question\": \"1+1?\", \"answer\": 2}\n\n{\"question\": \"q\", \"answer\": \"a\", \"bucket\": \"mine\"}\n", "x.jsonl");
        Assert.Equal([new EvaluationItem("custom", "1+1?", "2"), new EvaluationItem("mine", "q", "a")], items);
    }

    [Theory]
    [InlineData("{\"question\": \"q\", \"answer\": \"a\"}\n{\"question\": \"q\"}", "x.jsonl, line 2: has no \"answer\"")]
    [InlineData("{oops", "x.jsonl, line 1: is not JSON")]
    [InlineData("[1]", "x.jsonl, line 1: is a JSON Array")]
    [InlineData("{\"question\": 5, \"answer\": \"a\"}", "x.jsonl, line 1: \"question\" is a JSON Number")]
    [InlineData("{\"question\": \" \", \"answer\": \"a\"}", "x.jsonl, line 1: \"question\" is empty")]
    [InlineData("\n", "x.jsonl: holds no question")]
    public void Question_file_errors_name_file_line_and_rule(string text, string expected) =>
        Assert.StartsWith(expected, Assert.Throws<QuestionFileException>(() => QuestionFile.Parse(text, "x.jsonl")).Message, StringComparison.Ordinal);

    [Fact]
    public void Missing_question_file_is_named() =>
        Assert.StartsWith("absent.jsonl: no such file.", Assert.Throws<QuestionFileException>(() => QuestionFile.Read("absent.jsonl")).Message, StringComparison.Ordinal);

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
