using Foretoken.Memory;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Suffix decoding (Oliaro et al., 2024; Snowflake's ArcticInference): finds where the end of the path stood before, in the request itself and in the
/// requests that ended before it, and drafts the continuations as a tree, the most frequent first. A continuation counts for less the shorter the text
/// before it matches. Text that was just written is the strongest hint, so the request's own occurrences count twice.
/// </summary>
public sealed class SuffixDrafter : IDrafter
{
    private const int OwnWeight = 2;
    private const float ShorterWeight = 0.25f; // of a continuation whose match is one token shorter than the longest
    private readonly SuffixOptions _options;
    private readonly SuffixIndex[] _own;       // [sequences] the request's tokens
    private readonly TokenHistory?[] _paths;   // [sequences]
    private readonly SuffixIndex? _store;
    private readonly Occurrence[] _found;      // [2 × occurrences]
    private readonly ContinuationTrie _trie;
    private int _foundCount;

    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public SuffixDrafter(SuffixOptions options, DrafterContext context)
    {
        options.Validate();
        _options = options;
        _own = new SuffixIndex[context.MaxSequences];
        for (int s = 0; s < _own.Length; s++) _own[s] = new SuffixIndex(context.ContextLength, $"suffixes of request {s}", context.Plan);
        _paths = new TokenHistory?[context.MaxSequences];
        if (options.StoredTokens > 0) _store = new SuffixIndex(options.StoredTokens, "suffixes of ended requests", context.Plan);
        _found = new Occurrence[2 * options.MaxOccurrences];
        _trie = new ContinuationTrie(2 * options.MaxOccurrences * options.Depth + 1, context.Plan);
    }

    public string Name => _options.Name;

    public int MaxNodes => _options.MaxNodes;

    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        foreach (DraftRequest request in requests)
        {
            SuffixIndex own = _own[request.Sequence];
            ReadOnlySpan<int> path = request.Path.Tokens;
            _paths[request.Sequence] = request.Path;
            for (int i = own.Count; i < path.Length; i++) own.Add(path[i]);
            int depth = Math.Min(_options.Depth, request.MaxDepth);
            if (request.MaxNodes <= 0 || depth <= 0) continue;
            _foundCount = 0;
            int longest = Math.Max(Find(own, path, path.Length - 1), _store is null ? 0 : Find(_store, path, int.MaxValue));
            if (longest < _options.MinMatch) continue;
            FillTrie(longest, depth);
            _trie.Draft(request, forest, longest, _options.MinProbability);
        }
    }

    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
    }

    /// <summary>What the request said is remembered for others.</summary>
    public void Release(int sequence)
    {
        if (_paths[sequence] is { } path && _store is { } store)
        {
            foreach (int token in path.Tokens) store.Add(token);
            store.Add(-1); // no repetition reaches over the end of a request
        }

        _paths[sequence] = null;
        if (_own[sequence].Count > 0) _own[sequence].Clear();
    }

    public void Dispose()
    {
    }

    /// <summary>Notes the newest occurrences of the path's end in <paramref name="index"/>, those that end before <paramref name="before"/>.</summary>
    /// <returns>The longest match.</returns>
    private int Find(SuffixIndex index, ReadOnlySpan<int> path, int before)
    {
        int longest = 0, end = index.NewestEnd(path);
        for (int seen = 0; end >= 0 && seen < _options.MaxOccurrences; end = index.OlderEnd(end), seen++)
        {
            if (end >= before || end + 1 >= index.Count) continue;
            int length = index.MatchLength(path, end, _options.MaxMatch);
            if (length < _options.MinMatch) continue;
            _found[_foundCount++] = new Occurrence(index, end + 1, length);
            longest = Math.Max(longest, length);
        }

        return longest;
    }

    private void FillTrie(int longest, int depth)
    {
        _trie.Clear();
        foreach (Occurrence o in _found.AsSpan(0, _foundCount))
        {
            float weight = MathF.Pow(ShorterWeight, longest - o.Length) * (o.Index == _store ? 1 : OwnWeight);
            if (weight < 1e-3f) continue;
            int node = 0;
            for (int i = o.Next; i < Math.Min(o.Index.Count, o.Next + depth) && o.Index[i] >= 0; i++) node = _trie.Add(node, o.Index[i], weight);
        }

        _found.AsSpan(0, _foundCount).Clear();
    }

    /// <summary>A place where the end of the path stood before.</summary>
    private readonly record struct Occurrence(SuffixIndex Index, int Next, int Length);
}

