using Foretoken.Memory;

namespace Foretoken.Speculation;

/// <summary>
/// A request's text in three readings: its tokens; its words alone, written without spaces; and its layout, punctuation with every word replaced by a mark.
/// A record and its JSON, a list and the sentence about it have the same words in another layout, while the lines of one list have the same layout with other words.
/// Drafts can be appended behind the text and taken back.
/// </summary>
internal sealed class SuffixText : ILayoutText
{
    /// <summary>Marks of the layout that stand for words.</summary>
    public const int SpacedWord = -2, BareWord = -3;

    private const int Continues = 0, Begins = 1, FirstToken = 2; // of _origins
    private readonly WordTable? _words;
    private readonly int[] _origins;   // [words] per piece: Continues, Begins, or FirstToken + the spaced token that it begins
    private readonly int[] _wordAt;    // [layout] words before each mark
    private (int Tokens, int Words, int Layout, int Last) _committed;
    private int _last = -1;            // token at the end

    public SuffixText(int capacity, int drafts, WordTable? words, string name, MemoryPlan plan)
    {
        _words = words;
        Tokens = new TextStream(capacity, drafts, name + ", tokens", plan);
        Words = new TextStream(words is null ? 0 : 2 * capacity, drafts * WordTable.MaxPieces, name + ", words", plan);
        Layout = new TextStream(words is null ? 0 : capacity, drafts, name + ", layout", plan);
        (_origins, _wordAt) = (new int[Words.Capacity], new int[Layout.Capacity]);
    }

    public TextStream Tokens { get; }

    public TextStream Words { get; }

    public TextStream Layout { get; }

    public SuffixIndex Marks => Layout.Occurrences;

    public int WordAt(int position) => _wordAt[position];

    public int Word(int index) => Words[index];

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
        if (Layout.Count < _wordAt.Length) _wordAt[Layout.Count] = Words.Count;
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

    /// <summary>The word that begins <paramref name="distance"/> pieces before the end, in a layout that asks for <paramref name="mark"/>; −1 if none begins there.</summary>
    public int WriteBack(int distance, int mark)
    {
        int position = Words.Count - distance;
        return position < 0 || ContinuesWord(position) ? -1 : Write(position, mark);
    }

    /// <summary>The token with which the word that begins at <paramref name="position"/> is written in a layout; −1 if it is not known.</summary>
    public int Write(int position, int mark)
    {
        if (mark == BareWord) return Words[position];
        return _origins[position] >= FirstToken ? _origins[position] - FirstToken : -1;
    }
}

/// <summary>A text's layout with the words that stand in it.</summary>
internal interface ILayoutText
{
    /// <summary>Separators and word marks.</summary>
    SuffixIndex Marks { get; }

    /// <summary>Word pieces before the mark at <paramref name="position"/>.</summary>
    int WordAt(int position);

    int Word(int index);
}

/// <summary>The layouts of ended requests with their words, the oldest overwritten first.</summary>
internal sealed class StoredLayouts : ILayoutText
{
    private readonly int[] _wordAt;   // [marks] ring
    private readonly int[] _words;    // [pieces] ring
    private int _wordCount;

    public StoredLayouts(int capacity, MemoryPlan plan)
    {
        Marks = new SuffixIndex(capacity, "layout of ended requests", plan);
        (_wordAt, _words) = (new int[Marks.Capacity], new int[2 * Marks.Capacity]);
        plan.Add("speculation", "words of ended requests", $"[marks {_wordAt.Length}] i32, [pieces {_words.Length}] i32", (_wordAt.Length + _words.Length) * 4L);
    }

    public SuffixIndex Marks { get; }

    public int WordAt(int position) => _wordAt[position & (_wordAt.Length - 1)];

    public int Word(int index) => _words[index & (_words.Length - 1)];

    public void Remember(SuffixText text)
    {
        if (_wordCount > int.MaxValue / 2 || Marks.Count > int.MaxValue / 2)
        {
            Marks.Clear();
            _wordCount = 0;
        }

        for (int i = 0; i < text.Layout.Count; i++) Add(text.Layout[i], _wordCount + text.WordAt(i));
        Add(-1, _wordCount + text.Words.Count);
        foreach (int word in text.Words.Items) _words[_wordCount++ & (_words.Length - 1)] = word;
    }

    private void Add(int mark, int wordAt)
    {
        _wordAt[Marks.Count & (_wordAt.Length - 1)] = wordAt;
        Marks.Add(mark);
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
