using Foretoken.Backends;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Seam;

/// <summary>The drafter of a combination. Passes everything on and notes the largest tree that was verified.</summary>
public sealed class SeamDrafter : ISeamDrafter, IDrafter
{
    private readonly OracleDrafter? _oracle;
    private readonly DrafterOptions? _shipped;
    private IDrafter _inner = new NoDrafter();

    public SeamDrafter(SeamDrafts drafts, string directory)
    {
        if (drafts.Oracle is { } oracle) _oracle = new OracleDrafter(oracle);
        else _shipped = drafts.Options(directory);
    }

    public string Name => _inner.Name;

    public int MaxNodes => _oracle?.MaxNodes ?? _shipped!.MaxNodes;

    /// <summary>Nodes of the largest tree, its root included.</summary>
    public int LargestTree { get; private set; }

    /// <summary>Tells the oracle an answer.</summary>
    public void Record(SeamRequest request, SeamAnswer answer) => _oracle?.Record(request.Prompt, request.Sampling, answer.Tokens);

    public IDrafter Create(DrafterContext context)
    {
        _inner = _oracle ?? _shipped!.Create(context);
        return this;
    }

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest) => _inner.Propose(requests, forest);

    public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => _inner.Committed(sequence, path, rows, accepted);

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        foreach (Acceptance a in acceptances) LargestTree = Math.Max(LargestTree, forest.CountOf(a.Tree));
        _inner.Observe(requests, acceptances, forest);
    }

    public void Measured(in StepCost cost) => _inner.Measured(cost);

    public void Fork(int source, int sequence, int tokens) => _inner.Fork(source, sequence, tokens);

    public void Release(int sequence) => _inner.Release(sequence);

    public void Dispose() => _inner.Dispose();
}
