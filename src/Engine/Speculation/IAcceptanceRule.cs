using Foretoken.Models;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Decides which drafts of a verified tree become part of the answer and which token follows them. One file per rule; allocates nothing. A rule is
/// lossless if its tokens follow the model's own distribution after the sampler's stages.
/// </summary>
public interface IAcceptanceRule
{
    /// <summary>The name that options and statistics use, for example <c>sample-and-match</c>.</summary>
    string Name { get; }

    /// <summary>Whether its tokens do not follow the model's distribution.</summary>
    bool IsLossy => false;

    /// <summary>Whether drafters that can should draw their drafts at random and say from which distribution.</summary>
    bool UsesDraftDistributions => false;

    /// <summary>
    /// The walk goes on at the child that proposes the token sampled at a node, and nowhere else: a device may then sample all nodes and walk itself.
    /// </summary>
    bool FollowsSamples => false;

    /// <summary>
    /// Walks one tree from its root, appends the accepted drafts and the token that follows them to the request's path, and stops where the answer ends,
    /// so that nothing is appended, committed or counted that plain decoding would not have produced.
    /// </summary>
    /// <param name="tree">The tree, its logits and its path, which ends with the tree's root.</param>
    /// <param name="acceptedRows">Receives the rows to commit in path order: the root's and the accepted drafts'. // [1 + depth]</param>
    Acceptance Walk(in VerifiedTree tree, Span<int> acceptedRows);
}

/// <summary>Says where an answer ends. It is told every token once, in order.</summary>
public interface IAnswerEnd
{
    /// <summary>Takes the next token of the answer.</summary>
    /// <returns>True if the answer ends with it.</returns>
    bool Accept(int token);
}

/// <summary>A tree whose rows the model has run.</summary>
/// <param name="forest">Trees placed in the pass that <paramref name="model"/> just ran.</param>
/// <param name="request">The tree, its path and the sequence's sampling options.</param>
/// <param name="model">Holds the logits.</param>
/// <param name="sampler">The pipeline.</param>
/// <param name="end">The sequence's stop conditions.</param>
public readonly ref struct VerifiedTree(TokenForest forest, in DraftRequest request, Transformer model, Sampler sampler, IAnswerEnd end)
{
    private readonly DraftRequest _request = request;

    /// <summary>The trees of the pass, this one among them.</summary>
    public TokenForest Forest => forest;

    /// <summary>The tree, the path behind which it grows, and how its tokens are chosen.</summary>
    public DraftRequest Request => _request;

    /// <summary>Draws the token that follows the path after <paramref name="node"/>, exactly as plain decoding would.</summary>
    /// <returns>False if the node's logits are no distribution.</returns>
    public bool TrySample(int node, out SampledToken sampled)
    {
        int index = forest.LogitIndex(node);
        if (!model.TryGetSample(index, out int token, out float logProb))
            return sampler.TrySample(model.LogitsOf(index), _request.Sampling, _request.Path, out sampled);
        sampled = new SampledToken(token, logProb);
        return token >= 0;
    }

    /// <summary>The distribution, after the sampler's stages, of the token that follows the path after <paramref name="node"/>.</summary>
    /// <param name="node">A node of the tree.</param>
    /// <param name="probabilities">Receives it. // [vocab]</param>
    /// <param name="temperature">Another temperature than the sequence's; 0 = the sequence's.</param>
    /// <returns>False if the node's logits are no distribution.</returns>
    public bool TryDistribution(int node, Span<double> probabilities, float temperature = 0) =>
        sampler.TryDistribution(model.LogitsOf(forest.LogitIndex(node)), _request.Sampling, _request.Path, probabilities, temperature);

    /// <summary>A token chosen behind <paramref name="node"/> with its log-probability, if that is asked for.</summary>
    public SampledToken WithLogProb(int node, int token) =>
        new(token, _request.Sampling.LogProbs ? Sampler.LogProb(model.LogitsOf(forest.LogitIndex(node)), token) : 0);

    /// <summary>Appends a token to the path.</summary>
    /// <returns><see cref="AcceptanceEnd.Tree"/> if the answer may go on, else why it ends.</returns>
    public AcceptanceEnd Append(in SampledToken token)
    {
        _request.Path.Append(token.Token, token.LogProb);
        if (end.Accept(token.Token)) return AcceptanceEnd.Stop;
        return _request.Path.Count == _request.Path.Capacity ? AcceptanceEnd.Length : AcceptanceEnd.Tree;
    }
}
