using Foretoken.Backends;
using Foretoken.Memory;

namespace Foretoken.KvCache;

/// <summary>
/// The KV cache: one slot table per (sequence, layer, KV head) over one pool of pages with a hard byte budget. Every head has its own length, so
/// that evicting a head's tokens frees memory. Slots stand in increasing position. The rows of a running pass take the slots behind the committed
/// ones; <see cref="Commit"/> keeps the accepted path and forgets the rest. Nothing allocates after construction. Not thread-safe.
/// <code>
/// sequence = TryAcquire()                            −1: all sequence slots are taken
/// TryAttachPrefix(sequence, tokens)                  tokens that need not be computed, 0 if none are stored
/// TryReserve(sequence, tokens)                       false: not enough pages now; nothing has changed
/// BeginPass(rows); model.Forward(rows, View);        the sequence has Length committed tokens, rows stand at Length, Length+1, …
/// Commit(sequence, acceptedRows)                     an empty path takes the whole pass back
/// PublishPrefix(sequence, tokens)                    other sequences may begin with what this one computed
/// Release(sequence)
/// </code>
/// <para>
/// Books: every running sequence reserves pages of its own; frozen pages, which sequences share and nobody writes, are counted once. Both together
/// never exceed the pool, so that a pass always finds its pages; stored prefixes live in what is left and give way.
/// </para>
/// </summary>
public sealed unsafe partial class PagedKvCache : IDisposable
{
    private readonly KvCacheOptions _options;
    private readonly KvLayout _layout;
    private readonly PagePool _pool;
    private readonly HeadTables _tables;      // of running sequences, then of stored prefixes
    private readonly SequenceState[] _states; // [sequences + prefixes]
    private readonly int[] _freeSequences;    // [sequences] the first _freeCount entries
    private readonly int _pageBytes;          // where keys and values are kept
    private readonly int _slotBytes;          // that attention reads
    private int _freeCount;
    private int _reservedPages;
    private long _passes, _slotsRead, _denseVisible, _liveVisible, _commits;

    /// <param name="options">Shape, limits, budget and policy.</param>
    /// <param name="plan">Receives the page pool and the slot tables.</param>
    /// <exception cref="OutOfMemoryBudgetException">The budget does not hold one page per (layer, KV head), or the system has no such memory.</exception>
    public PagedKvCache(KvCacheOptions options, MemoryPlan plan)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxSequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxTokensPerSequence, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxRowsPerSequence, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.ReclaimBatch, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(options.MaxPrefixes);
        _options = options;
        _layout = options.Layout;
        int marks = new KvPageFormat(_layout, holdsData: options.Store is null).PageBytes, pageBytes = options.Store?.PageBytes(_layout) ?? marks;
        _pageBytes = pageBytes;
        _slotBytes = new KvPageFormat(_layout).SlotBytes;
        int heads = _layout.LayerCount * _layout.KvHeadCount;
        int pages = (int)Math.Min(options.BudgetBytes / pageBytes, int.MaxValue);
        if (pages < heads)
        {
            throw new OutOfMemoryBudgetException(
                $"A KV budget of {options.BudgetBytes:N0} bytes is less than one page of {pageBytes:N0} bytes for each of {heads} "
                + $"(layer, KV head) pairs: give at least {BytesFor(_layout, 1, 1):N0} bytes.");
        }

        if (((long)options.MaxSequences + options.MaxPrefixes) * heads > Array.MaxLength || (long)options.MaxTokensPerSequence + options.MaxRowsPerSequence > Array.MaxLength)
        {
            throw new OutOfMemoryBudgetException(
                $"{options.MaxSequences:N0} sequences and {options.MaxPrefixes:N0} stored prefixes of {heads} (layer, KV head) pairs and up to "
                + $"{options.MaxTokensPerSequence:N0} tokens are more than slot tables count: lower max-sequences, max-prefixes or the context.");
        }

