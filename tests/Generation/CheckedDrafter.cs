using Foretoken.Backends;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Generation;

/// <summary>Passes everything on and checks what drafters rely on: an index names one sequence until it is released, paths follow the trees.</summary>
internal sealed class CheckedDrafter(IDrafter inner) : IDrafter
{
    private readonly Dictionary<int, TokenHistory> _paths = [];
    private readonly Dictionary<int, int[]> _forks = []; // what the path of a fork begins with

    public string Name => inner.Name;

    public int MaxNodes => inner.MaxNodes;

    public bool RunsModel => inner.RunsModel;

    public bool DrawsDrafts => inner.DrawsDrafts;

    /// <summary>Sequences that were proposed for and not released.</summary>
    public int Known => _paths.Count;

    public long Accepted { get; private set; }

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        foreach (DraftRequest r in requests)
        {
            if (_paths.TryGetValue(r.Sequence, out TokenHistory? path)) Assert.Same(path, r.Path);
            else _paths.Add(r.Sequence, r.Path);
            if (_forks.Remove(r.Sequence, out int[]? beginning)) Assert.True(r.Path.Tokens.StartsWith(beginning), "a fork has other tokens than its source");
            Assert.Equal(r.Path.Last, forest.Token(forest.Root(r.Tree)));
            Assert.Equal(r.Path.Capacity - r.Path.Count - 1, r.MaxDepth);
        }

        inner.Propose(requests, forest);
    }

    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => inner.Committed(sequence, path, rows, accepted);

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        Assert.Equal(requests.Length, acceptances.Length);
        for (int i = 0; i < requests.Length; i++)
        {
            Acceptance a = acceptances[i];
            Assert.Equal((requests[i].Tree, requests[i].Sequence, a.NewTokens), (a.Tree, a.Sequence, a.AcceptedRows));
            int node = forest.Root(a.Tree);
            foreach (int token in requests[i].Path.Tokens[^a.NewTokens..^1])
            {
                node = forest.FindChild(node, token);
                Assert.True(node >= 0, "a token that no draft proposed was accepted");
            }

            Accepted += a.AcceptedDrafts;
        }

        inner.Observe(requests, acceptances, forest);
    }

    public void Measured(in StepCost cost) => inner.Measured(cost);

    public void Fork(int source, int sequence, int tokens)
    {
        Assert.False(_paths.ContainsKey(sequence) || _forks.ContainsKey(sequence), "a fork took an index that is in use");
        if (_paths.TryGetValue(source, out TokenHistory? path)) _forks.Add(sequence, path.Tokens[..tokens].ToArray());
        inner.Fork(source, sequence, tokens);
    }

    public void Release(int sequence)
    {
        _paths.Remove(sequence);
        _forks.Remove(sequence);
        inner.Release(sequence);
    }

    public void Dispose() => inner.Dispose();
}
