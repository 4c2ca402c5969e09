using System.Globalization;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>What the adversarial benchmark is asked.</summary>
/// <param name="Batch">Requests at a time.</param>
/// <param name="Tokens">Tokens per bucket and alternation.</param>
/// <param name="Alternations">Times that plain decoding and every adversary take turns.</param>
/// <param name="Format">The table's format; null = JSON.</param>
internal sealed record AdversarialRequest(int Batch, int Tokens, int Alternations, TableFormat? Format);

/// <summary>
/// Holds the Governor to its promise: over drafters that mislead it, and over all real ones on text that changes with every answer, generation takes at most a
/// few per cent longer than plain decoding. All take turns on the same questions. Timed is what a step without prompt rows, in which all requests of the batch take part, takes from its
/// beginning to the beginning of the next, all bookkeeping included.
/// </summary>
internal sealed class AdversarialBench(LanguageModel model, IReadOnlyList<string> names, IReadOnlyList<AdversaryOptions> adversaries, AdversarialRequest request, CancellationToken cancel)
{
    private const int AnswerTokens = 250, WarmTurns = 8;
    private readonly SwitchedDrafter _drafters = (SwitchedDrafter)model.Drafter;
    private readonly Dictionary<(string Drafter, string Bucket), List<double>> _ratios = [];
    private int _different, _turns;

    /// <summary>The adversaries, each under a Governor of its own, behind the drafters of <c>auto</c>.</summary>
    public static IReadOnlyList<AdversaryOptions> All(int tokens) => [.. Enum.GetValues<AdversaryKind>().Select(kind => new AdversaryOptions(kind, tokens / 2))];

    /// <summary>Runs everything and writes the table: time over plain decoding's time, medians of the alternations.</summary>
    /// <returns>Answers that differed from plain decoding's: 0 unless something is wrong.</returns>
    public int Run(IReadOnlyList<SpecQuestion> questions, CliHost host, Action<string, double> report)
    {
        (string Name, SpecQuestion[] Questions)[] buckets = [.. questions.GroupBy(q => q.Bucket).Select(g => (g.Key, g.ToArray()))];
        int answers = Math.Max(1, (request.Tokens + AnswerTokens - 1) / AnswerTokens / request.Batch) * request.Batch, length = request.Tokens / answers;
        if (length < 2) throw new UsageException($"{request.Tokens} tokens are too few for {request.Batch} requests at a time: raise --bucket-tokens.");
        for (int warm = 0; warm < WarmTurns; warm++) Turn(buckets[0].Questions, warm * answers, answers, length, measured: null); // code is compiled, drafters are tried
        int next = WarmTurns * answers;
        for (int a = 0; a < request.Alternations; a++)
        {
            for (int b = 0; b < buckets.Length; b++)
            {
                report($"{buckets[b].Name}, alternation {a + 1} of {request.Alternations}", ((double)a * buckets.Length + b) / (request.Alternations * buckets.Length));
                Turn(buckets[b].Questions, next, answers, length, buckets[b].Name);
            }

            next += answers;
            Turn([.. buckets.SelectMany(x => x.Questions.Take(answers)).OrderBy(q => q.Prompt.Length)], next, answers, length, "mixed");
        }

        Write([.. buckets.Select(b => b.Name), "mixed"], host);
        return _different;
    }

    /// <summary>All answer the same questions in turn.</summary>
    private void Turn(SpecQuestion[] questions, int first, int answers, int length, string? measured)
    {
        var ticks = new long[names.Count + 1];
        foreach (AdversaryOptions adversary in adversaries) adversary.Made!.Restart();
        for (int done = 0; done < answers; done += request.Batch)
        {
            SpecQuestion[] group = [.. Enumerable.Range(first + done, request.Batch).Select(i => questions[i % questions.Length])];
            (int[][] plain, _) = Answer(-1, group, null, length); // what adversaries have to know
            for (int i = 0; i <= names.Count; i++)
            {
                cancel.ThrowIfCancellationRequested();
                int d = (i + _turns) % (names.Count + 1) - 1; // each is first now and then, and last
                (int[][] tokens, long time) = Answer(d, group, plain, length);
                for (int t = 0; t < plain.Length; t++) _different += plain[t].AsSpan().SequenceEqual(tokens[t]) ? 0 : 1;
                ticks[d + 1] += time;
            }

            _turns++;
        }

        if (measured is null) return;
        for (int d = 0; d < names.Count; d++)
        {
            if (!_ratios.TryGetValue((names[d], measured), out List<double>? ratios)) _ratios.Add((names[d], measured), ratios = []);
            ratios.Add((double)ticks[d + 1] / ticks[0]);
        }
    }

    private (int[][] Tokens, long Ticks) Answer(int drafter, SpecQuestion[] group, int[][]? plain, int length)
    {
        var options = new GenerationOptions { MaxTokens = length, IgnoreEndTokens = true, Sampling = new SamplingOptions() };
        int adversary = drafter - (names.Count - adversaries.Count);
        Adversary? made = adversary >= 0 ? adversaries[adversary].Made : null;
        for (int i = 0; i < group.Length && plain is not null; i++) made?.Record(group[i].Prompt, options.Sampling, plain[i]);
        _drafters.Selected = drafter;
        _drafters.TimedSequences = request.Batch;
        _drafters.RestartClock();
        GenerationSession[] sessions = [.. group.Select(q => model.Generate(q.Prompt, options))];
        int[][] tokens = [.. sessions.Select(s => s.Complete().Tokens.ToArray())];
        if (_drafters.DecodeTokens == 0) throw new UsageException($"No step had all {request.Batch} requests under way: raise --bucket-tokens.");
        long all = tokens.Sum(t => t.Length - 1);
        return (tokens, (long)(_drafters.DecodeTicks * ((double)all / _drafters.DecodeTokens)));
    }

    private void Write(string[] buckets, CliHost host)
    {
        if (request.Format is not { } format)
        {
            host.Output.WriteLine(JsonText.Object(w =>
            {
                w.WriteNumber("batch", request.Batch);
                w.WriteNumber("tokens", request.Tokens);
                w.WriteStartArray("time_over_plain");
                foreach (((string drafter, string bucket), List<double> ratios) in _ratios)
                {
                    w.WriteStartObject();
                    w.WriteString("drafter", drafter);
                    w.WriteString("bucket", bucket);
                    w.WriteRounded("median", BenchRunner.Median(ratios), 4);
                    w.WriteRounded("highest", ratios.Max(), 4);
                    w.WriteEndObject();
                }

                w.WriteEndArray();
            }));
            return;
        }

        var table = new Table(["drafter", .. buckets, "all", "highest"]);
        foreach (string name in names)
        {
            double[] medians = [.. buckets.Select(b => BenchRunner.Median(_ratios[(name, b)]))];
            table.Add([name, .. medians.Select(Text), Text(medians.Average()), Text(medians.Max())]);
        }

        table.Write(host.Output, format);
    }

    private static string Text(double ratio) => ratio.ToString("F3", CultureInfo.InvariantCulture);
}
