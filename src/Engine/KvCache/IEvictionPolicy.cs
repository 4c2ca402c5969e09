namespace Foretoken.KvCache;

/// <summary>
/// Decides which tokens a KV head forgets. A policy is one class: it says how long a slot is seen by setting its <c>expire</c>, and the cache
/// hides and reclaims the slot accordingly. The decision must depend on committed tokens only, never on rows that may be rejected.
/// </summary>
public interface IEvictionPolicy
{
    /// <summary>The name used on the command line and in statistics.</summary>
    string Name { get; }

    /// <summary>False: nothing is ever evicted and <see cref="OnCommit"/> is not called.</summary>
    bool Evicts { get; }

    /// <summary>Called for every (layer, KV head) after the accepted rows of a pass have joined its slots; must not allocate.</summary>
    void OnCommit(in CommittedHead head);
}
