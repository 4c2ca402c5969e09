using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <content>Tables that begin with the same pages: forks and stored prefixes.</content>
internal sealed unsafe partial class HeadTables
{
    /// <summary>Freezes the leading pages of a running sequence that it will never write again. Returns how many.</summary>
    public int Freeze(int sequence)
    {
        int frozen = 0;
        KvHeadSlots* heads = Of(sequence);
        for (int h = 0; h < PerSequence; h++)
        {
            ref HeadBooks books = ref _books[sequence * PerSequence + h];
            for (int pages = FreezablePages(heads + h, heads[h].Committed); books.Frozen < pages; frozen++) _pool.Pin(heads[h].Pages[books.Frozen++]);
        }

        return frozen;
    }

    /// <summary>What a running sequence with the first <paramref name="length"/> tokens of <paramref name="source"/> would hold.</summary>
    /// <returns>Pages of its own, and frozen pages that no running sequence holds so far.</returns>
    public (int Own, int NewlyPinned) CostOfSharing(int source, int length)
    {
        int own = 0, pinned = 0;
        KvHeadSlots* heads = Of(source);
        for (int h = 0; h < PerSequence; h++)
        {
            int slots = SlotsBelow(heads + h, length), frozen = FreezablePages(heads + h, slots);
            own += PagesFor(slots) - frozen;
            for (int page = 0; page < frozen; page++) pinned += _pool.PinsOf(heads[h].Pages[page]) == 0 ? 1 : 0;
        }

        return (own, pinned);
    }

    /// <summary>Gives the empty <paramref name="target"/> the first <paramref name="length"/> tokens of <paramref name="source"/>.</summary>
    /// <param name="source">Has no pass running; may be cut back to the length.</param>
    /// <param name="target">An empty table.</param>
    /// <param name="length">Tokens.</param>
    /// <param name="live">The target is a running sequence, not a stored prefix.</param>
    public void Share(int source, int target, int length, bool live)
    {
        KvHeadSlots* from = Of(source), to = Of(target);
        for (int h = 0; h < PerSequence; h++)
        {
            int slots = SlotsBelow(from + h, length);
            to[h].PageCount = PagesFor(slots);
            for (int page = 0; page < to[h].PageCount; page++) _pool.Hold(to[h].Pages[page] = from[h].Pages[page], live);
            to[h].Committed = slots;
            to[h].FirstMortal = from[h].FirstMortal;
            ref HeadBooks books = ref _books[target * PerSequence + h];
            for (int pages = live ? FreezablePages(to + h, slots) : 0; books.Frozen < pages;) _pool.Pin(to[h].Pages[books.Frozen++]);
        }

        for (int h = 0; h < PerSequence; h++) EndAt(to + h, ref _books[target * PerSequence + h], length);
    }

    /// <summary>What cutting a running sequence back changes in the books.</summary>
    /// <param name="sequence">The sequence.</param>
    /// <param name="length">Tokens that stay.</param>
    /// <param name="more">Tokens that it must be able to grow by afterwards.</param>
    /// <returns>Pages of its own that it will need, and frozen pages that no running sequence will hold any more.</returns>
    public (int Own, int Unpinned) CostOfTruncation(int sequence, int length, int more)
    {
        int own = 0, unpinned = 0;
        KvHeadSlots* heads = Of(sequence);
        for (int h = 0; h < PerSequence; h++)
        {
            int slots = SlotsBelow(heads + h, length), frozen = FrozenAfter(heads + h, _books[sequence * PerSequence + h].Frozen, slots);
            own += PagesFor(slots + more) - frozen;
            for (int page = frozen; page < _books[sequence * PerSequence + h].Frozen; page++) unpinned += _pool.PinsOf(heads[h].Pages[page]) == 1 ? 1 : 0;
        }

        return (own, unpinned);
    }

    /// <summary>Cuts a running sequence back to its first <paramref name="length"/> tokens.</summary>
    public void Truncate(int sequence, int length)
    {
        KvHeadSlots* heads = Of(sequence);
        for (int h = 0; h < PerSequence; h++)
        {
            ref HeadBooks books = ref _books[sequence * PerSequence + h];
            KvHeadSlots* head = heads + h;
            int slots = SlotsBelow(head, length);
            for (int frozen = FrozenAfter(head, books.Frozen, slots); books.Frozen > frozen;) _pool.Unpin(head->Pages[--books.Frozen]);
            head->Committed = slots;
            TrimPages(head, live: true);
            EndAt(head, ref books, length);
        }
    }

    /// <summary>Empties a table.</summary>
    public void Release(int sequence, bool live)
    {
        KvHeadSlots* heads = Of(sequence);
        for (int h = 0; h < PerSequence; h++)
        {
            ref HeadBooks books = ref _books[sequence * PerSequence + h];
            while (books.Frozen > 0) _pool.Unpin(heads[h].Pages[--books.Frozen]);
            books.Dead = 0;
            heads[h].Committed = 0;
            heads[h].Contiguous = true;
            heads[h].FirstMortal = int.MaxValue;
            TrimPages(heads + h, live);
        }
    }

    /// <summary>Leading pages, among the first <paramref name="slots"/> slots, that are full of tokens without end.</summary>
    private int FreezablePages(KvHeadSlots* head, int slots)
    {
        if (_policy.Evicts && _policy.ActsAtCommit) return 0; // any slot may still be changed
        int settled = Math.Max(0, slots - _pending); // the fate of the newest tokens is written by the next passes
        return Math.Min(head->FirstMortal, settled) >> _shift;
    }

    private int FrozenAfter(KvHeadSlots* head, int frozen, int slots) => Math.Min(frozen, FreezablePages(head, slots));

    /// <summary>Committed slots at positions below <paramref name="position"/>.</summary>
    private int SlotsBelow(KvHeadSlots* head, int position)
    {
        int low = 0, high = head->Committed;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (*View.PositionOf(head, middle) < position) low = middle + 1;
            else high = middle;
        }

        return low;
    }

    /// <summary>Makes the head that of a sequence of <paramref name="length"/> tokens, after slots behind them were cut off.</summary>
    private void EndAt(KvHeadSlots* head, ref HeadBooks books, int length)
    {
        for (int slot = Math.Max(0, head->Committed - _pending); slot < head->Committed; slot++)
        {
            if (*View.ExpireOf(head, slot) == int.MaxValue) continue;
            MakeOwn(head, slot >> _shift);
            View.SetExpire(head, slot, int.MaxValue); // pending again
        }

        books.Dead = _policy.Evicts ? Scan(head, Math.Min(head->FirstMortal, head->Committed), length).Count : 0;
        head->Contiguous = head->Committed == 0 || *View.PositionOf(head, 0) == length - head->Committed;
    }
}
