using System.Diagnostics;
using System.Globalization;
using System.Text;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Training.Evaluation;

namespace Foretoken.Cli;

/// <summary>What the comparison of a cache policy with the dense cache is asked.</summary>
/// <param name="Directory">The model.</param>
/// <param name="Kv">The policy.</param>
/// <param name="Options">How the model is loaded.</param>
/// <param name="Draft">Who drafts, when accuracy is compared.</param>
/// <param name="Items">Questions.</param>
/// <param name="MaxTokens">Most tokens of an answer.</param>
/// <param name="Chains">Most chains that vote; 0 = accuracy, memory and divergence of single greedy answers instead.</param>
/// <param name="Temperature">Of the chains.</param>
/// <param name="Batch">Questions that run together.</param>
internal sealed record ComparisonRequest(
    string Directory, KvChoice Kv, LanguageModelOptions Options, DraftChoice Draft, IReadOnlyList<EvaluationItem> Items, int MaxTokens, int Chains, float Temperature, int Batch);

/// <summary>Answers the same questions with the dense cache and with a policy.</summary>
internal sealed class EvalComparison(ComparisonRequest request, CliHost host)
{
    private const int Examples = 18; // answers whose distributions are compared
    private readonly List<PolicyScore> _scores = [];
    private readonly List<ChainPoint> _points = [];
    private readonly List<(int[] Prompt, int[] Answer, string[] Texts)> _examples = [];
    private LiveMap? _map;
    private string _machine = "";

    private static KvChoice Dense { get; } = new("dense", new DensePolicy());

    /// <summary>Runs and writes everything.</summary>
    /// <param name="html">Where to write the page; null = nowhere.</param>
    /// <param name="json">JSON in place of tables.</param>
    public int Run(string? html, bool json)
    {
        using OutputFile? page = html is null ? null : OutputFile.Create(html, "--html"); // before the work, which may take hours
        KvChoice[] sides = request.Kv.Evicts ? [Dense, request.Kv] : [Dense];
        foreach (KvChoice side in sides)
        {
            if (request.Chains > 0) Chains(side);
            else Score(side);
        }

        if (request.Chains == 0 && request.Kv.Evicts) Diverge();
        if (json) host.Output.WriteLine(EvictionPage.Json(_scores, _points));
        else (request.Chains > 0 ? EvictionPage.ToTable(_points) : EvictionPage.ToTable(_scores)).Write(host.Output, TableFormat.Text);
        if (!json) WriteBuckets();
        if (page is not null)
        {
            page.Stream.Write(Encoding.UTF8.GetBytes(EvictionPage.Html($"Cache policies: {request.Kv.Text} beside dense", _machine, _scores, _map, _points)));
            page.Commit();
            host.Error.WriteLine($"[page written to {page.Name}]");
        }

        host.Error.WriteLine($"[{_machine}]");
        return ExitCode.Success;
    }

    private void WriteBuckets()
    {
        if (_scores.Count == 0) return;
        var table = new Table(["bucket", .. _scores.Select(s => s.Name + " %")]);
        for (int b = 0; b < _scores[0].Report.Buckets.Count; b++)
            table.Add([_scores[0].Report.Buckets[b].Name, .. _scores.Select(s => (100 * s.Report.Buckets[b].Accuracy).ToString("F1", CultureInfo.InvariantCulture))]);
        host.Output.WriteLine();
        table.Write(host.Output, TableFormat.Text);
    }

    private ChatModel Load(KvChoice side, int sequences, DraftChoice draft)
    {
        LanguageModelOptions options = request.Options with
        {
            KvPolicy = side.Policy, LearnedEviction = side.Policy is null, MaxSequences = sequences,
            KvAdmission = side.Evicts && request.Options.KvBytes > 0 ? KvAdmission.Measured : KvAdmission.WorstCase,
        };
        return LanguageModelFlags.Load(request.Directory, options, side.Policy is { Evicts: true, ActsAtCommit: true } ? DraftChoice.None : draft, side, host);
    }

    /// <summary>Greedy answers to all questions.</summary>
    private void Score(KvChoice side)
    {
        using ChatModel model = Load(side, request.Batch, request.Draft);
        var answers = new EvalAnswers(model, request.MaxTokens, host);
        EvaluationReport report;
        long start = Stopwatch.GetTimestamp();
        using (var progress = new ProgressLine(host))
        {
            report = Evaluator.Run(
                request.Items, answers.Complete, question => model.Encode(question, raw: false).Length, request.Batch,
                (done, all) => progress.Report(($"{side.Text}: {done} of {all} questions", (double)done / all)));
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        _scores.Add(new PolicyScore(side.Text, report, model.Language.Cache.Statistics, report.Outcomes.Sum(o => (long)o.Completion.Tokens), seconds));
        _machine = $"{model.Name}, {model.Language.BackendName}, {Environment.ProcessorCount} processors, {request.Items.Count} questions, {request.Batch} together, greedy";
        if (!side.Evicts) KeepExamples(model);
    }

    /// <summary>The dense model's own answers to some questions of every bucket.</summary>
    private void KeepExamples(ChatModel model)
    {
        int step = Math.Max(1, request.Items.Count / Examples);
        for (int i = 0; i < request.Items.Count && _examples.Count < Examples; i += step)
        {
            host.Interrupt.ThrowIfCancellationRequested();
            int[] prompt = model.Encode(request.Items[i].Question, raw: false);
            if (prompt.Length + 2 >= model.Language.ContextLength) continue;
            using GenerationSession session = model.Language.Generate(prompt, new GenerationOptions { MaxTokens = request.MaxTokens });
            int[] answer = [.. session.Complete().Tokens];
            if (answer.Length > 0) _examples.Add((prompt, answer, [.. prompt.Concat(answer).Select(t => model.Language.Tokenizer!.Decode([t]))]));
        }
    }

    private void Diverge()
    {
        using var probe = new PolicyProbe(request.Directory, request.Kv.Locate(request.Directory, host), request.Kv, request.Options, host);
        double nats = 0;
        int tokens = 0;
        foreach ((int[] prompt, int[] answer, string[] texts) in _examples.OrderBy(e => e.Texts.Length)) // the longest last: its tokens are shown
        {
            host.Interrupt.ThrowIfCancellationRequested();
            (double sum, int count) = probe.Divergence(prompt, answer);
            (nats, tokens) = (nats + sum, tokens + count);
            _map = probe.Map(texts, prompt.Length);
        }

        _scores[^1] = _scores[^1] with { Divergence = nats / Math.Max(1, tokens) };
    }

    private void Chains(KvChoice side)
    {
        using ChatModel model = Load(side, ChainEvaluation.Together, DraftChoice.None);
        var options = new GenerationOptions { MaxTokens = request.MaxTokens, Sampling = new SamplingOptions { Temperature = request.Temperature, Seed = 1 } };
        using (var progress = new ProgressLine(host))
        {
            _points.AddRange(ChainEvaluation.Run(
                model, request.Items, request.Chains, options, host, (done, all) => progress.Report(($"{side.Text}: {done} of {all} questions", (double)done / all))));
        }

        _machine = string.Create(
            CultureInfo.InvariantCulture,
            $"{model.Name}, {model.Language.BackendName}, {request.Items.Count} questions, temperature {request.Temperature}, plain decoding");
    }
}
