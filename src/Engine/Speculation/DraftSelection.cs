using Foretoken.Memory;

namespace Foretoken.Speculation;

/// <summary>
/// The trees of several drafters merged by path, every node with the estimated probability that its whole path is right, and the choice of the nodes to
/// verify. A node is never likelier than its parent, so the n likeliest nodes of all trees form trees themselves, and among all trees of n nodes they have
/// the largest expected number of accepted tokens: what the dynamic programme over ranks finds (Sequoia, Chen et al., 2024), for the whole batch at once.
/// </summary>
internal sealed class DraftSelection
{
    /// <summary>Tokens by which the drafts of a sequence must be expected to beat plain decoding: the best of many estimates is too good on average.</summary>
    private const double Margin = 0.05;
    private const double LeastGain = 0.015; // of what several sequences bring without drafts: less is within what costs are known to
    private readonly TokenForest _merged;
    private readonly float[] _path;     // [nodes] probability that the node and all before it are right
    private readonly float[] _likely;   // [nodes] the same, siblings excluding each other
    private readonly byte[] _sources;   // [nodes] drafter that made the node as likely as it is
    private readonly bool[] _chosen;    // [nodes]
    private readonly int[] _places;     // [nodes] node of the other forest
    private readonly ulong[] _order;    // [nodes] the likeliest first: inverted bits of the probability, then the node
    private readonly int[] _perTree;    // [trees]

    public DraftSelection(int maxTrees, int maxNodes, MemoryPlan plan)
    {
        _merged = new TokenForest(maxTrees, maxNodes + maxTrees);
        int nodes = maxNodes + maxTrees;
        (_path, _likely, _sources, _chosen) = (new float[nodes], new float[nodes], new byte[nodes], new bool[nodes]);
        (_places, _order, _perTree) = (new int[nodes], new ulong[nodes], new int[maxTrees]);
        plan.Add("speculation", "merged drafts", $"[nodes {nodes}]", nodes * 62L);
    }

    public int Count => _merged.Count;

    /// <summary>Opens a tree per request.</summary>
    public void Begin(ReadOnlySpan<DraftRequest> requests)
    {
        _merged.Clear();
        foreach (DraftRequest r in requests)
        {
            int root = _merged.Root(_merged.AddTree(r.Path.Last));
            _path[root] = 1;
            _chosen[root] = true;
        }
    }

    /// <summary>Adds one drafter's trees.</summary>
    public void Merge(ReadOnlySpan<DraftRequest> requests, TokenForest drafts, AcceptanceModel acceptance, byte source)
    {
        for (int t = 0; t < requests.Length; t++)
        {
            int root = drafts.Root(t);
            _places[root] = _merged.Root(t);
            for (int node = drafts.Next(root); node >= 0; node = drafts.Next(node))
            {
                int parent = _places[drafts.Parent(node)], before = _merged.Count, place = parent < 0 ? -1 : _merged.Add(parent, drafts.Token(node));
                _places[node] = place;
                if (place < 0) continue;
                float path = _path[parent] * acceptance.Estimate(drafts.Confidence(node), drafts.Depth(node), requests[t].Sequence);
                if (place < before && _path[place] >= path) continue;
                (_path[place], _sources[place], _chosen[place]) = (path, source, false);
            }
        }
    }

