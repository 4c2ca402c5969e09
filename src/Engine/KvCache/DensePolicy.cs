namespace Foretoken.KvCache;

/// <summary>Keeps every token.</summary>
public sealed class DensePolicy : IEvictionPolicy
{
    public string Name => "dense";

    public bool Evicts => false;
}
