using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// The default rule. At each node the next token is sampled exactly as plain decoding would (same logits by row invariance, same path, same
/// random number of seed and position); if a child proposes that very token the walk goes on there, else it ends. So the output equals plain decoding's
/// token by token, for any drafter and any tree; the last sampled token, which no child proposed, is the bonus. At temperature 0 it is greedy
/// verification: a draft is accepted if it is the most likely token. For one-hot proposals it is also the chain rule of Leviathan et al., "Fast inference
/// from transformers via speculative decoding" (2023).
/// </summary>
public sealed class SampleAndMatch : IAcceptanceRule
{
    /// <inheritdoc/>
    public string Name => "sample-and-match";

    /// <inheritdoc/>
    public bool FollowsSamples => true;

    /// <inheritdoc/>
    public Acceptance Walk(in VerifiedTree tree, Span<int> acceptedRows)
    {
        TokenForest forest = tree.Forest;
        int accepted = 0, newTokens = 0, node = forest.Root(tree.Request.Tree);
        var end = AcceptanceEnd.Tree;
        while (node >= 0)
        {
            acceptedRows[accepted++] = forest.Row(node);
            if (!tree.TrySample(node, out SampledToken sampled))
            {
                end = AcceptanceEnd.InvalidLogits;
                break;
            }

            newTokens++;
            end = tree.Append(sampled);
            node = end == AcceptanceEnd.Tree ? forest.FindChild(node, sampled.Token) : -1;
        }

        return new Acceptance(tree.Request.Tree, tree.Request.Sequence, accepted, newTokens, end);
    }
}
