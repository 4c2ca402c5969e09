using Foretoken.Speculation;

namespace Foretoken.Tests.Generation;

/// <summary>Passes everything on to another drafter and calls what a test hangs in, before.</summary>
internal sealed class HookedDrafter(IDrafter inner) : IDrafter
{
    public Action? Proposing { get; set; }

    public Action<DraftRequest[]>? ProposingFor { get; set; }

    public Action? Observing { get; set; }

    public Action<StepCost>? Measuring { get; set; }

    public Action<int>? Releasing { get; set; }

    public Action? Disposing { get; set; }

    public string Name => inner.Name;

    public int MaxNodes { get; init; } = inner.MaxNodes;

    public bool RunsModel => inner.RunsModel;

    public bool DrawsDrafts => inner.DrawsDrafts;

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        Proposing?.Invoke();
        ProposingFor?.Invoke(requests.ToArray());
        inner.Propose(requests, forest);
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        Observing?.Invoke();
        inner.Observe(requests, acceptances, forest);
    }

    public void Measured(in StepCost cost)
    {
        Measuring?.Invoke(cost);
        inner.Measured(cost);
    }

    public void Fork(int source, int sequence, int tokens) => inner.Fork(source, sequence, tokens);

    public void Release(int sequence)
    {
        Releasing?.Invoke(sequence);
        inner.Release(sequence);
    }

    public void Dispose()
    {
        Disposing?.Invoke();
        inner.Dispose();
    }
}

/// <summary>Makes a drafter that a test has at hand.</summary>
internal sealed record ReadyDrafter(Func<IDrafter> Make, int Nodes = 4) : DrafterOptions
{
    public override string Name => "ready";

    public override int MaxNodes => Nodes;

    public override IDrafter Create(DrafterContext context) => Make();
}
