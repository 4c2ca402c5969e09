using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Generation;

/// <summary>Defects that are planted to see that random histories find them.</summary>
public enum SchedulerDefect
{
    None,

    /// <summary>Now and then a running answer brings no row to a pass although there are rows for all.</summary>
    SkipsOne,

    /// <summary>Of those that may give way the first in rank does, not the last.</summary>
    PreemptsFirstInRank,

    /// <summary>What is computed again after a preemption lacks the newest token.</summary>
    RecomputesOneTokenLess,

    /// <summary>The window of delayed eviction is one position too long.</summary>
    WindowTooLong,
}

/// <summary>A scheduler's rules with a defect.</summary>
internal sealed class PlantedRules(SchedulerDefect defect) : SchedulingRules
{
    public override Sequence Victim(ReadOnlySpan<Sequence> candidates, int taken) =>
        defect == SchedulerDefect.PreemptsFirstInRank ? candidates[taken] : base.Victim(candidates, taken);

    public override int Rows(Sequence sequence, int pending, int room)
    {
        bool skips = defect == SchedulerDefect.SkipsOne && pending == 1 && sequence.Arrival % 5 == 3 && sequence.History.GeneratedCount % 8 == 5;
        return skips ? 0 : base.Rows(sequence, pending, room);
    }

    public static IEvictionPolicy Policy(SchedulerDefect defect, IEvictionPolicy policy) =>
        defect == SchedulerDefect.WindowTooLong && policy is DmsPolicy dms ? new DmsPolicy(dms.DecisionWindow + 1, dms.Decisions!) : policy;
}

/// <summary>Takes the newest token from answers that are released before their end.</summary>
internal sealed class ForgetfulRelease(IDrafter inner, Func<TokenHistory, bool> goesOn) : IDrafter
{
    private readonly Dictionary<int, TokenHistory> _paths = [];

    public string Name => inner.Name;

    public int MaxNodes => inner.MaxNodes;

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        foreach (DraftRequest r in requests) _paths[r.Sequence] = r.Path;
        inner.Propose(requests, forest);
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest) =>
        inner.Observe(requests, acceptances, forest);

    public void Measured(in StepCost cost) => inner.Measured(cost);

    public void Fork(int source, int sequence, int tokens) => inner.Fork(source, sequence, tokens);

    public void Release(int sequence)
    {
        if (_paths.Remove(sequence, out TokenHistory? path) && path.GeneratedCount > 0 && goesOn(path)) path.Truncate(path.Count - 1);
        inner.Release(sequence);
    }

    public void Dispose() => inner.Dispose();
}
