namespace Foretoken.Generation;

/// <summary>A finished answer.</summary>
/// <param name="Text">Its text, without stop token and stop string; empty for an engine without tokenizer.</param>
/// <param name="Tokens">Its tokens, a stop token and the tokens of a stop string included.</param>
/// <param name="LogProbs">Natural log-probability of each token, where asked for; else empty.</param>
/// <param name="FinishReason">Why it ended.</param>
/// <param name="Statistics">Counts and times.</param>
public sealed record GenerationResult(
    string Text, IReadOnlyList<int> Tokens, IReadOnlyList<float> LogProbs, FinishReason FinishReason, GenerationStatistics Statistics);
