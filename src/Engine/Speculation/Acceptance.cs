namespace Foretoken.Speculation;

/// <summary>What verification made of one tree.</summary>
/// <param name="Tree">Index of the tree in the <see cref="TokenForest"/>.</param>
/// <param name="Sequence">The cache's index of the sequence.</param>
/// <param name="AcceptedRows">Rows to commit: the root and the accepted drafts.</param>
/// <param name="NewTokens">Tokens added to the path: the accepted drafts and the bonus token.</param>
/// <param name="ValidLogits">False if the walk met logits without a distribution; the tokens before stay valid.</param>
public readonly record struct Acceptance(int Tree, int Sequence, int AcceptedRows, int NewTokens, bool ValidLogits);
