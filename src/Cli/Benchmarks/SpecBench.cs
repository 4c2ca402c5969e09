using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Training.Evaluation;
using Foretoken.Training.Tasks;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Lets one loaded model draft with one of several drafters at a time, or with none.</summary>
internal sealed record SwitchedDrafts(IReadOnlyList<DrafterOptions> Drafters) : DrafterOptions
{
    public override string Name => "switched";

    public override int MaxNodes => Drafters.Max(d => d.MaxNodes);

    public override IDrafter Create(DrafterContext context) => new SwitchedDrafter([.. Drafters.Select(d => d.Create(context))]);
}

/// <inheritdoc cref="SwitchedDrafts"/>
internal sealed class SwitchedDrafter(IDrafter[] drafters) : IDrafter
{
    private readonly NoDrafter _none = new();

    public string Name => "switched";

    public int MaxNodes { get; } = drafters.Max(d => d.MaxNodes);

    public bool RunsModel { get; } = drafters.Any(d => d.RunsModel);

    public bool DrawsDrafts { get; } = drafters.Any(d => d.DrawsDrafts);

    /// <summary>Index of the drafter that drafts now; −1 = none.</summary>
    public int Selected { get; set; } = -1;

    public IDrafter this[int index] => drafters[index];

    private IDrafter Current => Selected < 0 ? _none : drafters[Selected];

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest) => Current.Propose(requests, forest);

    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => Current.Committed(sequence, path, rows, accepted);

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest) =>
        Current.Observe(requests, acceptances, forest);

    public void Measured(in StepCost cost) => Current.Measured(cost);

    public void Fork(int source, int sequence, int tokens) => Current.Fork(source, sequence, tokens);

    public void Release(int sequence) => Current.Release(sequence);

    public void Dispose()
    {
        foreach (IDrafter drafter in drafters) drafter.Dispose();
    }
}

/// <summary>A request of the benchmark.</summary>
internal sealed record SpecQuestion(string Bucket, int[] Prompt);

/// <summary>What one drafter (or none) did on one bucket, over all repeats.</summary>
internal sealed class SpecCell(string drafter, string bucket)
{
    public string Drafter => drafter;

    public string Bucket => bucket;

    public List<double> SpeedUps { get; } = []; // per repeat, against plain decoding of the same questions in the same minutes

    public long Tokens { get; private set; }

    public long Steps { get; private set; }

    /// <summary>Steps after the first of each answer, which reads the prompt too.</summary>
    public long TimedSteps { get; private set; }

    public long Drafted { get; private set; }

    public double DecodeMilliseconds { get; private set; }

    public double DraftMilliseconds { get; private set; }

    public double VerifyMilliseconds { get; private set; }

    public long[] DraftedAt { get; } = new long[GenerationStatistics.MaxDraftPositions];

    public long[] AcceptedAt { get; } = new long[GenerationStatistics.MaxDraftPositions];

    public double SpeedUp => SpeedUps.Count == 0 ? 1 : BenchRunner.Median(SpeedUps);

    public double TokensPerSecond => Tokens * 1000 / DecodeMilliseconds;

    /// <summary>Tokens per verifying pass, the bonus included.</summary>
    public double MeanAcceptedLength => (double)Tokens / Steps;

    public double Acceptance => AcceptedAt.Sum() / Math.Max(1.0, DraftedAt.Sum());

    public void Add(GenerationStatistics s)
    {
        Tokens += s.GeneratedTokens;
        Steps += s.Steps;
        TimedSteps += Math.Max(0, s.Steps - 1);
        Drafted += s.DraftedTokens;
        DecodeMilliseconds += s.DecodeMilliseconds;
        DraftMilliseconds += s.DraftMilliseconds;
        VerifyMilliseconds += s.VerifyMilliseconds;
        for (int i = 0; i < s.DraftedAt.Length; i++)
        {
            DraftedAt[i] += s.DraftedAt[i];
            AcceptedAt[i] += s.AcceptedAt[i];
        }
    }

    public void Add(SpecCell other)
    {
        Tokens += other.Tokens;
        Steps += other.Steps;
        TimedSteps += other.TimedSteps;
        Drafted += other.Drafted;
        DecodeMilliseconds += other.DecodeMilliseconds;
        DraftMilliseconds += other.DraftMilliseconds;
        VerifyMilliseconds += other.VerifyMilliseconds;
        for (int i = 0; i < DraftedAt.Length; i++)
        {
            DraftedAt[i] += other.DraftedAt[i];
            AcceptedAt[i] += other.AcceptedAt[i];
        }
    }

