namespace Foretoken.Speculation;

/// <summary>One sequence in the tokens of a draft model: what the target's path says, then what was drafted behind it.</summary>
internal sealed class DraftedSequence(int capacity)
{
    private readonly int[] _tokens = new int[capacity]; // tokens of the draft, drafts behind the path included
    private int _pathCount;   // target tokens that are known
    private int _pathTokens;  // tokens of the draft that they are
    private int _draftedCount;

    /// <summary>The draft cache's index, or −1.</summary>
    public int CacheIndex { get; set; } = -1;

    /// <summary>Number of the step that last drafted for it.</summary>
    public long Step { get; set; }

    /// <summary>Tokens of the draft: path and drafts.</summary>
    public int Count => _pathTokens + _draftedCount;

    /// <summary>Leading tokens that are the same as before the last <see cref="Follow"/>.</summary>
    public int Shared { get; private set; }

    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, Count);

    /// <summary>Drafts behind the path.</summary>
    public ReadOnlySpan<int> Drafts => _tokens.AsSpan(_pathTokens, _draftedCount);

    /// <summary>Takes over a path that continues the known one; drafts that it confirms stay where they are.</summary>
    public void Follow(ReadOnlySpan<int> path, VocabularyMap map)
    {
        Span<int> one = stackalloc int[1];
        int old = Count;
        Shared = _pathTokens;
        bool same = true;
        for (; _pathCount < path.Length; _pathCount++)
        {
            foreach (int token in map.Pieces(path[_pathCount], one))
            {
                if (_pathTokens == _tokens.Length) break; // beyond the draft's context: it drafts no more
                same &= _pathTokens < old && _tokens[_pathTokens] == token;
                _tokens[_pathTokens++] = token;
                if (same) Shared = _pathTokens;
            }
        }

        _draftedCount = 0;
    }

    public void AddDraft(int token) => _tokens[_pathTokens + _draftedCount++] = token;

    public void Clear()
    {
        CacheIndex = -1;
        _pathCount = _pathTokens = _draftedCount = Shared = 0;
    }
}
