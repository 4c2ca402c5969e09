using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>Lets one loaded model draft with one of several drafters at a time, or with none.</summary>
internal sealed record SwitchedDrafts(IReadOnlyList<DrafterOptions> Drafters) : DrafterOptions
{
    public override string Name => "switched";

    public override int MaxNodes => Drafters.Max(d => d.MaxNodes);

    public override bool ReadsFeatures => Drafters.Any(d => d.ReadsFeatures);

    /// <summary>What is measured is what drafts bring once all are there: nothing is loaded meanwhile.</summary>
    public override IDrafter Create(DrafterContext context) => new SwitchedDrafter(
        [.. Drafters.Select(d => (d is GovernorOptions auto ? auto with { LoadsAtStart = true } : d).Create(context))], [.. Drafters.Select(d => d.ReadsFeatures)], context.Taps);
}

/// <inheritdoc cref="SwitchedDrafts"/>
internal sealed class SwitchedDrafter(IDrafter[] drafters, bool[] readFeatures, FeatureTaps? taps) : IDrafter
{
    private readonly NoDrafter _none = new();
    private long _begin;      // timestamp at which the step began
    private int _sequences, _tokens; // of the step: that it is for, that it brought
    private bool _decodes;    // the step before brought no prompt rows

    public string Name => "switched";

    public IReadOnlyList<string> Sources => Current.Sources;

    public int MaxNodes { get; } = drafters.Max(d => d.MaxNodes);

    public bool DrawsDrafts { get; } = drafters.Any(d => d.DrawsDrafts);

    /// <summary>Index of the drafter that drafts now; −1 = none.</summary>
    public int Selected { get; set; } = -1;

    /// <summary>Sequences that a step must have to be timed: when some have ended and no others wait, what is left is a smaller batch.</summary>
    public int TimedSequences { get; set; } = 1;

    /// <summary>Ticks of the timed steps that brought no prompt rows, each from its beginning to the beginning of the next, since <see cref="RestartClock"/>.</summary>
    public long DecodeTicks { get; private set; }

    /// <summary>Tokens of those steps.</summary>
    public long DecodeTokens { get; private set; }

    public IDrafter this[int index] => drafters[index];

    private IDrafter Current => Selected < 0 ? _none : drafters[Selected];

    public void RestartClock() => (DecodeTicks, DecodeTokens, _decodes) = (0, 0, false);

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        long now = Stopwatch.GetTimestamp();
        if (_decodes && _sequences >= TimedSequences) (DecodeTicks, DecodeTokens) = (DecodeTicks + now - _begin, DecodeTokens + _tokens);
        (_begin, _sequences, _tokens) = (now, requests.Length, 0);
        if (taps is not null) taps.Paused = Selected < 0 || !readFeatures[Selected]; // others do not pay for what they do not read
        Current.Propose(requests, forest);
    }

    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => Current.Committed(sequence, path, rows, accepted);

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        foreach (Acceptance a in acceptances) _tokens += a.NewTokens;
        Current.Observe(requests, acceptances, forest);
    }

    public void Measured(in StepCost cost)
    {
        _decodes = cost.PromptRows == 0;
        Current.Measured(cost);
    }

    public void Fork(int source, int sequence, int tokens) => Current.Fork(source, sequence, tokens);

    public void Release(int sequence) => Current.Release(sequence);

    public void Dispose()
    {
        foreach (IDrafter drafter in drafters) drafter.Dispose();
    }
}
