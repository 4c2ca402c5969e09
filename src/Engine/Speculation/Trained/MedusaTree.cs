namespace Foretoken.Speculation.Trained;

/// <summary>
/// Which combinations of the heads' candidates Medusa verifies: a node is the path of ranks that leads to it, (0, 1) the second candidate of the second head behind
/// the first candidate of the first. Children of a node are always the first ranks, and nodes stand in the order in which they are worth verifying, parents first.
/// </summary>
public sealed class MedusaTree
{
    /// <summary>Most candidates of a head that trees look at.</summary>
    public const int MaxRanks = 10;

    private MedusaTree(int[] parents, int[] depths, int[] ranks) => (Parents, Depths, Ranks) = (parents, depths, ranks);

    /// <summary>The published tree of 63 nodes (FasterDecoding/Medusa), which needs no measurement: 10, 28, 23 and 2 nodes at the depths 1 to 4.</summary>
    public static MedusaTree Default { get; } = FromChildCounts(ranks => ranks switch
    {
        [] => 10,
        [0] => 10,
        [1] => 7,
        [2] => 3,
        [3] => 2,
        [>= 4 and <= 9] => 1,
        [0, 0] => 10,
        [0, 1] => 3,
        [0, 2] => 2,
        [0, >= 3 and <= 7] => 1,
        [1, 0] => 2,
        [2, 0] => 1,
        [0, 0, 0] => 2,
        _ => 0,
    });

    /// <summary>Node of each node's parent, −1 below the root. // [nodes]</summary>
    public IReadOnlyList<int> Parents { get; }

    /// <summary>1 for the first head's candidates. // [nodes]</summary>
    public IReadOnlyList<int> Depths { get; }

    /// <summary>Rank among the candidates of head depth − 1, 0 = the likeliest. // [nodes]</summary>
    public IReadOnlyList<int> Ranks { get; }

    /// <summary>Nodes, the root not counted.</summary>
    public int Count => Parents.Count;

    /// <summary>Depth of the deepest node: heads that the tree needs.</summary>
    public int Depth => Depths.Max();

    /// <summary>
    /// The tree with the largest expected number of accepted tokens if heads are right independently: begins with the best candidate and takes the next sibling or the
    /// first child that is likeliest to be right.
    /// </summary>
    /// <param name="accuracies">Per head, how often the candidate of each rank was the token that came. // [heads][ranks]</param>
    /// <param name="nodes">Nodes of the tree.</param>
    public static MedusaTree Build(IReadOnlyList<IReadOnlyList<double>> accuracies, int nodes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(nodes, 1);
        if (accuracies.Count == 0 || accuracies.Any(a => a.Count == 0)) throw new ArgumentException("Every head needs the accuracy of at least one rank.", nameof(accuracies));
        int[] parents = new int[nodes], depths = new int[nodes], ranks = new int[nodes];
        var values = new double[nodes];
        var open = new List<Place>(); // where a node may come next, in the order of arrival
        int count = 0;
        Open(-1, 1, 0);
        for (; count < nodes && open.Count > 0; count++)
        {
            int best = 0;
            for (int i = 1; i < open.Count; i++) best = open[i].Value > open[best].Value ? i : best;
            Place next = open[best];
            open.RemoveAt(best);
            (parents[count], depths[count], ranks[count], values[count]) = (next.Parent, next.Depth, next.Rank, next.Value);
            Open(next.Parent, next.Depth, next.Rank + 1);
            Open(count, next.Depth + 1, 0);
        }

        return new MedusaTree(parents[..count], depths[..count], ranks[..count]);

        void Open(int parent, int depth, int rank)
        {
            if (depth > accuracies.Count || rank >= Math.Min(MaxRanks, accuracies[depth - 1].Count)) return;
            double value = (parent < 0 ? 1 : values[parent]) * accuracies[depth - 1][rank];
            if (value > 0) open.Add(new Place(parent, depth, rank, value));
        }
    }

    /// <summary>The same tree without what is deeper than <paramref name="depth"/> or beyond rank <paramref name="ranks"/>.</summary>
    public MedusaTree Limit(int depth, int ranks)
    {
        var places = new int[Count]; // in the new tree; -1 = left out
        int kept = 0;
        for (int n = 0; n < Count; n++)
            places[n] = Depths[n] <= depth && Ranks[n] < ranks && (Parents[n] < 0 || places[Parents[n]] >= 0) ? kept++ : -1;
        int[] newParents = new int[kept], newDepths = new int[kept], newRanks = new int[kept];
        for (int n = 0; n < Count; n++)
        {
            if (places[n] < 0) continue;
            (newParents[places[n]], newDepths[places[n]], newRanks[places[n]]) = (Parents[n] < 0 ? -1 : places[Parents[n]], Depths[n], Ranks[n]);
        }

        return new MedusaTree(newParents, newDepths, newRanks);
    }

    private static MedusaTree FromChildCounts(Func<int[], int> children)
    {
        List<int> parents = [-1], depths = [0], ranks = [0];
        List<int[]> paths = [[]];
        for (int node = 0; node < paths.Count; node++)
        {
            for (int rank = 0; rank < children(paths[node]); rank++)
            {
                parents.Add(node - 1); // the root is no node of the tree
                depths.Add(depths[node] + 1);
                ranks.Add(rank);
                paths.Add([.. paths[node], rank]);
            }
        }

        return new MedusaTree([.. parents[1..]], [.. depths[1..]], [.. ranks[1..]]);
    }

    /// <summary>Where a node may come next: its parent, depth and rank, and how likely its path is right. A class, for which generic code is compiled already.</summary>
    private sealed record Place(int Parent, int Depth, int Rank, double Value);
}
