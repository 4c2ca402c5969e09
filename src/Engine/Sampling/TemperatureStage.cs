namespace Foretoken.Sampling;

/// <summary>Divides the logits by the temperature, relative to the best one (which changes no probability and keeps tiny temperatures finite).</summary>
public sealed class TemperatureStage : ISamplerStage
{
    /// <inheritdoc/>
    public string Name => "temperature";

    /// <summary>Always when sampling: later stages count on the best logit being 0.</summary>
    public bool Applies(SamplingOptions options) => !options.IsGreedy;

    /// <inheritdoc/>
    public void Apply(Candidates candidates, SamplingOptions options, TokenHistory path) => candidates.ScaleBelowBest(options.Temperature);
}
