namespace Foretoken.Speculation;

/// <summary>How an <see cref="NgramDrafter"/> looks things up.</summary>
public sealed record NgramOptions : DrafterOptions
{
    /// <inheritdoc/>
    public override string Name => "ngram";

    /// <inheritdoc/>
    public override int MaxNodes => Tokens;

    /// <summary>Tokens of a draft.</summary>
    public int Tokens { get; init; } = 10;

    /// <summary>Shortest repetition that is trusted.</summary>
    public int MinMatch { get; init; } = 2;

    /// <summary>Longest repetition that is told apart from longer ones.</summary>
    public int MaxMatch { get; init; } = 8;

    /// <inheritdoc/>
    public override IDrafter Create(DrafterContext context) => new NgramDrafter(this);

    internal void Validate()
    {
        CheckNodes();
        ArgumentOutOfRangeException.ThrowIfLessThan(MinMatch, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxMatch, MinMatch);
    }
}

/// <summary>
/// Prompt lookup: if the last n tokens occurred before, the tokens that followed there are the draft. The longest match wins, up to a limit, and the most
/// recent one among equals. Keeps nothing: every step reads the path backwards. (Saxena, "Prompt Lookup Decoding", 2023.)
/// </summary>
public sealed class NgramDrafter : IDrafter
{
    private readonly NgramOptions _options;

    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public NgramDrafter(NgramOptions? options = null)
    {
        _options = options ?? new NgramOptions();
        _options.Validate();
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
            int tokens = Math.Min(_options.Tokens, Math.Min(request.MaxNodes, request.MaxDepth));
            if (tokens <= 0) continue;
            ReadOnlySpan<int> path = request.Path.Tokens;
            (int end, int length) = FindLongest(path, _options.MaxMatch);
            if (length < _options.MinMatch) continue;
            int node = forest.Root(request.Tree);
            for (int i = end; i < Math.Min(path.Length, end + tokens) && node >= 0; i++, length++)
                node = forest.Add(node, path[i], Confidence(length));
        }
    }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
    {
    }

    /// <inheritdoc/>
    public void Release(int sequence)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>The estimate that text which repeated <paramref name="length"/> tokens goes on repeating; the Governor learns the true rates.</summary>
    internal static float Confidence(int length) => length / (length + 1f);

    /// <summary>The most recent of the longest earlier occurrences of the path's last tokens.</summary>
    /// <returns>Where the occurrence ends (the index of what followed it) and how many tokens match, at most <paramref name="limit"/>; length 0 if none.</returns>
    internal static (int End, int Length) FindLongest(ReadOnlySpan<int> path, int limit)
    {
        (int End, int Length) best = (0, 0);
        int last = path[^1];
        for (int i = path[..^1].LastIndexOf(last); i >= best.Length; i = path[..i].LastIndexOf(last))
        {
            int length = 1;
            while (length < limit && length <= i && path[i - length] == path[^(1 + length)]) length++;
            if (length <= best.Length) continue;
            best = (i + 1, length);
            if (length == limit) break;
        }

        return best;
    }
}
