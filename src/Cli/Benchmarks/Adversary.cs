using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>How an adversary misleads.</summary>
internal enum AdversaryKind
{
    /// <summary>No draft is right, and it is sure of all.</summary>
    Wrong,

    /// <summary>Right for half of the tokens, until it is trusted; then wrong.</summary>
    RightThenWrong,

    /// <summary>Wrong until it is no longer asked; then right.</summary>
    WrongThenRight,

    /// <summary>Changes between both every hundred tokens.</summary>
    Flipping,

    /// <summary>Wrong, and every call takes a while.</summary>
    Slow,

    /// <summary>Wrong, and every depth takes a while, as a model does.</summary>
    SlowModel,
}

/// <summary>A drafter that means ill, for the Governor to cope with.</summary>
/// <param name="Kind">How it misleads.</param>
/// <param name="HalfTokens">Tokens after which the kinds with halves change.</param>
internal sealed record AdversaryOptions(AdversaryKind Kind, int HalfTokens) : DrafterOptions
{
    public const int Depth = 6;

    public override string Name => Kind switch
    {
        AdversaryKind.Wrong => "wrong",
        AdversaryKind.RightThenWrong => "right-wrong",
        AdversaryKind.WrongThenRight => "wrong-right",
        AdversaryKind.Flipping => "flipping",
        AdversaryKind.Slow => "slow",
        _ => "slow-model",
    };

    public override int MaxNodes => Depth;

    /// <summary>The drafter made last.</summary>
    public Adversary? Made { get; private set; }

    public override IDrafter Create(DrafterContext context) => Made = new Adversary(this, context.Target.Shape.VocabSize, context.MaxSequences);
}

/// <inheritdoc cref="AdversaryOptions"/>
internal sealed class Adversary(AdversaryOptions options, int vocabSize, int sequences) : IDrafter
{
    private const int FlipTokens = 100;
    private const double SlowMicroseconds = 40;
    private readonly OracleDrafter _right = new(new OracleOptions { VocabSize = vocabSize, Depth = AdversaryOptions.Depth, MaxSequences = sequences });
    private long _tokens;

    public string Name => options.Name;

    public int MaxNodes => options.MaxNodes;

    public bool RunsModel => options.Kind == AdversaryKind.SlowModel;

    private bool IsRight => options.Kind switch
    {
        AdversaryKind.RightThenWrong => _tokens < options.HalfTokens,
        AdversaryKind.WrongThenRight => _tokens >= options.HalfTokens,
        AdversaryKind.Flipping => _tokens / FlipTokens % 2 == 1,
        _ => false,
    };

    /// <summary>Notes what plain decoding answers.</summary>
    public void Record(ReadOnlySpan<int> prompt, SamplingOptions sampling, ReadOnlySpan<int> answer) => _right.Record(prompt, sampling, answer);

    /// <summary>Begins with the first half again.</summary>
    public void Restart() => _tokens = 0;

    /// <summary>Counts the tokens that come, whether or not it is asked: it knows when to change sides.</summary>
    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
    {
        if (accepted.Length > 0 && rows.Positions[accepted[0]] >= path.PromptCount) _tokens += accepted.Length;
    }

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        long start = Stopwatch.GetTimestamp();
        int deepest = 0;
        if (IsRight)
        {
            _right.Propose(requests, forest);
        }
        else
        {
            foreach (DraftRequest request in requests)
            {
                int node = forest.Root(request.Tree), depth = Math.Min(AdversaryOptions.Depth, Math.Min(request.MaxNodes, request.MaxDepth));
                for (int d = 1; d <= depth && node >= 0; d++) node = forest.Add(node, (request.Path.Last + 7 * d) % vocabSize, 0.95f);
                deepest = Math.Max(deepest, depth);
            }
        }

        double wait = options.Kind switch { AdversaryKind.Slow => SlowMicroseconds, AdversaryKind.SlowModel => deepest * SlowMicroseconds, _ => 0 };
        while (wait > 0 && Stopwatch.GetElapsedTime(start).TotalMicroseconds < wait) Thread.SpinWait(20);
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
    }

    public void Release(int sequence) => _right.Release(sequence);

    public void Dispose()
    {
    }
}
