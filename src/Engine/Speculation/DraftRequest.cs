using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>One tree that a drafter may fill in this step.</summary>
/// <param name="Tree">Index of the tree in the <see cref="TokenForest"/>; its root is the last sampled token.</param>
/// <param name="Sequence">
/// The cache's index of the sequence, stable from its first request until <see cref="IDrafter.Release"/>. A preempted sequence is released and comes
/// back under another index with its path as it was: a drafter with a cache of its own reads the path again.
/// </param>
/// <param name="Path">Prompt and answer up to and including the root.</param>
/// <param name="Sampling">How the sequence chooses its tokens.</param>
/// <param name="MaxNodes">Most drafted nodes that the tree may get.</param>
/// <param name="MaxDepth">Most drafted nodes of one path.</param>
/// <param name="MinProbability">Paths that a drafter thinks less likely than this are not worth a pass of a model.</param>
public readonly record struct DraftRequest(int Tree, int Sequence, TokenHistory Path, SamplingOptions Sampling, int MaxNodes, int MaxDepth, float MinProbability = 0);
