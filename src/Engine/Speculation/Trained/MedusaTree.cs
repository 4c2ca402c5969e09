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
        List<int> parents = [], depths = [], ranks = [];
        List<double> values = [];
        var open = new PriorityQueue<(int Parent, int Depth, int Rank), (double, int)>(); // dearest first, then in the order of arrival
        int arrivals = 0;
        Open(-1, 1, 0);
        while (parents.Count < nodes && open.TryDequeue(out var next, out var key))
        {
            int node = parents.Count;
            parents.Add(next.Parent);
            depths.Add(next.Depth);
            ranks.Add(next.Rank);
            values.Add(-key.Item1);
            Open(next.Parent, next.Depth, next.Rank + 1);
            Open(node, next.Depth + 1, 0);
        }

        return new MedusaTree([.. parents], [.. depths], [.. ranks]);

        void Open(int parent, int depth, int rank)
        {
            if (depth > accuracies.Count || rank >= Math.Min(MaxRanks, accuracies[depth - 1].Count)) return;
            double value = (parent < 0 ? 1 : values[parent]) * accuracies[depth - 1][rank];
            if (value > 0) open.Enqueue((parent, depth, rank), (-value, arrivals++));
        }
    }

    /// <summary>The same tree without what is deeper than <paramref name="depth"/> or beyond rank <paramref name="ranks"/>.</summary>
    public MedusaTree Limit(int depth, int ranks)
    {
        int[] kept = [.. Enumerable.Range(0, Count).Where(IsKept)];
        return new MedusaTree(
            [.. kept.Select(n => Parents[n] < 0 ? -1 : Array.IndexOf(kept, Parents[n]))], [.. kept.Select(n => Depths[n])], [.. kept.Select(n => Ranks[n])]);

        bool IsKept(int node) => node < 0 || (Depths[node] <= depth && Ranks[node] < ranks && IsKept(Parents[node]));
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
}
