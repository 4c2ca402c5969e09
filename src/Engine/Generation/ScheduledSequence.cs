namespace Foretoken.Generation;

/// <summary>What one sequence does in the coming pass.</summary>
/// <param name="Sequence">The sequence.</param>
/// <param name="PromptRows">Pending tokens that only go to the cache: a chain in front of the root, if there is one.</param>
/// <param name="HasRoot">Whether the last pending token is in this pass, so that a next token is chosen.</param>
/// <param name="MaxDrafts">Most drafted nodes below the root.</param>
public readonly record struct ScheduledSequence(Sequence Sequence, int PromptRows, bool HasRoot, int MaxDrafts)
{
    /// <summary>Most drafted nodes of one path: the bonus token takes the last place of the answer.</summary>
    public int MaxDepth => Sequence.RemainingTokens - 1;
}
