using Foretoken.Memory;

namespace Foretoken.Speculation;

/// <summary>
/// A request's text in three readings: its tokens; its words alone, written without spaces; and its layout, punctuation with every word replaced by a mark.
/// A record and its JSON, a list and the sentence about it have the same words in another layout, while the lines of one list have the same layout with other words.
/// Drafts can be appended behind the text and taken back.
/// </summary>
internal sealed class SuffixText
{
    /// <summary>Marks of the layout that stand for words.</summary>
    public const int SpacedWord = -2, BareWord = -3;

    private const int Continues = 0, Begins = 1, FirstToken = 2; // of _origins
    private readonly WordTable? _words;
    private readonly int[] _origins;   // [words] per piece: Continues, Begins, or FirstToken + the spaced token that it begins
    private (int Tokens, int Words, int Layout, int Last) _committed;
    private int _last = -1;            // token at the end

    public SuffixText(int capacity, int drafts, WordTable? words, string name, MemoryPlan plan)
    {
        _words = words;
        Tokens = new TextStream(capacity, drafts, name + ", tokens", plan);
        Words = new TextStream(words is null ? 0 : 2 * capacity, drafts * WordTable.MaxPieces, name + ", words", plan);
        Layout = new TextStream(words is null ? 0 : capacity, drafts, name + ", layout", plan);
        _origins = new int[Words.Capacity];
    }

    public TextStream Tokens { get; }

    public TextStream Words { get; }

    public TextStream Layout { get; }

    /// <summary>Whether the text ends within or behind a word.</summary>
    public bool EndsWithWord => _words is not null && _last >= 0 && _words.KindOf(_last) != WordKind.None;

    /// <summary>Takes drafts back and reads on to the end of <paramref name="path"/>.</summary>
    public void Follow(ReadOnlySpan<int> path)
    {
        TakeBack();
        for (int i = Tokens.Count; i < path.Length; i++) Append(path[i]);
        _committed = (Tokens.Count, Words.Count, Layout.Count, _last);
        Tokens.Index();
        Words.Index();
        Layout.Index();
    }

    /// <summary>Drops what <see cref="Append"/> added since <see cref="Follow"/>.</summary>
    public void TakeBack()
    {
        Tokens.Truncate(_committed.Tokens);
        Words.Truncate(_committed.Words);
        Layout.Truncate(_committed.Layout);
        _last = _committed.Last;
    }

    public void Clear()
    {
        _committed = (0, 0, 0, -1);
        TakeBack();
        Tokens.Forget();
        Words.Forget();
        Layout.Forget();
    }

    public void Append(int token)
    {
        Tokens.Add(token);
        if (_words is null) return;
        WordKind kind = _words.KindOf(token);
        if (kind == WordKind.None)
        {
            Layout.Add(token);
        }
        else
        {
            bool begins = kind == WordKind.Spaced || !EndsWithWord;
            if (begins) Layout.Add(kind == WordKind.Spaced ? SpacedWord : BareWord);
            int origin = !begins ? Continues : kind == WordKind.Spaced ? FirstToken + token : Begins;
            foreach (int piece in _words.PiecesOf(token))
            {
                if (Words.Count < _origins.Length) _origins[Words.Count] = origin;
                Words.Add(piece);
                origin = Continues;
            }
        }

        _last = token;
    }

    /// <summary>Whether the word piece at <paramref name="position"/> goes on with the word before it.</summary>
    public bool ContinuesWord(int position) => _origins[position] == Continues;

    /// <summary>The token with which the word that begins at <paramref name="position"/> is written in a layout; −1 if it is not known.</summary>
    public int Write(int position, int mark)
    {
        if (mark == BareWord) return Words[position];
        return _origins[position] >= FirstToken ? _origins[position] - FirstToken : -1;
    }
}

/// <summary>A sequence of numbers whose committed part is indexed for look-up; what is added behind that can be dropped again. A full one takes no more.</summary>
internal sealed class TextStream
{
    private readonly int[] _items;
    private readonly int _limit;
    private int _indexed;

    public TextStream(int capacity, int drafts, string name, MemoryPlan plan)
    {
        _limit = capacity;
        _items = new int[capacity == 0 ? 0 : capacity + drafts];
        Occurrences = new SuffixIndex(capacity, name, plan);
        plan.Add("speculation", name, $"[{_items.Length}] i32", _items.Length * 4L);
    }

    public int Capacity => _items.Length;

    public int Count { get; private set; }

    public SuffixIndex Occurrences { get; }

    public ReadOnlySpan<int> Items => _items.AsSpan(0, Count);

    public int this[int index] => _items[index];

    public void Add(int item)
    {
        if (Count < _items.Length) _items[Count++] = item;
    }

    public void Truncate(int count) => Count = Math.Min(Count, count);

    /// <summary>Lets what was added be found.</summary>
    public void Index()
    {
        for (; _indexed < Math.Min(Count, _limit); _indexed++) Occurrences.Add(_items[_indexed]);
    }

    public void Forget()
    {
        if (_indexed > 0) Occurrences.Clear();
        (Count, _indexed) = (0, 0);
    }
}
