using Foretoken.Backends;

namespace Foretoken.Speculation;

/// <summary>How often an <see cref="OracleDrafter"/> is right and what its trees look like.</summary>
public sealed record OracleOptions
{
    /// <summary>Tokens of the model's vocabulary, from which wrong ones are drawn.</summary>
    public required int VocabSize { get; init; }

    /// <summary>Probability a that the draft of a position is right, independently of the others: (1 − a^(K+1)) / (1 − a) tokens per step with K drafts.</summary>
    public double Acceptance { get; init; } = 1;

    /// <summary>Drafts of the main path (K).</summary>
    public int Depth { get; init; } = 4;

    /// <summary>Wrong drafts beside each draft of the main path; 0 = a chain.</summary>
    public int Siblings { get; init; }

    /// <summary>Drafts of the path that begins with each sibling.</summary>
    public int SiblingDepth { get; init; } = 1;

    /// <summary>Names the random numbers that decide what is wrong.</summary>
    public ulong Seed { get; init; }

    /// <summary>Largest index of a sequence in the cache, plus 1.</summary>
    public int MaxSequences { get; init; } = 4096;

    /// <summary>Drafted nodes of a whole tree.</summary>
    public int Nodes => Depth * NodesPerLevel(Siblings);

    /// <exception cref="ArgumentException">An option is out of range, or the tree has more nodes than one pass verifies per sequence.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(VocabSize, 2);
        if (!(Acceptance >= 0 && Acceptance <= 1))
            throw new ArgumentOutOfRangeException(nameof(Acceptance), Acceptance, "The acceptance must be between 0 and 1.");
        ArgumentOutOfRangeException.ThrowIfLessThan(Depth, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(Siblings);
        ArgumentOutOfRangeException.ThrowIfLessThan(SiblingDepth, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxSequences, 1);
        if (Siblings > VocabSize - 2) throw new ArgumentException($"A vocabulary of {VocabSize} tokens has no {Siblings + 1} different wrong ones.");
        if ((long)Depth * (1 + (long)Siblings * SiblingDepth) >= RowBatch.MaxTreeRows)
        {
            throw new ArgumentException(
                $"Depth {Depth} with {Siblings} siblings of depth {SiblingDepth} needs more than {RowBatch.MaxTreeRows - 1} drafted nodes.");
        }
    }

    internal int NodesPerLevel(int siblings) => 1 + siblings * SiblingDepth;
}