    /// <summary>Time of drafting per step, in plain steps.</summary>
    public double DraftCost(SpecCell plain) => DraftMilliseconds / TimedSteps / PlainStep(plain);

    /// <summary>Time of verifying per step, in plain steps.</summary>
    public double VerifyCost(SpecCell plain) => VerifyMilliseconds / TimedSteps / PlainStep(plain);

    /// <summary>Speed-up that accepted length and the two costs predict.</summary>
    public double Predicted(SpecCell plain) => MeanAcceptedLength / (DraftCost(plain) + VerifyCost(plain));

    private static double PlainStep(SpecCell plain) => (plain.VerifyMilliseconds + plain.DraftMilliseconds) / plain.TimedSteps;
}

/// <summary>
/// Measures drafters per bucket of the held-out questions: every question is answered plainly and with each drafter in turn, so that all see the same
/// moments of the machine. No question comes twice, so that drafters that remember have nothing to remember it by. One request at a time.
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

    /// <summary>Questions of the six buckets, <paramref name="count"/> each.</summary>
    public static IReadOnlyList<SpecQuestion> HeldOut(ChatModel chat, int count, ulong seed) =>
        [.. HeldOutSuite.Examples(count, seed).Select(e => new SpecQuestion(e.Bucket, chat.Encode(e.Prompt, raw: false)))
            .Where(q => q.Prompt.Length + 8 < chat.Language.ContextLength)];

    /// <summary>Random tokens: for models of random weights, whose answers mean nothing.</summary>
    public static IReadOnlyList<SpecQuestion> Random(int count, int vocab, int length) => [.. Enumerable.Range(0, count).Select(i =>
    {
        var random = new SeededRandom(11, (ulong)i);
        return new SpecQuestion("random", [.. Enumerable.Range(0, length).Select(_ => random.Next(vocab))]);
    })];

    /// <summary>Runs all questions; returns the cells, plain decoding first, a cell "all" per drafter last.</summary>
    public IReadOnlyList<SpecCell> Run(IReadOnlyList<SpecQuestion> questions, Action<string, double> report)
    {
        string[] buckets = [.. questions.Select(q => q.Bucket).Distinct()];
        SpecQuestion[][] sets = [.. buckets.Select(b => questions.Where(q => q.Bucket == b).ToArray())];
        for (int d = -1; d < names.Count; d++)
        {
            report($"{Name(d)}, warming up", -1);
            for (int i = 0; i < 2; i++) Answer(d, sets[i % sets.Length][0], record: null, measured: false);
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
        foreach (SpecQuestion question in questions)
        {
            int[]? plain = null;
            for (int d = -1; d < names.Count; d++)
            {
                cancel.ThrowIfCancellationRequested();
                (int[] tokens, double ms) = Answer(d, question, plain, measured: true);
                plain ??= tokens;
                if (!plain.AsSpan().SequenceEqual(tokens)) Different++;
                milliseconds[d + 1] += ms;
            }
        }

        for (int d = 0; d < names.Count; d++) Cell(d, questions[0].Bucket).SpeedUps.Add(milliseconds[0] / milliseconds[d + 1]);
    }

    private (int[] Tokens, double Milliseconds) Answer(int drafter, SpecQuestion question, int[]? record, bool measured)
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
        return ([.. result.Tokens], result.Statistics.DecodeMilliseconds);
    }

    private List<SpecCell> Summary(string[] buckets)
    {
        var cells = new List<SpecCell>();
        for (int d = -1; d < names.Count; d++)
        {
            var all = new SpecCell(Name(d), "all");
            foreach (string bucket in buckets)
            {
                cells.Add(Cell(d, bucket));
                all.Add(Cell(d, bucket));
            }

            for (int r = 0; d >= 0 && r < repeats; r++)
                all.SpeedUps.Add(buckets.Length / buckets.Sum(b => 1 / Cell(d, b).SpeedUps[r])); // each bucket counts the same: harmonic mean
            cells.Add(all);
        }

        return cells;
    }

    private string Name(int drafter) => drafter < 0 ? "none" : names[drafter];

    private SpecCell Cell(int drafter, string bucket)
    {
        if (!_cells.TryGetValue((drafter, bucket), out SpecCell? cell)) _cells.Add((drafter, bucket), cell = new SpecCell(Name(drafter), bucket));
        return cell;
    }
}
