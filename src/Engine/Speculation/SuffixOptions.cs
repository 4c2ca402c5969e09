namespace Foretoken.Speculation;

/// <summary>What a <see cref="SuffixDrafter"/> remembers and how boldly it drafts.</summary>
public sealed record SuffixOptions : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "suffix";

    /// <inheritdoc/>
    public override int MaxNodes => Nodes;

    /// <summary>Most drafted nodes of a tree.</summary>
    public int Nodes { get; init; } = 16;

    /// <summary>Most drafts of one path.</summary>
    public int Depth { get; init; } = 12;

    /// <summary>Shortest repetition that is trusted.</summary>
    public int MinMatch { get; init; } = 2;

    /// <summary>Longest repetition that is told apart from longer ones.</summary>
    public int MaxMatch { get; init; } = 24;

    /// <summary>
    /// Looks at words and layout apart, where the model has a tokenizer: a value comes back in another notation, a line with other values. False: trees of repeated tokens.
    /// </summary>
    public bool Words { get; init; } = true;

    /// <summary>A draft is proposed if the estimated probability of its whole path is at least this.</summary>
    public float MinProbability { get; init; } = 0.25f;

    /// <summary>Occurrences that are looked at, the most recent ones, in the request and in the store each.</summary>
    public int MaxOccurrences { get; init; } = 24;

    /// <summary>Tokens of ended requests that are remembered for later ones, the oldest forgotten first; 0 = none.</summary>
    public int StoredTokens { get; init; } = 1 << 16;

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context) => new SuffixDrafter(this, context);

    internal void Validate()
    {
        CheckNodes();
        ArgumentOutOfRangeException.ThrowIfLessThan(Depth, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MinMatch, SuffixIndex.KeyTokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxMatch, MinMatch);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxOccurrences, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(StoredTokens);
        if (!(MinProbability > 0 && MinProbability <= 1)) throw new ArgumentException($"MinProbability is {MinProbability}: it must be above 0 and at most 1.");
    }
}
