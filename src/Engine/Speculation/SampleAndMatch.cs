using Foretoken.Models;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// The default acceptance rule. At each node the next token is sampled exactly as plain decoding would (same logits by row invariance, same path, same
/// random number of seed and position); if a child proposes that very token the walk goes on there, else it ends. So the output equals plain decoding's
/// token by token, for any drafter and any tree, greedy or sampled; the last sampled token, which no child proposed, is the bonus.
/// For one-hot proposals this is also the chain rule of Leviathan et al., "Fast inference from transformers via speculative decoding" (2023).
/// </summary>
public static class SampleAndMatch
{
    /// <summary>Walks one tree and appends the accepted drafts and the bonus token to the request's path.</summary>
    /// <param name="forest">Trees placed in the pass that <paramref name="model"/> just ran.</param>
    /// <param name="request">The tree and its path, which ends with the tree's root.</param>
    /// <param name="model">Holds the logits.</param>
    /// <param name="sampler">The pipeline.</param>
    /// <param name="options">The sequence's options.</param>
    /// <param name="maxTokens">Most tokens to append, at least 1.</param>
    /// <param name="acceptedRows">Receives the rows to commit in path order: the root's and the accepted drafts'. // [1 + depth]</param>
    public static Acceptance Walk(
        TokenForest forest, in DraftRequest request, Transformer model, Sampler sampler, SamplingOptions options, int maxTokens, Span<int> acceptedRows)
    {
        int accepted = 0, sampledTokens = 0;
        bool valid = true;
        for (int node = forest.Root(request.Tree); node >= 0;)
        {
            acceptedRows[accepted++] = forest.Row(node);
            valid = sampler.TrySample(model.LogitsOf(forest.LogitIndex(node)), options, request.Path, out SampledToken sampled);
            if (!valid) break;
            request.Path.Append(sampled.Token, sampled.LogProb);
            if (++sampledTokens == maxTokens) break;
            node = forest.FindChild(node, sampled.Token);
        }

        return new Acceptance(request.Tree, request.Sequence, accepted, sampledTokens, valid);
    }
}
