namespace Foretoken.KvCache;

/// <summary>
/// Delayed eviction (Dynamic Memory Sparsification, arXiv 2506.05345): the row at position k + 1 decides whether the token at k is evicted; if so,
/// rows up to k + W still see it. The newest token's fate is pending: it counts as kept until the next row is committed.
/// </summary>
public sealed class DmsPolicy : IEvictionPolicy
{
    /// <param name="window">W, in positions; at least 1.</param>
    /// <param name="decisions">Who decides; null = the model, in the forward pass.</param>
    /// <param name="shift">
    /// The row at k + <paramref name="shift"/> decides about the token at k. 0 is the convention of FastDMS; <paramref name="window"/> is eviction without delay,
    /// in which a token is dropped as soon as it is decided about.
    /// </param>
    public DmsPolicy(int window, IDmsDecisionSource? decisions, int shift = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(window, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(shift);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(shift, window);
        DecisionWindow = window;
        DecisionShift = shift;
        Decisions = decisions;
    }

    /// <inheritdoc/>
    public string Name => Decisions?.PolicyName ?? "dms";

    /// <inheritdoc/>
    public bool Evicts => true;

    /// <inheritdoc/>
    public int DecisionWindow { get; }

    /// <inheritdoc/>
    public int DecisionShift { get; }

    /// <inheritdoc/>
    public IDmsDecisionSource? Decisions { get; }
}
