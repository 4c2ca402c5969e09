namespace Foretoken.KvCache;

/// <summary>Keeps every token.</summary>
public sealed class DensePolicy : IEvictionPolicy
{
    /// <inheritdoc/>
    public string Name => "dense";

    /// <inheritdoc/>
    public bool Evicts => false;
}
