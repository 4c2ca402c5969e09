namespace Foretoken.Speculation;

/// <summary>Plain decoding: every tree is its root alone.</summary>
public sealed class NoDrafter : IDrafter
{
    public string Name => "none";

    public int MaxNodes => 0;

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
    }

    public void Release(int sequence)
    {
    }

    public void Dispose()
    {
    }
}
