using System.Diagnostics;
using Foretoken.Speculation;

namespace Foretoken.Generation;

/// <summary>What one request did and how long it took. Times are wall-clock: in a batch they include the others' rows.</summary>
public sealed class GenerationStatistics
{
    /// <summary>Positions of a draft that are counted each: the first draft after the root is position 0.</summary>
    public const int MaxDraftPositions = 32;

    private int[] _draftedAt = [];  // [positions]
    private int[] _acceptedAt = []; // [positions]
    private long _submitted;
    private long _started;
    private long _firstToken;
    private long _ended;
    private long _draftTicks;
    private long _verifyTicks;

    /// <summary>Tokens of the prompt, those taken from a stored prefix or another sample included.</summary>
    public int PromptTokens { get; internal set; }

    /// <summary>Tokens of the answer, an end token included.</summary>
    public int GeneratedTokens { get; internal set; }

    /// <summary>Passes that verified a tree of this request, plain decoding's single tokens included.</summary>
    public int Steps { get; private set; }

    /// <summary>Passes that only read prompt tokens.</summary>
    public int PrefillSteps { get; internal set; }

    /// <summary>Drafted tokens that were verified.</summary>
    public int DraftedTokens { get; private set; }

    /// <summary>Drafted tokens that became part of the answer: with <see cref="Steps"/> they make up <see cref="GeneratedTokens"/>.</summary>
    public int AcceptedTokens { get; private set; }

    /// <summary>
    /// Passes whose tree proposed a token at each position behind the root, passes in which the answer ended before that position left out. Empty
    /// without drafter. // [min(nodes, MaxDraftPositions)]
    /// </summary>
    public ReadOnlySpan<int> DraftedAt => _draftedAt;

    /// <summary>Passes that accepted a token at each position. // [min(nodes, MaxDraftPositions)]</summary>
    public ReadOnlySpan<int> AcceptedAt => _acceptedAt;

    /// <summary>What each drafter contributed, in the order of <see cref="IDrafter.Sources"/>; empty without drafter.</summary>
    public IReadOnlyList<DrafterStatistics> Drafters { get; private set; } = [];

    /// <summary>Bytes of keys and values that this request's passes attended to, its prompt's among them; what it shares counts for each that reads it.</summary>
    public long KvBytesRead { get; internal set; }

    /// <summary>Times that the request gave up its place in the cache for another and was computed again later.</summary>
    public int Preemptions { get; private set; }

    /// <summary>Tokens that a stored prefix spared the request to compute, after preemptions as well.</summary>
    public int ReusedTokens { get; private set; }

    /// <summary>Tokens of the prompt that another sample of the request had computed, after preemptions as well.</summary>
    public int SharedTokens { get; private set; }

    /// <summary>Committed tokens that preemptions gave up.</summary>
    public int PreemptedTokens { get; private set; }

    /// <summary>Time that this request's steps after its first token spent on drafting, the others' drafts included.</summary>
    public double DraftMilliseconds => _draftTicks * 1000.0 / Stopwatch.Frequency;

    /// <summary>Time that this request's steps after its first token spent on verifying: forward pass, acceptance and commit, the others' rows included.</summary>
    public double VerifyMilliseconds => _verifyTicks * 1000.0 / Stopwatch.Frequency;

    /// <summary>Share of drafted positions, those that verification came to, whose token was accepted; 0 without drafts.</summary>
    public double Acceptance
    {
        get
        {
            long drafted = 0, accepted = 0;
            foreach (int n in _draftedAt) drafted += n;
            foreach (int n in _acceptedAt) accepted += n;
            return drafted == 0 ? 0 : (double)accepted / drafted;
        }
    }

    /// <summary>Tokens per verifying pass, the bonus token included: 1 without drafts.</summary>
    public double MeanAcceptedLength => Steps == 0 ? 0 : (double)(AcceptedTokens + Steps) / Steps;

    /// <summary>From submission to the first pass.</summary>
    public double QueueMilliseconds => Milliseconds(_submitted, _started);

    /// <summary>From the first pass to the first token.</summary>
    public double PrefillMilliseconds => Milliseconds(_started, _firstToken);

    /// <summary>From the first token to the last.</summary>
    public double DecodeMilliseconds => Milliseconds(_firstToken, _ended);

    /// <summary>Tokens that came with the pass that read the prompt's end, before decoding began: one, and the drafts that were verified along with the prompt.</summary>
    public int FirstTokens { get; private set; }

    /// <summary>Tokens of the answer after the first pass, per second of decoding; 0 if there are none.</summary>
    public double TokensPerSecond => GeneratedTokens > FirstTokens && DecodeMilliseconds > 0 ? (GeneratedTokens - FirstTokens) * 1000 / DecodeMilliseconds : 0;

