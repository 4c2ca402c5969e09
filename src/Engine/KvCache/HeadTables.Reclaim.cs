using Foretoken.Backends;

namespace Foretoken.KvCache;

/// <content>Slots of evicted tokens go back to their head, and empty pages to the pool.</content>
internal sealed unsafe partial class HeadTables
{
    /// <summary>Finds what has expired and gets rid of it where that is cheap. What waits is hidden by its expire: waiting changes no result.</summary>
    private void Reclaim(KvHeadSlots* head, ref HeadBooks books, int from, int nextPosition, ref int legalFrom)
    {
        Expired expired = Scan(head, Math.Min(head->FirstMortal, from), nextPosition);
        if (expired.Count >= _layout.SlotsPerPage && DropDeadPages(head, expired.First, nextPosition, ref legalFrom))
            expired = Scan(head, Math.Min(head->FirstMortal, expired.First), nextPosition);
        int moves = head->Committed - expired.First - expired.Count;
        if (expired.Count >= _reclaimBatch && moves <= MovesPerSlot * expired.Count) expired = Compact(head, expired.First, nextPosition, ref legalFrom);
        books.Dead = expired.Count;
        head->Contiguous = head->Committed == 0 || *View.PositionOf(head, 0) == nextPosition - head->Committed;
    }

    /// <summary>Gets rid of everything that has expired, however many moves that takes: for when pages are short.</summary>
    /// <returns>Slots that came free.</returns>
    public int ReclaimAll(int sequence, int nextPosition, ref int legalFrom)
    {
        int slots = 0;
        KvHeadSlots* heads = Of(sequence);
        for (int h = 0; h < PerSequence; h++)
        {
            ref HeadBooks books = ref _books[sequence * PerSequence + h];
            if (books.Dead == 0) continue;
            KvHeadSlots* head = heads + h;
            slots += books.Dead;
            Expired expired = Scan(head, head->FirstMortal, nextPosition);
            books.Dead = Compact(head, expired.First, nextPosition, ref legalFrom).Count;
            head->Contiguous = head->Committed == 0 || *View.PositionOf(head, 0) == nextPosition - head->Committed;
            TrimPages(head, live: true);
        }

        return slots;
    }

    /// <summary>Counts slots that no position from <paramref name="nextPosition"/> on sees and notes the first slot that has an end.</summary>
    private Expired Scan(KvHeadSlots* head, int from, int nextPosition)
    {
        int firstMortal = int.MaxValue, first = head->Committed, count = 0;
        for (int slot = from; slot < head->Committed;)
        {
            int pageEnd = Math.Min(head->Committed, ((slot >> _shift) + 1) << _shift);
            for (int* expire = View.ExpireOf(head, slot); slot < pageEnd; slot++, expire++)
            {
                if (*expire == int.MaxValue) continue;
                if (firstMortal == int.MaxValue) firstMortal = slot;
                if (*expire >= nextPosition) continue;
                if (count++ == 0) first = slot;
            }
        }

        head->FirstMortal = firstMortal;
        return new Expired(first, count);
    }

    /// <summary>Takes whole pages of dead slots out of the table: a sliding window never moves a slot.</summary>
    private bool DropDeadPages(KvHeadSlots* head, int firstDead, int nextPosition, ref int legalFrom)
    {
        int slots = _layout.SlotsPerPage, kept = (firstDead + slots - 1) >> _shift, dropped = 0;
        for (int page = kept; page < head->PageCount; page++)
        {
            bool whole = (page + 1) << _shift <= head->Committed;
            if (whole && LatestExpire(head, page) is var latest && latest < nextPosition)
            {
                legalFrom = Math.Max(legalFrom, latest + 1);
                _pool.Return(head->Pages[page], live: true);
                dropped++;
            }
            else
            {
                head->Pages[kept++] = head->Pages[page];
            }
        }

        head->PageCount -= dropped;
        head->Committed -= dropped * slots;
        return dropped > 0;
    }

    private int LatestExpire(KvHeadSlots* head, int page)
    {
        int latest = 0;
        foreach (int expire in new ReadOnlySpan<int>(View.ExpireOf(head, page << _shift), _layout.SlotsPerPage)) latest = Math.Max(latest, expire);
        return latest;
    }

    /// <summary>Moves the survivors behind the first dead slot together, in order.</summary>
    private Expired Compact(KvHeadSlots* head, int firstDead, int nextPosition, ref int legalFrom)
    {
        int kept = firstDead;
        for (int slot = firstDead; slot < head->Committed; slot++)
        {
            int expire = *View.ExpireOf(head, slot);
            if (expire < nextPosition)
            {
                legalFrom = Math.Max(legalFrom, expire + 1);
                continue;
            }

            MakeOwn(head, kept >> _shift);
            SlotMover.Move(View, head, slot, kept++);
        }

        head->Committed = kept;
        return Scan(head, Math.Min(head->FirstMortal, firstDead), nextPosition);
    }

    /// <summary>Dead slots among the committed ones.</summary>
    /// <param name="First">The first of them; the number of committed slots if there is none.</param>
    /// <param name="Count">How many.</param>
    private readonly record struct Expired(int First, int Count);
}
