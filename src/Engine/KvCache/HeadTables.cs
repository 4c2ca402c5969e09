using Foretoken.Backends;
using Foretoken.Memory;

namespace Foretoken.KvCache;

/// <summary>
/// The slot tables of all sequences over one page pool, and what happens to them in a pass: slots for new rows, the accepted path, evictions,
/// pages. A page that stands in several tables is copied before it is written. Leading pages that nobody will write again, because they are full of
/// tokens that never expire, are <i>frozen</i> when they are shared: they are counted once for all running sequences.
/// </summary>
internal sealed unsafe partial class HeadTables : IDisposable
{
    /// <summary>Survivors are moved together once a reclaimed slot costs at most this many moves.</summary>
    private const int MovesPerSlot = 32;

    private readonly KvLayout _layout;
    private readonly IEvictionPolicy _policy;
    private readonly int _reclaimBatch;
    private readonly PagePool _pool;
    private readonly NativeBuffer _memory;
    private NativeBuffer? _scores;        // [pages, slots] f32, where the policy looks at attention
    private readonly KvHeadSlots* _heads; // [sequences, heads]
    private readonly HeadBooks[] _books;  // [sequences, heads]
    private readonly int _window;         // the policy's DecisionWindow
    private readonly int _pending;        // newest tokens whose fate rows to come decide: the policy's DecisionShift
    private readonly int _shift;          // log2 of slots per page

    /// <param name="options">Shape, limits and policy.</param>
    /// <param name="sequences">Tables to make.</param>
    /// <param name="pool">Pages.</param>
    /// <param name="plan">Receives the tables' entry.</param>
    public HeadTables(KvCacheOptions options, int sequences, PagePool pool, MemoryPlan plan)
    {
        _layout = options.Layout;
        _policy = options.Policy;
        _reclaimBatch = options.ReclaimBatch;
        _pool = pool;
        _window = _policy.Evicts ? _policy.DecisionWindow : 0;
        _pending = _window > 0 ? _policy.DecisionShift : 0;
        PerSequence = _layout.LayerCount * _layout.KvHeadCount;
        int pagesPerHead = PagesFor(options.MaxTokensPerSequence + options.MaxRowsPerSequence);
        long tables = (long)sequences * PerSequence, headBytes = tables * sizeof(KvHeadSlots);
        _memory = plan.Allocate(
            "kv", "slot tables", $"[sequences {sequences}, heads {PerSequence}, pages {pagesPerHead}] int32",
            headBytes + tables * pagesPerHead * sizeof(int));
        _heads = (KvHeadSlots*)_memory.Pointer;
        _books = new HeadBooks[tables];
        int* pageNumbers = (int*)(_memory.Pointer + headBytes);
        for (long h = 0; h < tables; h++)
            _heads[h] = new KvHeadSlots { Pages = pageNumbers + h * pagesPerHead, Contiguous = true, FirstMortal = int.MaxValue };
        View = new HostKvView(_layout, pool.Memory, _heads, sequences, _window, options.Store, _pending,
            _window > 0 && _policy.Decisions is null, _policy.Evicts ? _policy.Observation : null, Scores(plan));
        options.Store?.Attach(View, sequences, pagesPerHead, pool.Total);
        _shift = View.Format.PageShift;
    }

    public HostKvView View { get; }

    /// <summary>(layer, KV head) pairs of a sequence.</summary>
    public int PerSequence { get; }

    public KvHeadSlots* Of(int sequence) => _heads + (long)sequence * PerSequence;

    /// <summary>Committed slots of one head whose tokens no coming row sees: they wait to be reclaimed.</summary>
    public int DeadSlots(int sequence, int head) => _books[sequence * PerSequence + head].Dead;

    public int PagesFor(int slots) => (slots + _layout.SlotsPerPage - 1) / _layout.SlotsPerPage;

