namespace Foretoken.Sampling;

/// <summary>
/// One step of the sampler pipeline: narrows or reweights the candidates as a function of (logits, path of tokens, options) and of nothing else, so
/// that a token's choice does not depend on how it was computed, drafted or batched. One file per stage; registered in <see cref="Sampler"/>.
/// Must not allocate.
/// </summary>
public interface ISamplerStage
{
    /// <summary>The option's name, for example <c>top-k</c>.</summary>
    string Name { get; }

    /// <summary>Whether <paramref name="options"/> ask for this stage.</summary>
    bool Applies(SamplingOptions options);

    /// <summary>Narrows or reweights <paramref name="candidates"/> for the token that follows <paramref name="path"/>.</summary>
    void Apply(Candidates candidates, SamplingOptions options, TokenHistory path);
}
