using System.Globalization;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Training.Evaluation;

namespace Foretoken.Cli;

/// <summary>
/// What a lossy acceptance rule costs in right answers and brings in speed: every question is answered plainly, with exact acceptance and with the rule, in turn and
/// one at a time, at one temperature and with one seed per question.
/// </summary>
internal sealed class AcceptComparison(
    string directory, LanguageModelOptions options, DraftChoice draft, IReadOnlyList<EvaluationItem> items, int maxTokens, float temperature, CliHost host)
{
    private static readonly string[] s_sides = ["plain", "exact", "lossy"];
    private readonly Dictionary<(string Bucket, int Side), Count> _counts = [];

    /// <summary>Runs and writes the table.</summary>
    public int Run()
    {
        using ChatModel plain = Load(DraftChoice.None, new AcceptanceOptions()), exact = Load(draft, new AcceptanceOptions()), lossy = Load(draft, options.Acceptance!);
        ChatModel[] sides = [plain, exact, lossy];
        string[] buckets = [.. items.Select(i => i.Bucket).Distinct()];
        foreach (ChatModel side in sides) Answer(side, items[0], 0, measured: null); // code is compiled, memory is touched
        using (var progress = new ProgressLine(host))
        {
            for (int i = 0; i < items.Count; i++)
            {
                for (int s = 0; s < sides.Length; s++) Answer(sides[s], items[i], (ulong)i, Of(items[i].Bucket, s));
                progress.Report(($"{i + 1} of {items.Count} questions", (double)(i + 1) / items.Count));
            }
        }

        Write(buckets);
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"[{plain.Name}, {plain.Language.BackendName}, {Environment.ProcessorCount} processors, {items.Count} questions one at a time, temperature {temperature}, --draft {draft.Text}; exact: --accept match, lossy: {options.Acceptance!.Kind}]"));
        return ExitCode.Success;
    }

    private ChatModel Load(DraftChoice with, AcceptanceOptions rule) =>
        LanguageModelFlags.Load(directory, options with { MaxSequences = 1, Acceptance = rule }, with, new KvChoice("dense", new DensePolicy()), host);

    private void Answer(ChatModel model, EvaluationItem item, ulong seed, Count? measured)
    {
        host.Interrupt.ThrowIfCancellationRequested();
        int[] prompt = model.Encode(item.Question, raw: false);
        if (prompt.Length + 2 >= model.Language.ContextLength) return;
        using GenerationSession session = model.Language.Generate(
            prompt, new GenerationOptions { MaxTokens = maxTokens, Sampling = new SamplingOptions { Temperature = temperature, Seed = seed + 1 } });
        GenerationResult result = session.Complete();
        measured?.Add(AnswerScorer.IsCorrect(result.Text, item.Answer), result.Statistics);
    }

    private void Write(string[] buckets)
    {
        foreach (string bucket in buckets)
        {
            for (int s = 0; s < s_sides.Length; s++) Of("all", s).Add(Of(bucket, s));
        }

        var table = new Table(["bucket", "right, plain", "right, exact", "right, lossy", "tokens per pass, exact", "lossy", "speed-up, exact", "lossy"]);
        foreach (string bucket in buckets.Append("all"))
        {
            Count plain = Of(bucket, 0), exact = Of(bucket, 1), lossy = Of(bucket, 2);
            table.Add(
                bucket, plain.Accuracy, exact.Accuracy, lossy.Accuracy, Text(exact.TokensPerPass), Text(lossy.TokensPerPass),
                Text(plain.MillisecondsPerToken / exact.MillisecondsPerToken), Text(plain.MillisecondsPerToken / lossy.MillisecondsPerToken));
        }

        table.Write(host.Output, TableFormat.Markdown);
    }

    private Count Of(string bucket, int side)
    {
        if (!_counts.TryGetValue((bucket, side), out Count? count)) _counts.Add((bucket, side), count = new Count());
        return count;
    }

    private static string Text(double value) => value.ToString("F2", CultureInfo.InvariantCulture);

    /// <summary>What one side did on one bucket.</summary>
    private sealed class Count
    {
        private long _answers, _right, _tokens, _steps;
        private double _milliseconds;

        public string Accuracy => (100.0 * _right / Math.Max(1, _answers)).ToString("F1", CultureInfo.InvariantCulture) + " %";

        public double TokensPerPass => (double)_tokens / Math.Max(1, _steps);

        /// <summary>Answers differ in length between the sides, so that time counts per token.</summary>
        public double MillisecondsPerToken => _milliseconds / Math.Max(1, _tokens);

        public void Add(bool right, GenerationStatistics s)
        {
            (_answers, _right) = (_answers + 1, _right + (right ? 1 : 0));
            (_tokens, _steps, _milliseconds) = (_tokens + s.GeneratedTokens, _steps + s.Steps, _milliseconds + s.DecodeMilliseconds);
        }

        public void Add(Count other)
        {
            (_answers, _right) = (_answers + other._answers, _right + other._right);
            (_tokens, _steps, _milliseconds) = (_tokens + other._tokens, _steps + other._steps, _milliseconds + other._milliseconds);
        }
    }
}