        int tables = options.MaxSequences + options.MaxPrefixes;
        _pool = new PagePool(pages, marks, plan);
        _tables = new HeadTables(options, tables, _pool, plan);
        _states = new SequenceState[tables];
        _freeSequences = new int[options.MaxSequences];
        for (int i = 0; i < _freeSequences.Length; i++) _freeSequences[i] = _freeSequences.Length - 1 - i;
        _freeCount = _freeSequences.Length;
        _prefixes = new PrefixIndex(options.MaxPrefixes, options.MaxTokensPerSequence + options.MaxRowsPerSequence, _layout.SlotsPerPage, plan);
        _pool.DropPrefix = DropOldestPrefix;
    }

    /// <summary>What the cache was built for.</summary>
    public KvCacheOptions Options => _options;

    /// <summary>What backends attend to.</summary>
    public KvView View => _tables.View;

    /// <summary>Walks all slot tables; cheap, but not for every token.</summary>
    public KvStatistics Statistics
    {
        get
        {
            long tokens = 0, live = 0, dead = 0;
            for (int s = 0; s < _options.MaxSequences; s++)
            {
                tokens += _states[s].Length;
                live += LiveSlots(s);
                for (int h = 0; h < _tables.PerSequence; h++) dead += _tables.DeadSlots(s, h);
            }

            return new KvStatistics
            {
                Policy = _options.Policy.Name,
                Sequences = _options.MaxSequences - _freeCount,
                PageBytes = _pageBytes,
                PagesTotal = _pool.Total,
                PagesFree = _pool.Free,
                PagesHeld = _pool.Live,
                PagesReserved = _reservedPages + _pool.Pinned,
                PeakBytes = (long)_pool.Peak * _pageBytes,
                Tokens = tokens,
                LiveSlots = live,
                DeadSlots = dead,
                Heads = _tables.PerSequence,
                Passes = _passes,
                Commits = _commits,
                BytesRead = _slotsRead * _slotBytes,
                DenseVisible = _denseVisible,
                LiveVisible = _liveVisible,
                Prefixes = _prefixes.Statistics,
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
    /// reservation; a smaller one gives pages back. Counts from what the heads hold now, so that evicted tokens cost nothing. Pages are counted here
    /// and taken when a pass begins.
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

        int pages = _tables.OwnPages(sequence, tokens - state.Length);
        if ((long)_reservedPages - state.ReservedPages + pages + _pool.Pinned > _pool.Total) return false;
        SetReservation(ref state, pages, tokens);
        return true;
    }

    /// <summary>
    /// Gives every row of <paramref name="rows"/> a slot behind the committed ones in every head of its sequence, and behind the rows of the passes that it goes on with
    /// (<see cref="RowSegment.Earlier"/>); those have not been committed, and all of them can only be taken back together.
    /// </summary>
    /// <exception cref="InvalidOperationException">A sequence is not acquired, has a pass running, stands elsewhere or has not reserved enough.</exception>
    public void BeginPass(RowBatch rows)
    {
        foreach (RowSegment segment in rows.Segments) CheckPass(segment);
        _options.Store?.Fence();
        foreach (RowSegment segment in rows.Segments)
        {
            ref SequenceState state = ref _states[segment.Sequence];
            if (state.PassRows != segment.Earlier) throw new InvalidOperationException($"Sequence {segment.Sequence} has two segments in one pass.");
            state.PassRows += segment.Count;
            state.GoesOn = segment.Earlier > 0;
            state.PassFirst = segment.First;
            state.Batch = rows;
            if (_options.Policy.Evicts && _options.Policy.ActsAtCommit) NotePrompt(ref state, rows, segment);
            _slotsRead += state.PassSlots = _tables.BeginPass(rows, segment);
        }

        _passes++;
    }

    /// <summary>Keeps the rows of the accepted path as committed tokens, drops the other rows of the pass and lets the policy evict.</summary>
    /// <param name="sequence">Sequence of the running pass.</param>
    /// <param name="acceptedRows">Rows of the batch, each the child of the one before it, the first a child of the last committed token. Empty: nothing is kept.</param>
    /// <param name="provisional">
    /// The rows will be cut off again before the next commit that is not: nothing is evicted for them, and <see cref="TryTruncate"/> to the length before always works.
    /// </param>
    public void Commit(int sequence, ReadOnlySpan<int> acceptedRows, bool provisional = false)
    {
        ref SequenceState state = ref State(sequence);
        CheckPath(state, sequence, acceptedRows);
        state.Length += acceptedRows.Length;
        _tables.Commit(sequence, acceptedRows, state.PassFirst, state.Length, ref state.LegalFrom, provisional, state.EndsPrompt);
        state.PassRows = 0;
        state.GoesOn = false;
        state.Batch = null;
        if (provisional) return;
        _denseVisible += (long)state.Length * _tables.PerSequence;
        _liveVisible += LiveSlots(sequence);
        _commits++;
    }

    /// <summary>
    /// Gives the slots of expired tokens back that still wait for company (<see cref="KvCacheOptions.ReclaimBatch"/>): less than a page and a thirty-second of its
    /// slots per head, but pages that count when they are short. Changes no result.
    /// </summary>
    /// <returns>Slots that came free. The sequence's reservation reaches as many tokens as before, with as many pages or fewer.</returns>
    public int Reclaim(int sequence)
    {
        ref SequenceState state = ref StateAtRest(sequence);
        if (!_options.Policy.Evicts) return 0;
        int slots = _tables.ReclaimAll(sequence, state.Length, ref state.LegalFrom);
        SetReservation(ref state, _tables.OwnPages(sequence, state.ReservedTokens - state.Length), state.ReservedTokens);
        return slots;
    }

    /// <summary>Ends the sequence, with its running pass if there is one, and returns all that it holds.</summary>
    public void Release(int sequence)
    {
        ref SequenceState state = ref State(sequence);
        _tables.Release(sequence, live: true);
        _reservedPages -= state.ReservedPages;
        state = default;
        _freeSequences[_freeCount++] = sequence;
    }

    /// <summary>Bytes of keys and values that the sequence's rows of the last pass attended to, each counted once.</summary>
    public long PassBytes(int sequence) => State(sequence).PassSlots * _slotBytes;

    /// <summary>Committed tokens of the sequence: the position of its next row.</summary>
    public int Length(int sequence) => State(sequence).Length;

    /// <summary>Tokens that the sequence may reach by its reservation, rows of a pass included.</summary>
    public int Reserved(int sequence) => State(sequence).ReservedTokens;

    /// <summary>Pages that the sequence may come to hold of its own by its reservation; frozen ones, shared with others, are counted apart.</summary>
    public int ReservedPages(int sequence) => State(sequence).ReservedPages;

    /// <summary>Pages of the whole pool.</summary>
    public int PagesTotal => _pool.Total;

    /// <summary>Pages that running sequences hold as frozen, shared ones once: they count beside all reservations.</summary>
    public int PagesFrozen => _pool.Pinned;

    /// <summary>Pages that a sequence of <paramref name="tokens"/> tokens needs over all heads without eviction.</summary>
    public int PagesOf(int tokens) => _tables.PerSequence * _tables.PagesFor(tokens);

    /// <summary>Committed tokens of one head that the next row sees.</summary>
    public int LiveTokens(int sequence, int layer, int kvHead)
    {
        _ = State(sequence);
        return _tables.View.Head(sequence, layer, kvHead)->Committed - _tables.DeadSlots(sequence, layer * _layout.KvHeadCount + kvHead);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _pool.Dispose();
        _tables.Dispose();
        _prefixes.Dispose();
    }

    private long LiveSlots(int sequence)
    {
        long live = 0;
        for (int h = 0; h < _tables.PerSequence; h++) live += _tables.Of(sequence)[h].Committed - _tables.DeadSlots(sequence, h);
        return live;
    }

    private static void NotePrompt(ref SequenceState state, RowBatch rows, in RowSegment segment)
    {
        bool asks = rows.LogitRows.BinarySearch(segment.First + segment.Count - 1) >= 0;
        state.EndsPrompt = asks && (segment.Count > 1 || state.ReadsPrompt);
        state.ReadsPrompt = !asks;
    }

    private void SetReservation(ref SequenceState state, int pages, int tokens)
    {
        _reservedPages += pages - state.ReservedPages;
        state.ReservedPages = pages;
        state.ReservedTokens = tokens;
    }

    private ref SequenceState State(int sequence)
    {
        if ((uint)sequence >= (uint)_options.MaxSequences || !_states[sequence].InUse) throw new InvalidOperationException($"Sequence {sequence} is not acquired.");
        return ref _states[sequence];
    }

    private ref SequenceState StateAtRest(int sequence)
    {
        ref SequenceState state = ref State(sequence);
        if (state.PassRows != 0) throw new InvalidOperationException($"Sequence {sequence} has a pass running: commit it first.");
        return ref state;
    }

    private void CheckPass(in RowSegment segment)
    {
        ref SequenceState state = ref State(segment.Sequence);
        if (segment.Earlier != state.PassRows)
        {
            throw new InvalidOperationException(segment.Earlier == 0
                ? $"Sequence {segment.Sequence} has a pass running: commit it first."
                : $"Sequence {segment.Sequence} goes on with {segment.Earlier} rows of earlier passes, and {state.PassRows} are there.");
        }

        if (segment.Earlier > 0 && (_options.Policy.Evicts || _options.Store is not null))
            throw new InvalidOperationException("Trees grow from pass to pass only in caches of host memory that evict nothing.");
        if (segment.BasePosition != state.Length)
            throw new InvalidOperationException($"Sequence {segment.Sequence} has {state.Length} tokens, its rows begin at position {segment.BasePosition}.");
        if (segment.Earlier + segment.Count > _options.MaxRowsPerSequence)
            throw new InvalidOperationException($"Sequence {segment.Sequence} brings {segment.Earlier + segment.Count} rows, the cache has slack for {_options.MaxRowsPerSequence}.");
        if (state.Length + segment.Earlier + segment.Count > state.ReservedTokens)
        {
            throw new InvalidOperationException(
                $"Sequence {segment.Sequence} needs {state.Length + segment.Earlier + segment.Count} tokens and has reserved {state.ReservedTokens}.");
        }
    }

    private static void CheckPath(in SequenceState state, int sequence, ReadOnlySpan<int> acceptedRows)
    {
        if (state.GoesOn && acceptedRows.Length > 0) throw new InvalidOperationException($"Sequence {sequence} has rows of several passes: they can only be taken back.");
        if (state.Batch is null) throw new InvalidOperationException($"Sequence {sequence} has no pass to commit.");
        int parent = -1;
        foreach (int row in acceptedRows)
        {
            if (row < state.PassFirst || row >= state.PassFirst + state.PassRows || state.Batch.Parents[row] != parent)
                throw new InvalidOperationException($"Row {row} does not follow row {parent} on a path of sequence {sequence}.");
            parent = row;
        }
    }

    private struct SequenceState
    {
        public bool InUse;
        public int Length;         // committed tokens
        public int LegalFrom;      // shortest length that it can be cut back to: reclaimed tokens were visible below it
        public int ReservedTokens; // tokens that may be reached, rows of a pass included
        public int ReservedPages;  // of its own: frozen pages are counted apart
        public int PassRows;       // rows of the running pass, and of those that it goes on with; 0 = none runs
        public bool GoesOn;        // they are of several passes
        public int PassFirst;      // first of those of the last pass in the batch
        public long PassSlots;     // that the rows of the last pass attended to, over all heads
        public bool ReadsPrompt;   // the last pass asked for no logits at its end; kept for policies that act at commit
        public bool EndsPrompt;    // of the running pass
        public RowBatch? Batch;
    }
}
