using Foretoken.Backends;
using Foretoken.Memory;

namespace Foretoken.KvCache;

/// <summary>
/// The KV cache: one slot table per (sequence, layer, KV head) over one pool of pages with a hard byte budget. Every head has its own length, so
/// that evicting a head's tokens frees memory. Slots stand in increasing position. The rows of a running pass take the slots behind the committed
/// ones; <see cref="Commit"/> keeps the accepted path and forgets the rest. Nothing allocates after construction. Not thread-safe.
/// <code>
/// sequence = TryAcquire()                            −1: all sequence slots are taken
/// TryReserve(sequence, tokens)                       false: not enough pages now; nothing has changed
/// BeginPass(rows); model.Forward(rows, View);        the sequence has Length committed tokens, rows stand at Length, Length+1, …
/// Commit(sequence, acceptedRows)                     an empty path takes the whole pass back
/// Release(sequence)
/// </code>
/// </summary>
public sealed unsafe class PagedKvCache : IDisposable
{
    private readonly KvCacheOptions _options;
    private readonly KvLayout _layout;
    private readonly PagePool _pool;
    private readonly NativeBuffer _tables;
    private readonly HostKvView _view;
    private readonly KvHeadSlots* _heads;     // [sequences, layers, kvHeads]
    private readonly SequenceState[] _states; // [sequences]
    private readonly int[] _freeSequences;    // [sequences] the first _freeCount entries
    private readonly int _headsPerSequence;
    private int _freeCount;
    private int _reservedPages;

