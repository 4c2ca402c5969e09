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
    private const float DefaultTemperature = 0.7f;
    private readonly LanguageModelFlags _model = new();
    private readonly Flag<int> _limit;
    private readonly Flag<ulong> _seed;
    private readonly Flag<int> _maxTokens;
    private readonly Flag<string?> _file;
    private readonly Switch _compare;
    private readonly Flag<int> _chains;
    private readonly Flag<float> _temperature;
    private readonly Flag<int> _kvBudget = ModelFlags.KvBudget();
    private readonly Flag<string?> _html;
    private readonly Switch _json;

    public EvalCommand()
        : base("eval", "Scores a model on held-out questions: exact match of the final answer, per bucket.")
    {
        foreach (Flag flag in _model.All) Add(flag);
        _limit = Add(new Flag<int>(
            "--limit", "N", $"Most questions of a bucket; without it {HeldOutSuite.DefaultPerBucket}, or all of --file.",
            Parse.Integer(1, MaximumLimit, "leave it out for 100, or all of --file."), 0));
        _seed = Add(new Flag<ulong>("--seed", "N", "Names the generated questions.", Parse.Seed, HeldOutSuite.DefaultSeed));
        _maxTokens = Add(new Flag<int>(
            "--max-tokens", "N", "Most tokens of an answer.", Parse.Integer(1, 1_000_000, $"leave it out for {DefaultMaxTokens}."), DefaultMaxTokens));
        _file = Add(new Flag<string?>(
            "--file", "FILE", "Your own questions: lines {\"question\": …, \"answer\": …} with an optional \"bucket\".", Parse.NotEmpty, null));
        _compare = Add(new Switch(
            "--compare", "Answers with the dense cache too and compares: accuracy, KL, live tokens, bytes held and read, speed. With a lossy --accept: answers plainly and with exact "
            + "acceptance too, at --temperature, one question at a time, and compares accuracy, tokens per pass and speed."));
        _chains = Add(new Flag<int>(
            "--chains", "N", "Draws N chains of reasoning per question and lets 1, 2, 4, … N of them vote: accuracy against keys and values read, dense and --kv.",
            Parse.Integer(1, ChainEvaluation.Together, "16 is usual."), 0));
        _temperature = Add(new Flag<float>("--temperature", "T", "Temperature of --chains and of --compare with --accept.", Parse.Number(0.01f, 100, "0.7 is usual."), DefaultTemperature));
        Add(_kvBudget);
        _html = Add(new Flag<string?>("--html", "FILE", "A page of --compare or --chains, with the tokens that live per layer and KV head, or the chart.", Parse.NotEmpty, null));
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
        int chains = _chains.Get(context), budget = _kvBudget.Get(context);
        float temperature = _temperature.Get(context);
        string? html = _html.Get(context);
        bool compare = _compare.Get(context), comparesRules = compare && options.Acceptance is { IsLossless: false };
        options = options with { KvBytes = (long)budget << 20 };
        if (chains == 0 && !comparesRules && _temperature.GivenOnLine(context)) throw new UsageException($"{_temperature.Name} is that of {_chains.Name} and of {_compare.Name} with a lossy --accept; other answers are greedy: give both or leave it out.");
        if (chains > 0 && compare) throw new UsageException($"{_chains.Name} sets --kv beside the dense cache by itself: leave out {_compare.Name}.");
        if (limit > 0) items = [.. items.GroupBy(i => i.Bucket).SelectMany(g => g.Take(limit))];

        KvChoice kv = _model.Kv(context);
        if (comparesRules)
        {
            if (kv.Evicts || chains > 0 || html is not null || json) throw new UsageException($"{_compare.Name} with a lossy --accept takes no --kv, --chains, --html or --json: leave them out.");
            return new AcceptComparison(ModelLocator.Find(_model.Model.Get(context), host), options, draft, items, maxTokens, temperature, host).Run();
        }

        if (compare || chains > 0 || html is not null)
        {
            if (chains == 0 && !kv.Evicts) throw new UsageException($"{(compare ? _compare.Name : _html.Name)} sets --kv beside the dense cache: name a policy that evicts, for example --kv window=128.");
            if (draft.Text.StartsWith("oracle", StringComparison.Ordinal)) throw new UsageException($"{_compare.Name} takes no --draft {draft.Text}: use another drafter.");
            var request = new ComparisonRequest(ModelLocator.Find(_model.Model.Get(context), host), kv, options, draft, items, maxTokens, chains, temperature, Batch);
            return new EvalComparison(request, host).Run(html, json);
        }

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
        model.WarnOfRetired(host);
        return ExitCode.Success;
    }
}
