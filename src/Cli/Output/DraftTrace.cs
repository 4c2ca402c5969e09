using Foretoken.Backends;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Cli.Output;

/// <summary>What one step made of its drafts.</summary>
/// <param name="Accepted">Drafted tokens that became part of the answer.</param>
/// <param name="Rejected">The first drafted path behind them that did not; empty where the answer ended first.</param>
/// <param name="Bonus">The model's own token behind the accepted ones; empty where there was none to choose.</param>
internal sealed record DraftStep(int[] Accepted, int[] Rejected, int[] Bonus);

/// <summary>Passes everything on to another drafter and notes, for the one sequence of <c>run</c>, what became of its drafts.</summary>
internal sealed class DraftTrace(IDrafter inner) : IDrafter
{
    private readonly List<DraftStep> _steps = [];

    /// <summary>The drafter that is traced.</summary>
    public IDrafter Inner => inner;

    public string Name => inner.Name;

    public IReadOnlyList<string> Sources => inner.Sources;

    public int MaxNodes => inner.MaxNodes;

    public bool RunsModel => inner.RunsModel;

    public bool DrawsDrafts => inner.DrawsDrafts;

    public IReadOnlyList<DraftStep> Steps => _steps;

    /// <summary>Forgets the steps of an earlier request.</summary>
    public void Clear() => _steps.Clear();

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest) => inner.Propose(requests, forest);

    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => inner.Committed(sequence, path, rows, accepted);

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        for (int i = 0; i < requests.Length; i++)
        {
            Acceptance a = acceptances[i];
            ReadOnlySpan<int> tokens = requests[i].Path.Tokens[^a.NewTokens..];
            int accepted = Math.Min(a.AcceptedDrafts, tokens.Length), node = forest.Root(a.Tree);
            for (int t = 0; t < accepted; t++) node = forest.FindChild(node, tokens[t]);
            int[] rejected = a.End == AcceptanceEnd.Tree ? [.. FirstPathBelow(node, forest)] : [];
            _steps.Add(new DraftStep(tokens[..accepted].ToArray(), rejected, tokens[accepted..].ToArray()));
        }

        inner.Observe(requests, acceptances, forest);
    }

    public void Measured(in StepCost cost) => inner.Measured(cost);

    public void Fork(int source, int sequence, int tokens) => inner.Fork(source, sequence, tokens);

    public void Release(int sequence) => inner.Release(sequence);

    public void Dispose() => inner.Dispose();

    private static IEnumerable<int> FirstPathBelow(int node, TokenForest forest)
    {
        for (int next = forest.Next(node); next >= 0; next = forest.Next(next)) // children stand behind their parents
        {
            if (forest.Parent(next) != node) continue;
            yield return forest.Token(next);
            node = next;
        }
    }
}