/// <summary>The continuations of all occurrences with their weights; the best are drafted. Planned once, refilled for every request.</summary>
internal sealed class ContinuationTrie
{
    private readonly Node[] _nodes;
    private readonly int[] _frontier; // nodes whose parents were drafted
    private int _count;

    public ContinuationTrie(int nodes, MemoryPlan plan)
    {
        (_nodes, _frontier) = (new Node[nodes], new int[nodes]);
        plan.Add("speculation", "suffix continuations", $"[nodes {nodes}]", nodes * 28L);
    }

    public void Clear()
    {
        _count = 1;
        _nodes[0] = new Node { FirstChild = -1, NextSibling = -1, Probability = 1 };
    }

    /// <summary>Adds weight to the child of <paramref name="parent"/> that holds <paramref name="token"/>; node 0 is the root.</summary>
    public int Add(int parent, int token, float weight)
    {
        _nodes[parent].ChildWeight += weight;
        int child = _nodes[parent].FirstChild;
        while (child >= 0 && _nodes[child].Token != token) child = _nodes[child].NextSibling;
        if (child < 0)
        {
            child = _count++;
            _nodes[child] = new Node { Token = token, FirstChild = -1, NextSibling = _nodes[parent].FirstChild, Depth = _nodes[parent].Depth + 1 };
            _nodes[parent].FirstChild = child;
        }

        _nodes[child].Weight += weight;
        return child;
    }

    /// <summary>Drafts paths in the order of their estimated probability, parents first.</summary>
    public void Draft(in DraftRequest request, TokenForest forest, int longest, float minProbability)
    {
        int open = 0;
        _nodes[0].Drafted = forest.Root(request.Tree);
        Open(0, longest, ref open);
        for (int drafted = 0; drafted < request.MaxNodes && open > 0; drafted++)
        {
            int best = 0;
            for (int i = 1; i < open; i++)
            {
                if (_nodes[_frontier[i]].Probability > _nodes[_frontier[best]].Probability) best = i;
            }

            int index = _frontier[best];
            ref Node node = ref _nodes[index];
            if (node.Probability < minProbability) return;
            _frontier[best] = _frontier[--open];
            node.Drafted = forest.Add(node.Drafted, node.Token, node.Confidence);
            if (node.Drafted < 0) return;
            Open(index, longest, ref open);
        }
    }

    /// <summary>Puts the children of a drafted node on the frontier.</summary>
    private void Open(int parent, int longest, ref int open)
    {
        Node above = _nodes[parent];
        float unseen = 1f / (longest + above.Depth); // as if one more occurrence went on otherwise, the less the longer the match is
        for (int child = above.FirstChild; child >= 0; child = _nodes[child].NextSibling)
        {
            ref Node node = ref _nodes[child];
            node.Confidence = node.Weight / (above.ChildWeight + unseen);
            node.Probability = above.Probability * node.Confidence;
            node.Drafted = above.Drafted;
            _frontier[open++] = child;
        }
    }

    private struct Node
    {
        public int Token;
        public int FirstChild;
        public int NextSibling;
        public int Depth;
        public int Drafted;      // its node in the forest; before it is drafted, its parent's
        public float Weight;
        public float ChildWeight;
        public float Confidence;
        public float Probability;
    }
}
