using Foretoken.Memory;

namespace Foretoken.Speculation;

/// <summary>
/// The token trees of all sequences of one step. The root of a tree is the sequence's last sampled token, whose row is not in the cache yet; the other
/// nodes are drafts. Drafters may add nodes to several trees in turn: a tree's nodes are a linked list in the order of addition, parents first.
/// Proposing the same path twice gives the same node, so that several drafters' proposals merge by path. Planned once, refilled every step.
/// </summary>
public sealed class TokenForest
{
    private readonly int[] _tokens;       // [nodes]
    private readonly int[] _parents;      // [nodes] node, or -1 for a root
    private readonly int[] _trees;        // [nodes]
    private readonly int[] _depths;       // [nodes] 0 for a root
    private readonly int[] _firstChild;   // [nodes] node or -1
    private readonly int[] _nextSibling;  // [nodes] node or -1
    private readonly int[] _nextInTree;   // [nodes] node or -1
    private readonly int[] _rows;         // [nodes] row of the pass that verifies the node
    private readonly int[] _logits;       // [nodes] index among the pass's asked rows
    private readonly byte[] _sources;     // [nodes] which of several drafters added the node
    private readonly float[] _confidence; // [nodes] the drafter's estimate that the node is right if its parent is
    private readonly Tree[] _table;       // [trees]
    private readonly int _vocab;          // 0: distributions are not kept
    private readonly float[] _distributions; // [nodes, vocab] that a node's children were drawn from
    private readonly bool[] _drawn;       // [nodes] children were drawn