    /// <summary>Tokens of the prompt per second until the first token of the answer; 0 before it.</summary>
    public double PromptTokensPerSecond => PrefillMilliseconds > 0 ? PromptTokens * 1000 / PrefillMilliseconds : 0;

    internal void MarkSubmitted(IDrafter drafter)
    {
        int positions = Math.Min(drafter.MaxNodes, MaxDraftPositions);
        if (positions > 0) Drafters = [.. drafter.Sources.Select(name => new DrafterStatistics(name, positions))];
        (_draftedAt, _acceptedAt) = (new int[positions], new int[positions]);
        _submitted = Stopwatch.GetTimestamp();
    }

    /// <param name="reusedTokens">Tokens that came from a stored prefix.</param>
    /// <param name="sharedTokens">Tokens that came from another sample.</param>
    internal void MarkStarted(int reusedTokens, int sharedTokens)
    {
        ReusedTokens += reusedTokens;
        SharedTokens += sharedTokens;
        if (_started == 0) _started = Stopwatch.GetTimestamp();
    }

    /// <param name="drafted">Drafted nodes of the tree.</param>
    /// <param name="depth">Drafts of its longest path.</param>
    /// <param name="acceptance">What verification made of it.</param>
    /// <param name="cost">What the step took.</param>
    internal void MarkStep(int drafted, int depth, in Acceptance acceptance, in StepCost cost)
    {
        if (_firstToken != 0)
        {
            _draftTicks += cost.DraftTicks;
            _verifyTicks += cost.VerifyTicks;
        }

        if (_firstToken == 0)
        {
            _firstToken = Stopwatch.GetTimestamp();
            FirstTokens = acceptance.NewTokens;
        }

        Steps++;
        DraftedTokens += drafted;
        AcceptedTokens += acceptance.AcceptedDrafts;
        int tried = acceptance.End == AcceptanceEnd.Tree ? depth : acceptance.AcceptedDrafts;
        for (int i = 0; i < Math.Min(tried, _draftedAt.Length); i++) _draftedAt[i]++;
        for (int i = 0; i < Math.Min(acceptance.AcceptedDrafts, _acceptedAt.Length); i++) _acceptedAt[i]++;
    }

    /// <summary>Counts the drafts of a verified tree by drafter.</summary>
    internal void MarkDrafts(TokenForest forest, int tree, ReadOnlySpan<int> accepted)
    {
        int root = forest.Root(tree);
        for (int node = forest.Next(root); node >= 0; node = forest.Next(node)) Of(node).MarkDrafted(forest.Depth(node));
        for (int i = 0, node = root; i < accepted.Length && (node = forest.FindChild(node, accepted[i])) >= 0; i++) Of(node).MarkAccepted(i + 1);

        DrafterStatistics Of(int node) => Drafters[Math.Min(forest.Source(node), Drafters.Count - 1)]; // a wrapper may not know its parts
    }

    internal void MarkPreempted(int tokens)
    {
        Preemptions++;
        PreemptedTokens += tokens;
    }

    internal void MarkEnded() => _ended = Stopwatch.GetTimestamp();

    private static double Milliseconds(long from, long to) => from == 0 || to == 0 ? 0 : Stopwatch.GetElapsedTime(from, to).TotalMilliseconds;
}

/// <summary>What one drafter contributed to one request.</summary>
public sealed class DrafterStatistics
{
    private readonly int[] _draftedAt, _acceptedAt; // [positions]

    internal DrafterStatistics(string name, int positions) => (Name, _draftedAt, _acceptedAt) = (name, new int[positions], new int[positions]);

    /// <summary>The drafter, as <see cref="IDrafter.Sources"/> names it.</summary>
    public string Name { get; }

    /// <summary>Nodes of its that were verified.</summary>
    public int Drafted { get; private set; }

    /// <summary>Nodes of its that became part of the answer.</summary>
    public int Accepted { get; private set; }

    /// <summary>Verified nodes by position: the first draft after the root is position 0. // [min(nodes, MaxDraftPositions)]</summary>
    public ReadOnlySpan<int> DraftedAt => _draftedAt;

    /// <summary>Accepted nodes by position. // [min(nodes, MaxDraftPositions)]</summary>
    public ReadOnlySpan<int> AcceptedAt => _acceptedAt;

    internal void MarkDrafted(int depth)
    {
        Drafted++;
        if (depth <= _draftedAt.Length) _draftedAt[depth - 1]++;
    }

    internal void MarkAccepted(int depth)
    {
        Accepted++;
        if (depth <= _acceptedAt.Length) _acceptedAt[depth - 1]++;
    }
}
