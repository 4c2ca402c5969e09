namespace Foretoken.Sampling;

/// <summary>
/// Nucleus sampling: keeps the shortest list of most likely tokens whose probabilities, among the tokens that earlier stages left, reach p; the lowest
/// ids among equals. (Holtzman et al., "The curious case of neural text degeneration", 2020.)
/// </summary>
public sealed class TopPStage : ISamplerStage
{
    /// <inheritdoc/>
    public string Name => "top-p";

    /// <inheritdoc/>
    public bool Applies(SamplingOptions options) => !options.IsGreedy && options.TopP < 1;

    /// <inheritdoc/>
    public void Apply(Candidates candidates, SamplingOptions options, TokenHistory path) => candidates.KeepMass(options.TopP);
}