    /// <summary>Pages that the sequence needs of its own, beside the frozen ones, when every head grows by <paramref name="tokens"/> slots.</summary>
    public int OwnPages(int sequence, int tokens)
    {
        int pages = 0;
        KvHeadSlots* heads = Of(sequence);
        for (int h = 0; h < PerSequence; h++) pages += PagesFor(heads[h].Committed + tokens) - _books[sequence * PerSequence + h].Frozen;
        return pages;
    }

    /// <summary>Gives every row of the segment a slot behind the committed ones of every head. Pages that will be written become the sequence's own.</summary>
    /// <returns>Slots that the rows attend to, over all heads.</returns>
    public long BeginPass(RowBatch rows, in RowSegment segment)
    {
        long slots = 0;
        int deepest = segment.BasePosition;
        foreach (int position in rows.Positions.Slice(segment.First, segment.Count)) deepest = Math.Max(deepest, position);
        bool outgrowsWindow = _window > 0 && deepest - segment.BasePosition + _pending > _window;
        KvHeadSlots* heads = Of(segment.Sequence);
        for (int h = 0; h < PerSequence; h++)
        {
            KvHeadSlots* head = heads + h;
            int undecided = _scores is not null ? 0 : Math.Max(0, head->Committed - _pending); // from here on the pass writes marks
            for (int page = undecided >> _shift; page < head->PageCount; page++) MakeOwn(head, page);
            int pages = PagesFor(head->Committed + segment.Earlier + segment.Count);
            while (head->PageCount < pages) head->Pages[head->PageCount++] = _pool.Take(live: true);
            if (outgrowsWindow) head->FirstMortal = Math.Min(head->FirstMortal, undecided);
            FillSlots(head, h, rows, segment);
            slots += head->Committed + segment.Earlier + segment.Count;
        }

        return slots;
    }

    /// <summary>Keeps the rows of the accepted path, drops the other rows of the pass, evicts and reclaims.</summary>
    /// <param name="sequence">The sequence.</param>
    /// <param name="path">Accepted rows, as indices in the segment.</param>
    /// <param name="firstRow">First row of the segment: <paramref name="path"/> counts from the batch's beginning.</param>
    /// <param name="nextPosition">The sequence's new length.</param>
    /// <param name="legalFrom">Shortest length to which the sequence can be cut back; raised when tokens are reclaimed.</param>
    /// <param name="provisional">Evicts nothing, so that the rows can be cut off again.</param>
    /// <param name="endsPrompt">See <see cref="CommittedHead.EndsPrompt"/>.</param>
    public void Commit(int sequence, ReadOnlySpan<int> path, int firstRow, int nextPosition, ref int legalFrom, bool provisional, bool endsPrompt)
    {
        KvHeadSlots* heads = Of(sequence);
        View.Store?.CommitPath(sequence, path, firstRow);
        for (int h = 0; h < PerSequence; h++)
        {
            KvHeadSlots* head = heads + h;
            int firstNew = head->Committed;
            for (int i = 0; i < path.Length; i++) SlotMover.Move(View, head, firstNew + path[i] - firstRow, firstNew + i, storeKnows: true);
            head->Committed += path.Length;
            if (_policy.Evicts)
            {
                if (_window > 0) ApplyDecisions(head, firstNew);
                if (provisional) continue;
                if (_policy.ActsAtCommit && path.Length > 0)
                {
                    _policy.OnCommit(new CommittedHead(this, head, sequence, h / _layout.KvHeadCount, h % _layout.KvHeadCount, firstNew, nextPosition, endsPrompt));
                    legalFrom = nextPosition; // what it decided cannot be taken back
                }

                Reclaim(head, ref _books[sequence * PerSequence + h], Math.Max(0, firstNew - _pending), nextPosition, ref legalFrom);
            }

            TrimPages(head, live: true);
        }
    }

    /// <summary>Sets a slot's expire, on a page of the sequence's own.</summary>
    public void SetExpire(KvHeadSlots* head, int slot, int expire)
    {
        MakeOwn(head, slot >> _shift);
        View.SetExpire(head, slot, expire);
        head->FirstMortal = Math.Min(head->FirstMortal, slot);
    }

    public void Dispose()
    {
        _memory.Dispose();
        _scores?.Dispose();
    }

