namespace Foretoken.KvCache;

/// <summary>Gives the decisions of delayed eviction where no trained model does. A decision may depend on the row alone, so that it is the same in every pass.</summary>
public interface IDmsDecisionSource
{
    /// <summary>What <see cref="DmsPolicy"/> is called with these decisions, on the command line and in statistics: never as with those of a model.</summary>
    string PolicyName => "dms-given";

    /// <summary>Whether the row of <paramref name="token"/> at <paramref name="position"/> evicts the token that it decides about. Must not allocate.</summary>
    bool Evicts(int layer, int kvHead, int position, int token);
}
