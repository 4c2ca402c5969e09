namespace Foretoken.Training;

/// <summary>
/// Which row decides about a key and when the decision takes effect: the row at k + <paramref name="Shift"/> decides about key k, and rows more than
/// <paramref name="Lag"/> behind k obey.
/// </summary>
public readonly record struct EvictionRule(int Shift, int Lag)
{
    /// <summary>Dynamic Memory Sparsification (arXiv 2506.05345): the next row decides, rows up to k + <paramref name="window"/> still see the key.</summary>
    public static EvictionRule Delayed(int window) => new(1, window);

    /// <summary>The row at k + <paramref name="window"/> decides, and is the first that does not see the key: the same tokens live, nobody is warned.</summary>
    public static EvictionRule ImmediatePast(int window) => new(window, window - 1);

    /// <summary>Every row decides about itself, and no later row sees it.</summary>
    public static EvictionRule ImmediateSelf => new(0, 0);

    /// <summary>A plain window, where every key is evicted when it is more than <paramref name="window"/> rows old.</summary>
    public static EvictionRule Window(int window) => new(0, window);

    /// <summary>Number of keys that are decided about in a sequence of <paramref name="length"/> rows.</summary>
    public int Decisions(int length) => Math.Max(0, length - Shift);
}

/// <summary>Where the decision logits come from.</summary>
public enum DecisionSource
{
    /// <summary>Nobody decides; with hard decisions everything is evicted, which is a plain window.</summary>
    None,

    /// <summary>A norm and a projection of the residual stream that enters the layer, per KV head.</summary>
    Adapter,

    /// <summary>The last channel of the first query head of each group, after the q norm, which attention then loses.</summary>
    Neuron,
}

/// <summary>How logits become evictions.</summary>
public enum DecisionMode
{
    /// <summary>Gumbel-sigmoid relaxation, with random numbers by the seed.</summary>
    Relaxed,

    /// <summary>Evicted where the logit is positive, as in inference.</summary>
    Hard,

    /// <summary>Nothing is evicted.</summary>
    Off,
}

/// <summary>Constants of the decisions; names and defaults are those of the configuration keys dms_*.</summary>
public sealed record EvictionSettings
{
    /// <summary>Source of the logits.</summary>
    public DecisionSource Source { get; init; } = DecisionSource.Adapter;

    /// <summary>Who decides when.</summary>
    public EvictionRule Rule { get; init; } = EvictionRule.Delayed(16);

    /// <summary>dms_alpha_scale: logit = scale · projection − offset.</summary>
    public float Scale { get; init; } = 100f;

    /// <summary>dms_initial_alpha_offset.</summary>
    public float Offset { get; init; } = 5f;

    /// <summary>dms_tau: temperature of the relaxation.</summary>
    public float Temperature { get; init; } = 0.1f;
}
