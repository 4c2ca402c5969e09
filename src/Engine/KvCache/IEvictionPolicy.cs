using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <summary>
/// Decides which tokens a KV head forgets. A policy is one class. It says how long a token is seen (its <c>expire</c>, the last position that sees it),
/// in one of three ways: from the token's position alone (<see cref="ExpireOf"/>), by the decision of the row after it
/// (<see cref="DecisionWindow"/>), or by looking at the committed slots (<see cref="OnCommit"/>). The cache hides and reclaims slots accordingly.
/// The first two hold inside a pass as well, so that prompt chunks of any size and trees give the same bits as token by token.
/// </summary>
public interface IEvictionPolicy
{
    /// <summary>The name used on the command line and in statistics.</summary>
    string Name { get; }

    /// <summary>False: nothing is ever evicted and no other member is called.</summary>
    bool Evicts { get; }

    /// <summary>Rows decide about a token before them, which rows more than this many positions behind it then forget. 0 = rows decide nothing.</summary>
    int DecisionWindow => 0;

    /// <summary>How many positions before a row the token stands that it decides about, 0..<see cref="DecisionWindow"/>.</summary>
    int DecisionShift => 1;

    /// <summary>Who decides, where <see cref="DecisionWindow"/> is set; null = the model, in the forward pass.</summary>
    IDmsDecisionSource? Decisions => null;

    /// <summary>Changes what a model says: everything that evicts but what the model was trained for.</summary>
    bool IsLossy => Evicts && !(DecisionWindow > 0 && Decisions is null);

    /// <summary><see cref="OnCommit"/> is to be called. Such a policy may change any slot, so that forks share less.</summary>
    bool ActsAtCommit => false;

    /// <summary>What attention notes in the slots for <see cref="OnCommit"/>; null = nothing. Such a policy cannot follow drafts.</summary>
    AttentionObservation? Observation => null;

    /// <summary>Last position that sees the token at <paramref name="position"/>, at least that position itself; int.MaxValue = every later one.</summary>
    int ExpireOf(int layer, int kvHead, int position) => int.MaxValue;

    /// <summary>
    /// Called for every (layer, KV head) after the accepted rows of a pass have joined its slots; must not allocate. It acts once per pass and not per
    /// token: outputs then depend on how tokens are cut into passes, which makes a policy lossy even against itself.
    /// </summary>
    void OnCommit(in CommittedHead head)
    {
    }
}
