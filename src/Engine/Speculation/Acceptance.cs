namespace Foretoken.Speculation;

/// <summary>What verification made of one tree.</summary>
/// <param name="Tree">Index of the tree in the <see cref="TokenForest"/>.</param>
/// <param name="Sequence">The cache's index of the sequence.</param>
/// <param name="AcceptedRows">Rows to commit: the root and the accepted drafts. What a draft holds beyond the end of the answer is not accepted.</param>
/// <param name="NewTokens">Tokens added to the path: the accepted drafts and the last chosen token, which no draft was needed for.</param>
/// <param name="End">Whether the walk ended because the answer did.</param>
public readonly record struct Acceptance(int Tree, int Sequence, int AcceptedRows, int NewTokens, AcceptanceEnd End)
{
    /// <summary>Drafts that became part of the path: the rows without the root.</summary>
    public int AcceptedDrafts => AcceptedRows - 1;
}

/// <summary>Why a walk went no further.</summary>
public enum AcceptanceEnd
{
    /// <summary>No child proposed the chosen token; the answer goes on.</summary>
    Tree,

    /// <summary>The chosen token ends the answer: a stop token, or the last one of a stop string.</summary>
    Stop,

    /// <summary>The path is full.</summary>
    Length,

    /// <summary>A row's logits are no distribution; the tokens before it stay valid.</summary>
    InvalidLogits,
}
