using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>One tree that a drafter may fill in this step.</summary>
/// <param name="Tree">Index of the tree in the <see cref="TokenForest"/>; its root is the last sampled token.</param>
/// <param name="Sequence">The cache's index of the sequence, stable from its admission until <see cref="IDrafter.Release"/>.</param>
/// <param name="Path">Prompt and answer up to and including the root.</param>
/// <param name="MaxNodes">Most drafted nodes that the tree may get.</param>
/// <param name="MaxDepth">Most drafted nodes of one path.</param>
public readonly record struct DraftRequest(int Tree, int Sequence, TokenHistory Path, int MaxNodes, int MaxDepth);
