namespace Foretoken.Sampling;

/// <summary>Keeps the k most likely tokens, the lowest ids among equals. (Fan et al., "Hierarchical neural story generation", 2018.)</summary>
public sealed class TopKStage : ISamplerStage
{
    /// <inheritdoc/>
    public string Name => "top-k";

    /// <inheritdoc/>
    public bool Applies(SamplingOptions options) => !options.IsGreedy && options.TopK > 0;

    /// <inheritdoc/>
    public void Apply(Candidates candidates, SamplingOptions options, TokenHistory path) => candidates.KeepBest(options.TopK);
}
