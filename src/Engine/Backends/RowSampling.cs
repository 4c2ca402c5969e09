namespace Foretoken.Backends;

/// <summary>How a row's logits become a token, where a device does that: the stages temperature, top-k, top-p, min-p and a draw.</summary>
/// <param name="IsPlanned">False: the host samples the row.</param>
/// <param name="Temperature">0 = the most likely token.</param>
/// <param name="TopK">0 = all.</param>
/// <param name="TopP">1 = all.</param>
/// <param name="MinP">0 = all.</param>
/// <param name="Seed">Names the random numbers.</param>
/// <param name="Position">Position of the new token: which random number is drawn.</param>
/// <param name="LogProb">Whether its log-probability under the model's own distribution is wanted.</param>
public readonly record struct RowSampling(
    bool IsPlanned, float Temperature, int TopK, float TopP, float MinP, ulong Seed, int Position, bool LogProb);
