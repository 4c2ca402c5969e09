using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Seam;

/// <summary>Defects that are planted to see that the matrix finds them.</summary>
public enum SeamDefect
{
    None,

    /// <summary>The cache keeps the row of a rejected sibling in place of the last accepted draft's.</summary>
    SiblingsRow,

    /// <summary>The window closes when a pass is committed, not for every row of it.</summary>
    WindowByPass,

    /// <summary>The log-probability of accepted drafts is off by its last bit.</summary>
    LogProbBit,
}

/// <summary>Sample-and-match with a defect.</summary>
internal sealed class PlantedRule(SeamDefect defect) : IAcceptanceRule
{
    public string Name => $"sample-and-match with {defect}";

    public Acceptance Walk(in VerifiedTree tree, Span<int> acceptedRows)
    {
        TokenForest forest = tree.Forest;
        int accepted = 0, newTokens = 0, node = forest.Root(tree.Request.Tree), last = node;
        var end = AcceptanceEnd.Tree;
        while (node >= 0)
        {
            acceptedRows[accepted++] = forest.Row(last = node);
            Assert.True(tree.TrySample(node, out SampledToken sampled));
            int child = forest.FindChild(node, sampled.Token);
            if (defect == SeamDefect.LogProbBit && child >= 0) sampled = sampled with { LogProb = float.BitDecrement(sampled.LogProb) };
            newTokens++;
            end = tree.Append(sampled);
            node = end == AcceptanceEnd.Tree ? child : -1;
        }

        if (defect == SeamDefect.SiblingsRow && accepted > 1) acceptedRows[accepted - 1] = forest.Row(SiblingOf(last, forest));
        return new Acceptance(tree.Request.Tree, tree.Request.Sequence, accepted, newTokens, end);
    }

    private static int SiblingOf(int node, TokenForest forest)
    {
        for (int other = forest.Next(forest.Parent(node)); other >= 0; other = forest.Next(other))
        {
            if (other != node && forest.Parent(other) == forest.Parent(node)) return other;
        }

        return node;
    }
}

/// <summary>A sliding window that shuts at commit: the rows of one pass all see what the first of them sees.</summary>
internal sealed class WindowByPass(int tokens) : IEvictionPolicy
{
    public string Name => "window by pass";

    public bool Evicts => true;

    public bool ActsAtCommit => true;

    public void OnCommit(in CommittedHead head)
    {
        for (int slot = 0; slot < head.Count; slot++)
        {
            if (head.PositionOf(slot) + tokens - 1 < head.NextPosition) head.SetExpire(slot, head.NextPosition - 1);
        }
    }
}
