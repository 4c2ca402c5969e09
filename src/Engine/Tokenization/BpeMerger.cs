namespace Foretoken.Tokenization;

/// <summary>
/// Applies merges to the symbols of one word: the pair of lowest rank first, of equal ranks the leftmost. Short words scan an array;
/// long ones use a linked list and a heap, so that the cost is n log n whatever the text. Reusable, not thread-safe.
/// </summary>
internal sealed class BpeMerger
{
    private const int LongWord = 48; // symbols; above this the heap is faster than repeated scans
    private const int Arity = 8;     // children per heap node: one cache line, a third of a binary heap's levels

    private int[] _rank = new int[64];     // [symbols] rank of (symbol, next symbol), int.MaxValue if they do not merge or the symbol is gone
    private int[] _next = [], _previous = []; // [symbols] linked list of the live symbols
    private ulong[] _heap = [];            // rank << 32 | position, smallest on top
    private int _heapCount;

    /// <summary>Merges <paramref name="symbols"/> in place and returns how many are left.</summary>
    public int Merge(Span<int> symbols, MergeTable merges)
    {
        if (symbols.Length < 2)
            return symbols.Length;
        if (_rank.Length < symbols.Length)
            _rank = new int[symbols.Length + symbols.Length / 2];
        for (int i = 0; i + 1 < symbols.Length; i++)
            _rank[i] = merges.Rank(symbols[i], symbols[i + 1]);
        _rank[symbols.Length - 1] = int.MaxValue;
        return symbols.Length <= LongWord ? MergeShort(symbols, merges) : MergeLong(symbols, merges);
    }

    private int MergeShort(Span<int> symbols, MergeTable merges)
    {
        Span<int> rank = _rank.AsSpan(0, symbols.Length);
        int count = symbols.Length;
        while (true)
        {
            int best = int.MaxValue, at = -1;
            for (int i = 0; i + 1 < count; i++)
            {
                if (rank[i] < best)
                    (best, at) = (rank[i], i);
            }
            if (at < 0)
                return count;
            symbols[at] = merges.Merged(symbols[at], symbols[at + 1]);
            symbols[(at + 2)..count].CopyTo(symbols[(at + 1)..]);
            rank[(at + 2)..count].CopyTo(rank[(at + 1)..]);
            count--;
            rank[at] = at + 1 < count ? merges.Rank(symbols[at], symbols[at + 1]) : int.MaxValue;
            if (at > 0)
                rank[at - 1] = merges.Rank(symbols[at - 1], symbols[at]);
        }
    }

    private int MergeLong(Span<int> symbols, MergeTable merges)
    {
        Link(symbols.Length);
        while (_heapCount > 0)
        {
            ulong top = Pop();
            int at = (int)(uint)top;
            if (_rank[at] != (int)(top >> 32)) // the pair changed since it was pushed
                continue;
            int right = _next[at];
            symbols[at] = merges.Merged(symbols[at], symbols[right]);
            _rank[right] = int.MaxValue;
            symbols[right] = -1;
            int after = _next[at] = _next[right];
            if (after < symbols.Length)
                _previous[after] = at;
            SetRank(at, after < symbols.Length ? merges.Rank(symbols[at], symbols[after]) : int.MaxValue);
            int before = _previous[at];
            if (before >= 0)
                SetRank(before, merges.Rank(symbols[before], symbols[at]));
        }
        int count = 0;
        for (int i = 0; i < symbols.Length; i = _next[i])
            symbols[count++] = symbols[i];
        return count;
    }

    private void Link(int length)
    {
        if (_next.Length < length)
        {
            _next = new int[_rank.Length];
            _previous = new int[_rank.Length];
        }
        // Every merge removes a symbol and pushes at most two pairs.
        if (_heap.Length < 3 * length)
            _heap = new ulong[3 * _rank.Length];
        _heapCount = 0;
        for (int i = 0; i < length; i++)
        {
            _next[i] = i + 1;
            _previous[i] = i - 1;
            if (_rank[i] != int.MaxValue)
                _heap[_heapCount++] = (ulong)(uint)_rank[i] << 32 | (uint)i;
        }
        for (int i = (_heapCount - 2) / Arity; i >= 0; i--)
            SiftDown(i);
    }

    private void SetRank(int at, int rank)
    {
        _rank[at] = rank;
        if (rank == int.MaxValue)
            return;
        ulong entry = (ulong)(uint)rank << 32 | (uint)at;
        int i = _heapCount++;
        for (int parent; i > 0 && _heap[parent = (i - 1) / Arity] > entry; i = parent)
            _heap[i] = _heap[parent];
        _heap[i] = entry;
    }

    private ulong Pop()
    {
        ulong top = _heap[0];
        _heap[0] = _heap[--_heapCount];
        SiftDown(0);
        return top;
    }

    private void SiftDown(int i)
    {
        Span<ulong> heap = _heap.AsSpan(0, _heapCount);
        if (i >= heap.Length)
            return;
        ulong entry = heap[i];
        while (Arity * i + 1 < heap.Length)
        {
            int first = Arity * i + 1;
            ReadOnlySpan<ulong> children = heap[first..Math.Min(first + Arity, heap.Length)];
            int smallest = 0;
            for (int child = 1; child < children.Length; child++)
                smallest = children[child] < children[smallest] ? child : smallest;
            if (children[smallest] >= entry)
                break;
            heap[i] = children[smallest];
            i = first + smallest;
        }
        heap[i] = entry;
    }
}
