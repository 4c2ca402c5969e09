namespace Foretoken.Speculation;

/// <summary>Plain decoding: every tree is its root alone.</summary>
public sealed class NoDrafter : IDrafter
{
    /// <inheritdoc/>
    public string Name => "none";

    /// <inheritdoc/>
    public int MaxNodes => 0;

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
