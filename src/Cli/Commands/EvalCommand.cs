using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.Training.Evaluation;
using Stopwatch = System.Diagnostics.Stopwatch;

namespace Foretoken.Cli.Commands;

/// <summary>Scores a model: exact match of the final answer on the held-out questions, or on a user's own.</summary>
internal sealed class EvalCommand : CliCommand
{
    private const int Batch = 16;
    private const int MaximumLimit = 100_000;
    private const int DefaultMaxTokens = 1024;
    private readonly LanguageModelFlags _model = new();
    private readonly Flag<int> _limit;
    private readonly Flag<ulong> _seed;
    private readonly Flag<int> _maxTokens;
    private readonly Flag<string?> _file;
    private readonly Switch _json;

    public EvalCommand()
        : base("eval", "Scores a model on held-out questions: exact match of the final answer, per bucket.")
    {
        foreach (Flag flag in _model.All) Add(flag);
        _limit = Add(new Flag<int>(
            "--limit", "N", $"Most questions of a bucket; without it {HeldOutSuite.DefaultPerBucket}, or all of --file.",
            Parse.Integer(1, MaximumLimit, "leave it out for all questions."), 0));
        _seed = Add(new Flag<ulong>("--seed", "N", "Names the generated questions.", Parse.Seed, HeldOutSuite.DefaultSeed));
        _maxTokens = Add(new Flag<int>(
            "--max-tokens", "N", "Most tokens of an answer.", Parse.Integer(1, 1_000_000, $"leave it out for {DefaultMaxTokens}."), DefaultMaxTokens));
        _file = Add(new Flag<string?>(
            "--file", "FILE", "Your own questions: lines {\"question\": …, \"answer\": …} with an optional \"bucket\".", Parse.NotEmpty, null));
        _json = Add(new Switch("--json", "One JSON object instead of the table."));
    }

    public override int Run(CommandContext context)
    {
        CliHost host = context.Host;
        LanguageModelOptions options = _model.Get(context, sequences: Batch);
        int limit = _limit.Get(context), maxTokens = _maxTokens.Get(context);
        ulong seed = _seed.Get(context);
        DraftChoice draft = _model.Draft(context);
        bool json = _json.Get(context);
        bool seeded = _seed.GivenOnLine(context);
        string? file = _file.GetBeside(seeded, context);
        if (file is not null && seeded) throw new UsageException("--seed names generated questions and --file brings its own: give one.");
        IReadOnlyList<EvaluationItem> items = file is null
            ? HeldOutSuite.Items(limit == 0 ? HeldOutSuite.DefaultPerBucket : limit, seed)
            : QuestionFile.Read(file);
        if (limit > 0) items = [.. items.GroupBy(i => i.Bucket).SelectMany(g => g.Take(limit))];

        using ChatModel model = LanguageModelFlags.Load(ModelLocator.Find(_model.Model.Get(context), host), options, draft, _model.Kv(context), host);
        var answers = new EvalAnswers(model, maxTokens, host);
        long start = Stopwatch.GetTimestamp();
        EvaluationReport report;
        using (var progress = new ProgressLine(host))
        {
            report = Evaluator.Run(
                items,
                answers.Complete,
                question => model.Encode(question, raw: false).Length,
                Batch,
                (done, all) => progress.Report(($"{done} of {all} questions", (double)done / all)));
        }

        if (json) host.Output.WriteLine(report.ToJson());
        else host.Output.Write(report.ToTable());
        host.Error.WriteLine(answers.Describe(items.Count, Stopwatch.GetElapsedTime(start).TotalSeconds));
        return ExitCode.Success;
    }
}