    /// <param name="maxTrees">Most sequences of one step.</param>
    /// <param name="maxNodes">Most nodes of one step, roots included.</param>
    /// <param name="plan">Receives the forest's entry.</param>
    /// <param name="distributionVocab">Vocabulary size where the distributions that drafts are drawn from are kept; 0 = they are not.</param>
    /// <exception cref="OutOfMemoryBudgetException">The machine cannot hold the distributions.</exception>
    public TokenForest(int maxTrees, int maxNodes, MemoryPlan? plan = null, int distributionVocab = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTrees, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxNodes, maxTrees);
        long distributions = (long)maxNodes * distributionVocab;
        MemoryBudget.Require(
            $"The distributions of up to {maxNodes} drafts over {distributionVocab} tokens take", distributions * sizeof(float),
            Math.Min(MemoryBudget.MachineBytes, (long)Array.MaxLength * sizeof(float)), "Use fewer drafts, sequences or rows, or sample-and-match acceptance.");
        (_tokens, _parents, _trees, _depths) = (new int[maxNodes], new int[maxNodes], new int[maxNodes], new int[maxNodes]);
        (_firstChild, _nextSibling, _nextInTree) = (new int[maxNodes], new int[maxNodes], new int[maxNodes]);
        (_rows, _logits, _confidence) = (new int[maxNodes], new int[maxNodes], new float[maxNodes]);
        _sources = new byte[maxNodes];
        _table = new Tree[maxTrees];
        _vocab = distributionVocab;
        (_distributions, _drawn) = (new float[distributions], new bool[maxNodes]);
        if (_vocab > 0) plan?.Add("speculation", "draft distributions", $"[nodes {maxNodes}, vocab {_vocab}] f32", distributions * sizeof(float));
        plan?.Add("speculation", "token forest", $"[nodes {maxNodes}] 9 × i32, f32, u8, [trees {maxTrees}]", maxNodes * 41L + maxTrees * 24L);
    }

    /// <summary>Nodes of all trees, roots included.</summary>
    public int Count { get; private set; }

    /// <summary>Trees that are open.</summary>
    public int TreeCount { get; private set; }

    /// <summary>The drafter, by its place in <see cref="IDrafter.Sources"/>, whose nodes are added from now on.</summary>
    public int AddingSource { get; set; }

    /// <summary>Forgets all trees.</summary>
    public void Clear() => Count = TreeCount = AddingSource = 0;

    /// <summary>Opens a tree and returns its index.</summary>
    /// <param name="rootToken">The last sampled token.</param>
    /// <param name="maxNodes">Most drafts of the tree.</param>
    /// <param name="maxDepth">Most drafts of one path.</param>
    public int AddTree(int rootToken, int maxNodes = int.MaxValue, int maxDepth = int.MaxValue)
    {
        int tree = TreeCount++;
        _table[tree] = new Tree(Count, Count, maxNodes, maxDepth, 1, 0);
        NewNode(rootToken, -1, tree, 0);
        return tree;
    }

    /// <summary>Adds a draft below <paramref name="parent"/>, or finds it there.</summary>
    /// <param name="parent">A node of the tree.</param>
    /// <param name="token">The draft.</param>
    /// <param name="confidence">The drafter's own estimate, 0 to 1, that the draft is right if its parent is; the higher one counts where two propose it.</param>
    /// <returns>The node, or −1 if the tree's nodes or depth or the forest is used up.</returns>
    public int Add(int parent, int token, float confidence = 1)
    {
        int known = FindChild(parent, token);
        if (known < 0) return _drawn[parent] ? -1 : Append(parent, token, confidence); // a chosen draft among drawn ones would be taken for a draw
        _confidence[known] = MathF.Max(_confidence[known], confidence);
        return known;
    }

    /// <summary>Adds the next draw below a node of <see cref="TryMarkDrawn"/>.</summary>
    /// <returns>The node, or −1 if the tree's nodes or depth or the forest is used up.</returns>
    public int AddDrawn(int parent, int token, float confidence) => Append(parent, token, confidence);

    private int Append(int parent, int token, float confidence)
    {
        int index = _trees[parent];
        ref Tree tree = ref _table[index];
        if (Count == _tokens.Length || tree.Count > tree.MaxNodes || _depths[parent] >= tree.MaxDepth) return -1;
        int node = NewNode(token, parent, index, _depths[parent] + 1);
        _confidence[node] = confidence;
        _nextInTree[tree.Last] = node;
        AppendChild(parent, node);
        tree.Last = node;
        tree.Count++;
        tree.Depth = Math.Max(tree.Depth, _depths[node]);
        return node;
    }

    /// <summary>The tree's root node.</summary>
    public int Root(int tree) => _table[tree].First;

    /// <summary>Nodes of the tree, the root included.</summary>
    public int CountOf(int tree) => _table[tree].Count;

    /// <summary>Drafts of the tree's longest path.</summary>
    public int DepthOf(int tree) => _table[tree].Depth;

    /// <summary>The node added to the same tree after this one, or −1: visits a tree from its root, parents first.</summary>
    public int Next(int node) => _nextInTree[node];

    /// <summary>The token of a node.</summary>
    public int Token(int node) => _tokens[node];

    /// <summary>The parent node, or −1 for a root.</summary>
    public int Parent(int node) => _parents[node];

    /// <summary>
    /// Says that the children of <paramref name="node"/> will be draws from one distribution, without replacement, in the order of <see cref="AddDrawn"/>.
    /// </summary>
    /// <param name="node">A node without children.</param>
    /// <param name="distribution">Where to write the distribution. // [vocab]</param>
    /// <returns>False if distributions are not kept, or the node has children that others chose.</returns>
    public bool TryMarkDrawn(int node, out Span<float> distribution)
    {
        distribution = default;
        if (_vocab == 0 || _firstChild[node] >= 0) return false;
        _drawn[node] = true;
        distribution = _distributions.AsSpan(node * _vocab, _vocab);
        return true;
    }

    /// <summary>The distribution that the children of <paramref name="node"/> were drawn from.</summary>
    /// <returns>False if they were chosen, not drawn.</returns>
    public bool TryDistribution(int node, out ReadOnlySpan<float> distribution)
    {
        distribution = _drawn[node] ? _distributions.AsSpan(node * _vocab, _vocab) : default;
        return _drawn[node];
    }

    /// <summary>The tree that the node belongs to.</summary>
    public int TreeOf(int node) => _trees[node];

    /// <summary>The drafter that added the node first, by its place in <see cref="IDrafter.Sources"/>.</summary>
    public int Source(int node) => _sources[node];

    /// <summary>Drafts on the path from the root to this node.</summary>
    public int Depth(int node) => _depths[node];

    /// <summary>The drafter's estimate, 0 to 1, that the node is right if its parent is; never an input of acceptance.</summary>
    public float Confidence(int node) => _confidence[node];

    /// <summary>The first child of <paramref name="node"/>, or −1.</summary>
    public int FirstChild(int node) => _firstChild[node];

    /// <summary>The sibling added after <paramref name="node"/>, or −1.</summary>
    public int NextSibling(int node) => _nextSibling[node];

    /// <summary>The child of <paramref name="node"/> that proposes <paramref name="token"/>, or −1.</summary>
    public int FindChild(int node, int token)
    {
        int child = _firstChild[node];
        while (child >= 0 && _tokens[child] != token) child = _nextSibling[child];
        return child;
    }

    /// <summary>Notes which row of the pass verifies the node and which of the asked logits is its own.</summary>
    public void Place(int node, int row, int logitIndex)
    {
        _rows[node] = row;
        _logits[node] = logitIndex;
    }

    /// <summary>The node's row in the pass.</summary>
    public int Row(int node) => _rows[node];

    /// <summary>The node's index among the rows of the pass that asked for logits.</summary>
    public int LogitIndex(int node) => _logits[node];

    private int NewNode(int token, int parent, int tree, int depth)
    {
        int node = Count++;
        (_tokens[node], _parents[node], _trees[node], _depths[node]) = (token, parent, tree, depth);
        _confidence[node] = 1;
        _sources[node] = (byte)AddingSource;
        _drawn[node] = false;
        _firstChild[node] = _nextSibling[node] = _nextInTree[node] = -1;
        return node;
    }

    private void AppendChild(int parent, int node)
    {
        if (_firstChild[parent] < 0)
        {
            _firstChild[parent] = node;
            return;
        }

        int sibling = _firstChild[parent];
        while (_nextSibling[sibling] >= 0) sibling = _nextSibling[sibling];
        _nextSibling[sibling] = node;
    }

    private record struct Tree(int First, int Last, int MaxNodes, int MaxDepth, int Count, int Depth);
}