    private float* Scores(MemoryPlan plan)
    {
        if (!_policy.Evicts || _policy.Observation is null) return null;
        long slots = (long)_pool.Total * _layout.SlotsPerPage;
        _scores = plan.Allocate("kv", "attention noted", $"[pages {_pool.Total}, slots {_layout.SlotsPerPage}] f32", slots * sizeof(float));
        return (float*)_scores.Pointer;
    }

    private void FillSlots(KvHeadSlots* head, int h, RowBatch rows, in RowSegment segment)
    {
        int layer = h / _layout.KvHeadCount, kvHead = h % _layout.KvHeadCount;
        IDmsDecisionSource? decisions = _window > 0 ? _policy.Decisions : null;
        for (int i = 0; i < segment.Count; i++)
        {
            int slot = head->Committed + segment.Earlier + i, position = rows.Positions[segment.First + i], expire = int.MaxValue;
            *View.PositionOf(head, slot) = position;
            if (_policy.Evicts)
            {
                if (_scores is not null) *View.ScoreOf(head, slot) = 0f;
                expire = _policy.ExpireOf(layer, kvHead, position);
                if (expire != int.MaxValue) head->FirstMortal = Math.Min(head->FirstMortal, slot);
                if (_window > 0)
                    *View.DecisionOf(head, slot) = (byte)(decisions?.Evicts(layer, kvHead, position, rows.Tokens[segment.First + i]) == true ? 1 : 0);
            }

            if (_policy.Evicts) View.SetExpire(head, slot, expire);
            else *View.ExpireOf(head, slot) = expire; // read by nobody before the slot is mortal
        }
    }

    /// <summary>
    /// Settles the fate of tokens about which a committed row now has decided. That of the newest is pending, also after a pass whose rows were taken
    /// back: what those rows decided is forgotten. The last W + 1 tokens are all there, so that slots count as positions do.
    /// </summary>
    private void ApplyDecisions(KvHeadSlots* head, int firstNew)
    {
        for (int slot = Math.Max(firstNew, _pending); slot < head->Committed; slot++)
        {
            bool evicts = *View.DecisionOf(head, slot) != 0;
            View.SetExpire(head, slot - _pending, evicts ? *View.PositionOf(head, slot - _pending) + _window : int.MaxValue);
        }

        for (int slot = Math.Max(0, head->Committed - _pending); slot < head->Committed; slot++) View.SetExpire(head, slot, int.MaxValue);
    }

    /// <summary>Replaces a page that other tables hold too by a copy.</summary>
    private void MakeOwn(KvHeadSlots* head, int page)
    {
        int shared = head->Pages[page];
        while (_pool.IsShared(shared) && _pool.Free == 0 && _pool.TryDropPrefix())
        {
            // Stored prefixes give way; if one was the only other holder of this very page, there is nothing to copy any more.
        }

        if (!_pool.IsShared(shared)) return;
        int copy = _pool.Take(live: true);
        Buffer.MemoryCopy(_pool.Memory + (long)shared * _pool.PageBytes, _pool.Memory + (long)copy * _pool.PageBytes, _pool.PageBytes, _pool.PageBytes);
        View.Store?.CopyPage(shared, copy);
        if (_scores is not null)
        {
            int slots = _layout.SlotsPerPage;
            new ReadOnlySpan<float>((float*)_scores.Pointer + (long)shared * slots, slots).CopyTo(new Span<float>((float*)_scores.Pointer + (long)copy * slots, slots));
        }

        head->Pages[page] = copy;
        _pool.Return(shared, live: true);
    }

    private void TrimPages(KvHeadSlots* head, bool live)
    {
        int pages = PagesFor(head->Committed);
        while (head->PageCount > pages) _pool.Return(head->Pages[--head->PageCount], live);
    }

    /// <summary>What the cache knows of a head beside its slots.</summary>
    private struct HeadBooks
    {
        public int Frozen; // leading pages that are frozen; running sequences only
        public int Dead;   // committed slots that no coming row sees
    }
}
