using Foretoken.Generation;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Training.Evaluation;
using Foretoken.Training.Tasks;

namespace Foretoken.Cli.Benchmarks;

/// <summary>A request of the benchmark.</summary>
internal sealed record SpecQuestion(string Bucket, int[] Prompt);

/// <summary>
/// Measures drafters per bucket of the held-out questions: every question is answered plainly and with each drafter in turn, so that all see the same
/// moments of the machine. No question comes twice; drafters that remember have seen as many other ones of each bucket as <c>warm</c> says, as those of a service have.
/// One request at a time.
/// </summary>
internal sealed class SpecBench(LanguageModel model, IReadOnlyList<string> names, int maxTokens, float temperature, int repeats, CancellationToken cancel)
{
    private const ulong Seed = 7;
    private readonly SwitchedDrafter _drafters = (SwitchedDrafter)model.Drafter;
    private readonly Dictionary<(int, string), SpecCell> _cells = [];

    /// <summary>Answers that were not those of plain decoding; 0 unless something is wrong.</summary>
    public int Different { get; private set; }

    /// <summary>What the Governor says, if it took part.</summary>
    public GovernorReport? Governor { get; private set; }

    /// <summary>Names of the buckets.</summary>
    public static IReadOnlyList<string> Buckets { get; } = [.. TaskMixture.Default().Tasks.Select(t => t.Bucket)];

    /// <summary>Questions of the six buckets, <paramref name="count"/> each, or of the one that is named.</summary>
    public static IReadOnlyList<SpecQuestion> HeldOut(ChatModel chat, int count, ulong seed, string? bucket = null) => count == 0 ? [] :
        [.. HeldOutSuite.Examples(count, seed).Where(e => bucket is null || e.Bucket == bucket).Select(e => new SpecQuestion(e.Bucket, chat.Encode(e.Prompt, raw: false)))
            .Where(q => q.Prompt.Length + 8 < chat.Language.ContextLength)];

    /// <summary>Random tokens: for models of random weights, whose answers mean nothing.</summary>
    public static IReadOnlyList<SpecQuestion> Random(int count, int vocab, int length) => [.. Enumerable.Range(0, count).Select(i =>
    {
        var random = new SeededRandom(11, (ulong)i);
        return new SpecQuestion("random", [.. Enumerable.Range(0, length).Select(_ => random.Next(vocab))]);
    })];

    /// <summary>Runs all questions; returns the cells, plain decoding first, a cell "all" per drafter last.</summary>
    public IReadOnlyList<SpecCell> Run(IReadOnlyList<SpecQuestion> warm, IReadOnlyList<SpecQuestion> questions, Action<string, double> report)
    {
        string[] buckets = [.. questions.Select(q => q.Bucket).Distinct()];
        SpecQuestion[][] sets = [.. buckets.Select(b => questions.Where(q => q.Bucket == b).ToArray())];
        for (int d = -1; d < names.Count; d++)
        {
            report($"{Name(d)}, warming up", -1);
            for (int i = 0; i < (warm.Count == 0 ? 2 : 0); i++) Answer(d, sets[i % sets.Length][0], record: null, measured: false);
            for (int i = 0; i < (d < 0 ? Math.Min(2, warm.Count) : warm.Count); i++) Answer(d, warm[i], record: null, measured: false);
        }

        for (int r = 0; r < repeats; r++)
        {
            for (int b = 0; b < buckets.Length; b++)
            {
                int share = sets[b].Length / repeats;
                report($"{buckets[b]}, repeat {r + 1} of {repeats}", ((double)r * buckets.Length + b) / (repeats * buckets.Length));
                Measure(sets[b].AsSpan(r * share, share));
            }
        }

        for (int d = 0; d < names.Count; d++)
        {
            if (_drafters[d] is Governor governor) Governor = governor.Report;
        }

        return Summary(buckets);
    }

    private void Measure(ReadOnlySpan<SpecQuestion> questions)
    {
        var milliseconds = new double[names.Count + 1];
        var decoded = new long[names.Count + 1]; // tokens in that time
        foreach (SpecQuestion question in questions)
        {
            int[]? plain = null;
            for (int d = -1; d < names.Count; d++)
            {
                cancel.ThrowIfCancellationRequested();
                (int[] tokens, GenerationStatistics statistics) = Answer(d, question, plain, measured: true);
                plain ??= tokens;
                if (!plain.AsSpan().SequenceEqual(tokens)) Different++;
                milliseconds[d + 1] += statistics.DecodeMilliseconds;
                decoded[d + 1] += tokens.Length - statistics.FirstTokens;
            }
        }

        for (int d = 0; d < names.Count; d++) Cell(d, questions[0].Bucket).SpeedUps.Add(milliseconds[0] / Math.Max(1, decoded[0]) / (milliseconds[d + 1] / Math.Max(1, decoded[d + 1])));
    }

    private (int[] Tokens, GenerationStatistics Statistics) Answer(int drafter, SpecQuestion question, int[]? record, bool measured)
    {
        var options = new GenerationOptions { MaxTokens = maxTokens, Sampling = new SamplingOptions { Temperature = temperature, Seed = Seed } };
        _drafters.Selected = drafter;
        if (drafter >= 0 && _drafters[drafter] is OracleDrafter oracle)
        {
            if (record is null)
            {
                _drafters.Selected = -1;
                record = model.Generate(question.Prompt, options).Complete().Tokens.ToArray();
                _drafters.Selected = drafter;
            }

            oracle.Record(question.Prompt, options.Sampling, record);
        }

        using GenerationSession session = model.Generate(question.Prompt, options);
        GenerationResult result = session.Complete();
        if (measured) Cell(drafter, question.Bucket).Add(result.Statistics);
        return ([.. result.Tokens], result.Statistics);
    }

    private List<SpecCell> Summary(string[] buckets) => SpecCell.WithTotals(
        [.. Enumerable.Range(-1, names.Count + 1).SelectMany(d => buckets.Select(bucket => Cell(d, bucket)))]);

    private string Name(int drafter) => drafter < 0 ? "none" : names[drafter];

    private SpecCell Cell(int drafter, string bucket)
    {
        if (!_cells.TryGetValue((drafter, bucket), out SpecCell? cell)) _cells.Add((drafter, bucket), cell = new SpecCell(Name(drafter), bucket));
        return cell;
    }
}
