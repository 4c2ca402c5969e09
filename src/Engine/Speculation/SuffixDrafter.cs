using Foretoken.Memory;
using Foretoken.Sampling;

namespace Foretoken.Speculation;

/// <summary>
/// Suffix decoding (Oliaro et al., 2024; Snowflake's ArcticInference): finds where the end of the path stood before, in the request itself and in the
/// requests that ended before it, and drafts what followed. With the model's tokenizer a <see cref="SuffixPredictor"/> drafts a chain, looking behind every draft again,
/// also at words and layout apart. Without it, or on request, it drafts the continuations as a tree, the most frequent first: one counts for less the shorter the text
/// before it matches, and text that was just written is the strongest hint, so the request's own occurrences count twice.
/// </summary>
public sealed class SuffixDrafter : IDrafter
{
    private const int OwnWeight = 2;
    private const float ShorterWeight = 0.25f;   // of a continuation whose match is one token shorter than the longest
    private readonly SuffixOptions _options;
    private readonly SuffixText[] _texts;        // [sequences]
    private readonly TokenHistory?[] _paths;     // [sequences]
    private readonly SuffixIndex? _store;        // tokens of ended requests
    private readonly StoredLayouts? _storedLayouts;
    private readonly SuffixPredictor? _predictor;
    private readonly Finding[] _findings;        // [sequences, depths, MaxFindings] that led to the drafts of the step
    private readonly int[] _counts;              // [sequences, depths] findings; 0 = nothing was looked for
    private readonly int[] _drafts;              // [sequences, depths] tokens that the findings favour
    private readonly Occurrence[] _found;        // [2 × occurrences]
    private readonly ContinuationTrie _trie;
    private int _foundCount;

    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public SuffixDrafter(SuffixOptions options, DrafterContext context)
    {
        options.Validate();
        _options = options;
        WordTable? words = options.Words && context.Tokenizer is { } tokenizer ? new WordTable(tokenizer, context.Plan) : null;
        _texts = new SuffixText[context.MaxSequences];
        for (int s = 0; s < _texts.Length; s++) _texts[s] = new SuffixText(context.ContextLength, options.Depth, words, $"suffixes of request {s}", context.Plan);
        _paths = new TokenHistory?[context.MaxSequences];
        if (options.StoredTokens > 0) _store = new SuffixIndex(options.StoredTokens, "suffixes of ended requests", context.Plan);
        if (options.StoredTokens > 0 && words is not null) _storedLayouts = new StoredLayouts(options.StoredTokens, context.Plan);
        if (words is not null) _predictor = new SuffixPredictor(options.MaxOccurrences, context.Plan);
        int places = words is null ? 0 : context.MaxSequences * options.Depth;
        (_findings, _counts, _drafts) = (new Finding[places * SuffixPredictor.MaxFindings], new int[places], new int[places]);
        context.Plan.Add("speculation", "findings", $"[sequences {context.MaxSequences}, depths {options.Depth}, {SuffixPredictor.MaxFindings}]", places * (8L * SuffixPredictor.MaxFindings + 8));
        _found = new Occurrence[2 * options.MaxOccurrences];
        _trie = new ContinuationTrie(2 * options.MaxOccurrences * options.Depth + 1, context.Plan);
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public int MaxNodes => _options.MaxNodes;

    /// <inheritdoc/>
    public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
    {
        foreach (DraftRequest request in requests)
        {
            SuffixText text = _texts[request.Sequence];
            _paths[request.Sequence] = request.Path;
            text.Follow(request.Path.Tokens);
            int depth = Math.Min(_options.Depth, request.MaxDepth);
            if (_predictor is not null) DraftChain(_predictor, request, forest, text, Math.Min(depth, request.MaxNodes));
            else if (request.MaxNodes > 0 && depth > 0) DraftTree(request, forest, text.Tokens.Occurrences, depth);
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
        if (_predictor is null) return;
        for (int t = 0; t < requests.Length; t++)
        {
            int at = requests[t].Sequence * _options.Depth;
            ReadOnlySpan<int> news = requests[t].Path.Tokens[^acceptances[t].NewTokens..];
            for (int i = 0; i < Math.Min(news.Length, _options.Depth) && _counts[at + i] > 0; i++)
            {
                _predictor.Learn(_findings.AsSpan((at + i) * SuffixPredictor.MaxFindings, _counts[at + i]), news[i]);
                if (_drafts[at + i] != news[i]) break;
            }

            _counts.AsSpan(at, _options.Depth).Clear();
        }
    }

    /// <summary>What the request said is remembered for others.</summary>
    public void Release(int sequence)
    {
        SuffixText text = _texts[sequence];
        if (_paths[sequence] is { } path && _store is not null)
        {
            text.Follow(path.Tokens);
            Remember(_store, text.Tokens.Items);
            _storedLayouts?.Remember(text);
        }

        _paths[sequence] = null;
        text.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private static void Remember(SuffixIndex store, ReadOnlySpan<int> items)
    {
        foreach (int item in items) store.Add(item);
        store.Add(-1); // no repetition reaches over the end of a request
    }

    private void DraftChain(SuffixPredictor predictor, in DraftRequest request, TokenForest forest, SuffixText text, int depth)
    {
        int at = request.Sequence * _options.Depth, node = forest.Root(request.Tree);
        _counts.AsSpan(at, _options.Depth).Clear();
        float path = 1;
        for (int d = 0; d < depth; d++)
        {
            Span<Finding> findings = _findings.AsSpan((at + d) * SuffixPredictor.MaxFindings, SuffixPredictor.MaxFindings);
            int count = predictor.Look(text, _store, _storedLayouts, findings);
            if (count == 0) break;
            (int token, float probability) = predictor.Best(findings[..count]);
            (_counts[at + d], _drafts[at + d]) = (count, token);
            path *= probability;
            if (path < _options.MinProbability || (node = forest.Add(node, token, probability)) < 0) break;
            text.Append(token);
        }

        text.TakeBack();
    }

    private void DraftTree(in DraftRequest request, TokenForest forest, SuffixIndex own, int depth)
    {
        ReadOnlySpan<int> path = request.Path.Tokens;
        _foundCount = 0;
        int longest = Math.Max(Find(own, path, path.Length - 1), _store is null ? 0 : Find(_store, path, int.MaxValue));
        if (longest < _options.MinMatch) return;
        FillTrie(longest, depth);
        _trie.Draft(request, forest, longest, _options.MinProbability);
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
