namespace Foretoken.Sampling;

/// <summary>Keeps tokens at least min-p times as likely as the most likely one. (Nguyen et al., "Turning up the heat: min-p sampling", 2024.)</summary>
public sealed class MinPStage : ISamplerStage
{
    /// <inheritdoc/>
    public string Name => "min-p";

    /// <inheritdoc/>
    public bool Applies(SamplingOptions options) => !options.IsGreedy && options.MinP > 0;

    /// <inheritdoc/>
    public void Apply(Candidates candidates, SamplingOptions options, TokenHistory path) => candidates.KeepWeight(options.MinP);
}
