namespace Foretoken.Speculation.Trained;

/// <summary>
/// The tree of EAGLE-2 (Li et al., 2024) for one sequence: every node of the frontier gets its likeliest children, all of them go to a pool with the probability
/// of their paths, the best of them are the next frontier; in the end the best of the pool are drafted. Planned once, refilled every step.
/// </summary>
/// <param name="width">Children of a node, and nodes of a frontier.</param>
/// <param name="depth">Most levels.</param>
internal sealed class DynamicTree(int width, int depth)
{
    private readonly Node[] _pool = new Node[width + Math.Max(0, depth - 1) * width * width];
    private readonly ulong[] _order = new ulong[width + Math.Max(0, depth - 1) * width * width]; // the likeliest first
    private readonly int[] _places = new int[width + Math.Max(0, depth - 1) * width * width];    // [pool] node of the forest
    private readonly float[] _sorted = new float[width + Math.Max(0, depth - 1) * width * width]; // paths, the likeliest first
    private readonly int[] _frontier = new int[width * depth]; // pool nodes that were or will be expanded, level by level
    private int _count, _levelFirst, _frontierCount, _frontierFirst;

    /// <summary>Bytes of a tree.</summary>
    public static long BytesOf(int width, int depth) => (width + Math.Max(0, depth - 1) * (long)width * width) * (16 + 8 + 4 + 4) + width * depth * 4L;

    /// <summary>Nodes that were or will be expanded, in the order of their levels, parents first.</summary>
    public int Expanded => _frontierCount;

    /// <summary>Index of the first node of the present frontier among the expanded ones.</summary>
    public int FrontierFirst => _frontierFirst;

    /// <summary>Probability that the token behind the drafts so far can be reached by expanding the frontier: the sum of its paths.</summary>
    public float FrontierMass { get; private set; }

    /// <summary>Levels of the pool.</summary>
    public int Levels { get; private set; }

    public void Clear() => _count = _levelFirst = _frontierCount = _frontierFirst = Levels = 0;

    /// <summary>Adds a child of an expanded node; the children of a level come one after the other.</summary>
    /// <param name="expanded">Index of the parent among the expanded nodes; −1 for the root.</param>
    /// <param name="token">The target's token; −1 = none, nothing is added.</param>
    /// <param name="probability">That it is right if its parent is.</param>
    public void AddChild(int expanded, int token, float probability)
    {
        if (token < 0) return;
        float path = expanded < 0 ? 1 : _pool[_frontier[expanded]].Path;
        _pool[_count++] = new Node(token, expanded, probability, path * probability);
    }

    /// <summary>Ends a level: its best nodes are the next frontier.</summary>
    /// <param name="least">Paths that are less likely than this are not expanded.</param>
    /// <returns>Nodes of the frontier.</returns>
    public int EndLevel(float least)
    {
        for (int n = _levelFirst; n < _count; n++) _order[n] = Key(n);
        _order.AsSpan(_levelFirst, _count - _levelFirst).Sort();
        _frontierFirst = _frontierCount;
        FrontierMass = 0;
        for (int i = _levelFirst; i < _count && _frontierCount - _frontierFirst < width; i++)
        {
            int node = (int)(uint)_order[i];
            if (_pool[node].Path < least || _frontierCount == _frontier.Length) break;
            _frontier[_frontierCount++] = node;
            FrontierMass += _pool[node].Path;
        }

        _levelFirst = _count;
        Levels++;
        return _frontierCount - _frontierFirst;
    }

    /// <summary>Parent of an expanded node among the expanded ones; −1 for a child of the root.</summary>
    public int ParentOf(int expanded) => _pool[_frontier[expanded]].Parent;

    /// <summary>The nodes above an expanded one, as bits over the expanded nodes.</summary>
    public void AncestorsOf(int expanded, Span<ulong> mask)
    {
        mask.Clear();
        for (int above = ParentOf(expanded); above >= 0; above = ParentOf(above)) mask[above >> 6] |= 1UL << (above & 63);
    }

    /// <summary>Token of an expanded node.</summary>
    public int TokenOf(int expanded) => _pool[_frontier[expanded]].Token;

    /// <summary>Drafts the likeliest nodes of the pool, parents first.</summary>
    /// <param name="forest">Receives them.</param>
    /// <param name="root">The tree's root.</param>
    /// <param name="nodes">Most nodes.</param>
    /// <param name="least">Paths that are less likely than this are left out.</param>
    /// <param name="paying">Says how many of them pay; null = all.</param>
    public void CopyTo(TokenForest forest, int root, int nodes, float least, PayingDrafts? paying = null)
    {
        for (int n = 0; n < _count; n++) _order[n] = Key(n);
        _order.AsSpan(0, _count).Sort(); // a node is never likelier than its parent and stands behind it
        nodes = Math.Min(nodes, _count);
        if (paying is not null)
        {
            for (int i = 0; i < nodes; i++) _sorted[i] = _pool[(int)(uint)_order[i]].Path;
            nodes = paying.Count(_sorted.AsSpan(0, nodes));
        }

        for (int i = 0; i < nodes; i++)
        {
            int n = (int)(uint)_order[i];
            Node node = _pool[n];
            if (!(node.Path > 0) || node.Path < least) return;
            int parent = node.Parent < 0 ? root : _places[_frontier[node.Parent]];
            _places[n] = parent < 0 ? -1 : forest.Add(parent, node.Token, node.Probability);
        }
    }

    private ulong Key(int node) => (ulong)~BitConverter.SingleToUInt32Bits(_pool[node].Path) << 32 | (uint)node;

    /// <summary>A scored child.</summary>
    /// <param name="Token">Token.</param>
    /// <param name="Parent">Its parent among the expanded nodes, or −1.</param>
    /// <param name="Probability">That it is right if its parent is.</param>
    /// <param name="Path">That it and all before it are.</param>
    private readonly record struct Node(int Token, int Parent, float Probability, float Path);
}