    /// <summary>Chooses the nodes that bring most tokens per tick.</summary>
    /// <param name="requests">The trees' limits.</param>
    /// <param name="costs">What passes cost.</param>
    /// <param name="keysPerRow">Keys that a further row reads.</param>
    /// <param name="keys">Keys that the roots read.</param>
    /// <param name="spent">Ticks that drafting took.</param>
    /// <param name="stake">Ticks over those of plain decoding that verifying may risk.</param>
    /// <returns>The choice.</returns>
    public Choice Choose(ReadOnlySpan<DraftRequest> requests, PacedCostModel costs, double keysPerRow, double keys, double spent, double stake = double.PositiveInfinity)
    {
        int candidates = 0, roots = requests.Length;
        Exclude();
        for (int node = 0; node < _merged.Count; node++)
        {
            if (_merged.Parent(node) < 0) continue;
            _chosen[node] = false;
            _order[candidates++] = (ulong)~BitConverter.SingleToUInt32Bits(_likely[node]) << 32 | (uint)node;
        }

        _order.AsSpan(0, candidates).Sort();
        _perTree.AsSpan(0, roots).Clear();
        double plain = spent + costs.PredictPlain(roots, keys), tokens = roots, bestTokens = roots, bestTicks = plain;
        int kept = 0, best = 0, drafted = 0, bestDrafted = 0; // drafted: sequences
        for (int i = 0; i < candidates; i++)
        {
            int node = (int)(uint)_order[i], tree = _merged.TreeOf(node);
            DraftRequest request = requests[tree];
            if (_perTree[tree] >= request.MaxNodes || _merged.Depth(node) > request.MaxDepth) continue;
            double ticks = Math.Max(plain, spent + costs.Predict(roots + kept + 1, keys + (kept + 1) * keysPerRow)); // where more rows seem to take less, the roots seem to take too long
            if (ticks - plain > stake) break;
            drafted += _perTree[tree]++ == 0 ? 1 : 0;
            tokens += _likely[node];
            _order[kept++] = _order[i];
            if (tokens * bestTicks <= bestTokens * ticks) continue;
            (bestTokens, bestTicks, best, bestDrafted) = (tokens, ticks, kept, drafted);
        }

        if (bestTokens * plain < (roots + Math.Max(Margin * bestDrafted, bestDrafted > 1 ? LeastGain * roots : 0)) * bestTicks) (best, bestTokens, bestTicks) = (0, roots, plain);
        for (int i = 0; i < best; i++) _chosen[(int)(uint)_order[i]] = true;
        return new Choice(best, bestTokens, bestTicks);
    }

    /// <summary>
    /// Of siblings at most one is right: what one drafter is sure of leaves little for what others propose instead, however often they were right where all agreed.
    /// </summary>
    private void Exclude()
    {
        for (int node = 0; node < _merged.Count; node++)
        {
            int parent = _merged.Parent(node);
            if (parent < 0 || _path[parent] <= 0)
            {
                _likely[node] = parent < 0 ? 1 : 0;
                continue;
            }

            float best = 0;
            for (int sibling = _merged.FirstChild(parent); sibling >= 0; sibling = _merged.NextSibling(sibling)) best = sibling == node ? best : Math.Max(best, _path[sibling]);
            float own = _path[node] <= best ? Math.Min(_path[node], _path[parent] - best) : _path[node];
            _likely[node] = _likely[parent] * own / _path[parent];
        }
    }

    /// <summary>Adds the chosen nodes to the forest that is verified, parents first.</summary>
    public void CopyTo(TokenForest forest)
    {
        for (int t = 0; t < _merged.TreeCount; t++)
        {
            int root = _merged.Root(t);
            _places[root] = forest.Root(t);
            for (int node = _merged.Next(root); node >= 0; node = _merged.Next(node))
            {
                int parent = _places[_merged.Parent(node)];
                forest.AddingSource = _sources[node];
                _places[node] = parent >= 0 && _chosen[node] ? forest.Add(parent, _merged.Token(node), _likely[node]) : -1;
            }
        }
    }

    /// <summary>Expected tokens of the chosen nodes that are a drafter's, and how many they are.</summary>
    public (double Tokens, int Nodes) ChosenOf(byte source)
    {
        double tokens = 0;
        int nodes = 0;
        for (int node = 0; node < _merged.Count; node++)
        {
            if (_merged.Parent(node) < 0 || !_chosen[node] || _sources[node] != source) continue;
            tokens += _likely[node];
            nodes++;
        }

        return (tokens, nodes);
    }

    /// <summary>Counts, per drafter, the nodes on an accepted path.</summary>
    public void CountAccepted(int tree, ReadOnlySpan<int> accepted, Span<long> counts)
    {
        int node = _merged.Root(tree);
        foreach (int token in accepted)
        {
            node = _merged.FindChild(node, token);
            if (node < 0) return;
            counts[_sources[node]]++;
        }
    }
}

/// <summary>Nodes to verify.</summary>
/// <param name="Nodes">How many; 0 = plain decoding.</param>
/// <param name="Tokens">Tokens that the step is expected to bring, over all sequences.</param>
/// <param name="Ticks">Time that it is expected to take, drafting included.</param>
internal readonly record struct Choice(int Nodes, double Tokens, double Ticks)
{
    public double Rate => Tokens / Ticks;
}