    /// <param name="options">Shape, limits, budget and policy.</param>
    /// <param name="plan">Receives the page pool and the slot tables.</param>
    /// <exception cref="OutOfMemoryBudgetException">The budget does not hold one page per (layer, KV head), or the system has no such memory.</exception>
    public PagedKvCache(KvCacheOptions options, MemoryPlan plan)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxSequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxTokensPerSequence, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxRowsPerSequence, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.ReclaimBatch, 1);
        _options = options;
        _layout = options.Layout;
        var format = new KvPageFormat(_layout);
        _headsPerSequence = _layout.LayerCount * _layout.KvHeadCount;
        int pages = (int)Math.Min(options.BudgetBytes / format.PageBytes, int.MaxValue);
        if (pages < _headsPerSequence)
        {
            throw new OutOfMemoryBudgetException(
                $"A KV budget of {options.BudgetBytes:N0} bytes is less than one page of {format.PageBytes:N0} bytes for each of {_headsPerSequence} "
                + $"(layer, KV head) pairs: give at least {BytesFor(_layout, 1, 1):N0} bytes.");
        }

        int pagesPerHead = PagesFor(options.MaxTokensPerSequence + options.MaxRowsPerSequence);
        long tables = (long)options.MaxSequences * _headsPerSequence;
        long headBytes = tables * sizeof(KvHeadSlots);
        _pool = new PagePool(pages, format.PageBytes, plan);
        _tables = plan.Allocate(
            "kv", "slot tables", $"[sequences {options.MaxSequences}, heads {_headsPerSequence}, pages {pagesPerHead}] int32",
            headBytes + tables * pagesPerHead * sizeof(int));
        _heads = (KvHeadSlots*)_tables.Pointer;
        int* pageNumbers = (int*)(_tables.Pointer + headBytes);
        for (long h = 0; h < tables; h++) _heads[h] = new KvHeadSlots { Pages = pageNumbers + h * pagesPerHead, Contiguous = true };
        _view = new HostKvView(_layout, _pool.Memory, _heads, options.MaxSequences);
        _states = new SequenceState[options.MaxSequences];
        _freeSequences = new int[options.MaxSequences];
        for (int i = 0; i < _freeSequences.Length; i++) _freeSequences[i] = _freeSequences.Length - 1 - i;
        _freeCount = _freeSequences.Length;
    }

    public KvCacheOptions Options => _options;

    /// <summary>What backends attend to.</summary>
    public KvView View => _view;

    /// <summary>Walks all slot tables; cheap, but not for every token.</summary>
    public KvStatistics Statistics
    {
        get
        {
            long tokens = 0, live = 0;
            for (int s = 0; s < _states.Length; s++)
            {
                tokens += _states[s].Length;
                for (int h = 0; h < _headsPerSequence; h++) live += HeadsOf(s)[h].Committed;
            }

            return new KvStatistics
            {
                Sequences = _states.Length - _freeCount,
                PageBytes = _pool.PageBytes,
                PagesTotal = _pool.Total,
                PagesFree = _pool.Free,
                PagesReserved = _reservedPages,
                PeakBytes = (long)_pool.Peak * _pool.PageBytes,
                Tokens = tokens,
                LiveSlots = live,
                Heads = _headsPerSequence,
            };
        }
    }

    internal PagePool Pool => _pool;

    /// <summary>Bytes of pages that <paramref name="sequences"/> sequences of <paramref name="tokens"/> tokens each, slack rows included, need without eviction.</summary>
    public static long BytesFor(KvLayout layout, int sequences, int tokens)
    {
        long pagesPerHead = ((long)tokens + layout.SlotsPerPage - 1) / layout.SlotsPerPage;
        return sequences * pagesPerHead * layout.LayerCount * layout.KvHeadCount * new KvPageFormat(layout).PageBytes;
    }

    /// <summary>Takes an empty sequence; −1 when all are taken.</summary>
    public int TryAcquire()
    {
        if (_freeCount == 0) return -1;
        int sequence = _freeSequences[--_freeCount];
        _states[sequence] = new SequenceState { InUse = true };
        return sequence;
    }

    /// <summary>
    /// Makes sure that the sequence can grow to <paramref name="tokens"/> tokens, the rows of its largest coming pass included. Replaces an earlier
    /// reservation; a smaller one gives pages back. Pages are counted here and taken when a pass begins.
    /// </summary>
    /// <returns>False when the pool has not enough unreserved pages; nothing has changed then.</returns>
    public bool TryReserve(int sequence, int tokens)
    {
        ref SequenceState state = ref State(sequence);
        int limit = _options.MaxTokensPerSequence + _options.MaxRowsPerSequence;
        if (tokens > limit || tokens < state.Length + state.PassRows)
        {
            throw new ArgumentOutOfRangeException(
                nameof(tokens), tokens, $"Sequence {sequence} holds {state.Length + state.PassRows} tokens and may hold {limit}, rows of a pass included.");
        }

        int pages = 0;
        KvHeadSlots* heads = HeadsOf(sequence);
        for (int h = 0; h < _headsPerSequence; h++) pages += PagesFor(heads[h].Committed + tokens - state.Length);
        if (_reservedPages - state.ReservedPages + (long)pages > _pool.Total) return false;
        _reservedPages += pages - state.ReservedPages;
        state.ReservedPages = pages;
        state.ReservedTokens = tokens;
        return true;
    }

    /// <summary>Gives every row of <paramref name="rows"/> a slot behind the committed ones in every head of its sequence.</summary>
    /// <exception cref="InvalidOperationException">A sequence is not acquired, has a pass running, stands elsewhere or has not reserved enough.</exception>
    public void BeginPass(RowBatch rows)
    {
        foreach (RowSegment segment in rows.Segments) CheckPass(segment);
        foreach (RowSegment segment in rows.Segments)
        {
            ref SequenceState state = ref _states[segment.Sequence];
            if (state.PassRows != 0) throw new InvalidOperationException($"Sequence {segment.Sequence} has two segments in one pass.");
            state.PassRows = segment.Count;
            state.PassFirst = segment.First;
            state.Batch = rows;
            ReadOnlySpan<int> positions = rows.Positions.Slice(segment.First, segment.Count);
            KvHeadSlots* heads = HeadsOf(segment.Sequence);
            for (int h = 0; h < _headsPerSequence; h++) AddPassSlots(heads + h, positions);
        }
    }

    /// <summary>Keeps the rows of the accepted path as committed tokens, drops the other rows of the pass and lets the policy evict.</summary>
    /// <param name="sequence">Sequence of the running pass.</param>
    /// <param name="acceptedRows">Rows of the batch, each the child of the one before it, the first a child of the last committed token. Empty: nothing is kept.</param>
    public void Commit(int sequence, ReadOnlySpan<int> acceptedRows)
    {
        ref SequenceState state = ref State(sequence);
        CheckPath(state, sequence, acceptedRows);
        state.Length += acceptedRows.Length;
        KvHeadSlots* heads = HeadsOf(sequence);
        for (int h = 0; h < _headsPerSequence; h++)
        {
            KvHeadSlots* head = heads + h;
            int firstNew = head->Committed;
            for (int i = 0; i < acceptedRows.Length; i++) SlotMover.Move(_view, head, firstNew + acceptedRows[i] - state.PassFirst, firstNew + i);
            head->Committed += acceptedRows.Length;
            if (_options.Policy.Evicts && acceptedRows.Length > 0)
            {
                _options.Policy.OnCommit(new CommittedHead(_view, head, sequence, h / _layout.KvHeadCount, h % _layout.KvHeadCount, firstNew, state.Length));
                if (head->Expires) Reclaim(head, state.Length);
            }

            TrimPages(head);
        }

        state.PassRows = 0;
        state.Batch = null;
    }

    /// <summary>Ends the sequence, with its running pass if there is one, and returns all that it holds.</summary>
    public void Release(int sequence)
    {
        ref SequenceState state = ref State(sequence);
        KvHeadSlots* heads = HeadsOf(sequence);
        for (int h = 0; h < _headsPerSequence; h++)
        {
            KvHeadSlots* head = heads + h;
            head->Committed = 0;
            head->Contiguous = true;
            head->Expires = false;
            TrimPages(head);
        }

        _reservedPages -= state.ReservedPages;
        state = default;
        _freeSequences[_freeCount++] = sequence;
    }

    /// <summary>Committed tokens of the sequence: the position of its next row.</summary>
    public int Length(int sequence) => State(sequence).Length;

    /// <summary>Tokens that the sequence may reach by its reservation, rows of a pass included.</summary>
    public int Reserved(int sequence) => State(sequence).ReservedTokens;

    /// <summary>Pages that the sequence may come to hold by its reservation.</summary>
    public int ReservedPages(int sequence) => State(sequence).ReservedPages;

    /// <summary>Pages of the whole pool.</summary>
    public int PagesTotal => _pool.Total;

    /// <summary>Pages that a sequence of <paramref name="tokens"/> tokens needs over all heads without eviction.</summary>
    public int PagesOf(int tokens) => _headsPerSequence * PagesFor(tokens);

    /// <summary>Committed tokens that one head still holds.</summary>
    public int LiveTokens(int sequence, int layer, int kvHead)
    {
        _ = State(sequence);
        return _view.Head(sequence, layer, kvHead)->Committed;
    }

    public void Dispose()
    {
        _pool.Dispose();
        _tables.Dispose();
    }

    private KvHeadSlots* HeadsOf(int sequence) => _heads + (long)sequence * _headsPerSequence;

    private int PagesFor(int slots) => (slots + _layout.SlotsPerPage - 1) / _layout.SlotsPerPage;

    private ref SequenceState State(int sequence)
    {
        if ((uint)sequence >= (uint)_states.Length || !_states[sequence].InUse) throw new InvalidOperationException($"Sequence {sequence} is not acquired.");
        return ref _states[sequence];
    }

    private void CheckPass(in RowSegment segment)
    {
        ref SequenceState state = ref State(segment.Sequence);
        if (state.PassRows != 0) throw new InvalidOperationException($"Sequence {segment.Sequence} has a pass running: commit it first.");
        if (segment.BasePosition != state.Length)
            throw new InvalidOperationException($"Sequence {segment.Sequence} has {state.Length} tokens, its rows begin at position {segment.BasePosition}.");
        if (segment.Count > _options.MaxRowsPerSequence)
            throw new InvalidOperationException($"Sequence {segment.Sequence} brings {segment.Count} rows, the cache has slack for {_options.MaxRowsPerSequence}.");
        if (state.Length + segment.Count > state.ReservedTokens)
        {
            throw new InvalidOperationException(
                $"Sequence {segment.Sequence} needs {state.Length + segment.Count} tokens and has reserved {state.ReservedTokens}.");
        }
    }

    private void AddPassSlots(KvHeadSlots* head, ReadOnlySpan<int> positions)
    {
        int pages = PagesFor(head->Committed + positions.Length);
        while (head->PageCount < pages) head->Pages[head->PageCount++] = _pool.Take();
        for (int i = 0; i < positions.Length; i++)
        {
            *_view.PositionOf(head, head->Committed + i) = positions[i];
            *_view.ExpireOf(head, head->Committed + i) = int.MaxValue;
        }
    }

    private static void CheckPath(in SequenceState state, int sequence, ReadOnlySpan<int> acceptedRows)
    {
        if (state.Batch is null) throw new InvalidOperationException($"Sequence {sequence} has no pass to commit.");
        int parent = -1;
        foreach (int row in acceptedRows)
        {
            if (row < state.PassFirst || row >= state.PassFirst + state.PassRows || state.Batch.Parents[row] != parent)
                throw new InvalidOperationException($"Row {row} does not follow row {parent} on a path of sequence {sequence}.");
            parent = row;
        }
    }

    /// <summary>Drops slots that no position from <paramref name="nextPosition"/> on sees and moves the others together, in order.</summary>
    private void Reclaim(KvHeadSlots* head, int nextPosition)
    {
        int dead = 0, expiring = 0;
        for (int slot = 0; slot < head->Committed; slot++)
        {
            int expire = *_view.ExpireOf(head, slot);
            if (expire < nextPosition) dead++;
            else if (expire != int.MaxValue) expiring++;
        }

        if (dead < _options.ReclaimBatch) return;
        int kept = 0;
        for (int slot = 0; slot < head->Committed; slot++)
        {
            if (*_view.ExpireOf(head, slot) >= nextPosition) SlotMover.Move(_view, head, slot, kept++);
        }

        head->Committed = kept;
        head->Expires = expiring > 0;
        head->Contiguous = kept == 0 || *_view.PositionOf(head, 0) == nextPosition - kept;
    }

    private void TrimPages(KvHeadSlots* head)
    {
        int pages = PagesFor(head->Committed);
        while (head->PageCount > pages) _pool.Return(head->Pages[--head->PageCount]);
    }

    private struct SequenceState
    {
        public bool InUse;
        public int Length;         // committed tokens
        public int ReservedTokens; // tokens that may be reached, rows of a pass included
        public int ReservedPages;
        public int PassRows;       // rows of the running pass; 0 = none runs
        public int PassFirst;      // first of them in the batch
        public RowBatch? Batch;
    }
}
