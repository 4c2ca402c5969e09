using Foretoken.Generation;

namespace Foretoken.Tests.Seam;

/// <summary>What runs did, summed up.</summary>
public sealed class SeamTotals
{
    public int Combinations { get; private set; }

    public long Sequences { get; private set; }

    public long Tokens { get; private set; }

    public long Drafted { get; private set; }

    public long Accepted { get; private set; }

    public long Preemptions { get; private set; }

    public long ReusedTokens { get; private set; }

    public long SharedTokens { get; private set; }

    public long Passes { get; private set; }

    /// <summary>Heads whose live tokens were counted, and tokens that they had forgotten.</summary>
    public (long Heads, long Forgotten) Counted { get; private set; }

    /// <summary>Drafts, and of them accepted ones, by drafter.</summary>
    public Dictionary<string, (long Drafted, long Accepted)> ByDrafter { get; } = [];

    /// <summary>Adds a run. Several threads may.</summary>
    public void Add(SeamCombination c, IEnumerable<Sequence> sequences, long passes, long heads, long forgotten)
    {
        lock (ByDrafter) AddRun(c, sequences, passes, heads, forgotten);
    }

    public override string ToString() =>
        $"{Combinations} combinations: {Sequences} answers of {Tokens} tokens equal to plain decoding alone, tokens and log-probability bits; {Passes} passes, "
        + $"{Drafted} drafts ({Accepted} accepted), {Preemptions} preemptions, {ReusedTokens} tokens from stored prefixes, {SharedTokens} from other samples; "
        + $"{Counted.Heads} heads held what they should, {Counted.Forgotten} tokens forgotten";

    private void AddRun(SeamCombination c, IEnumerable<Sequence> sequences, long passes, long heads, long forgotten)
    {
        Combinations++;
        Passes += passes;
        Counted = (Counted.Heads + heads, Counted.Forgotten + forgotten);
        foreach (Sequence r in sequences)
        {
            GenerationStatistics s = r.Statistics;
            (long drafted, long accepted) = ByDrafter.GetValueOrDefault(c.Drafts.Name);
            ByDrafter[c.Drafts.Name] = (drafted + s.DraftedTokens, accepted + s.AcceptedTokens);
            Sequences++;
            Tokens += r.History.GeneratedCount;
            Drafted += s.DraftedTokens;
            Accepted += s.AcceptedTokens;
            Preemptions += s.Preemptions;
            ReusedTokens += s.ReusedTokens;
            SharedTokens += s.SharedTokens;
        }
    }
}
