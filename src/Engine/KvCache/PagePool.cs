using Foretoken.Memory;

namespace Foretoken.KvCache;

/// <summary>
/// Pages of equal size in one buffer, the stack of those that are free, and who holds the others. A page may stand in several slot tables: of running
/// sequences and of stored prefixes. Last freed, first taken: it is warm in the caches.
/// </summary>
internal sealed unsafe class PagePool : IDisposable
{
    private readonly NativeBuffer _memory; // [Total, pageBytes]
    private readonly int[] _free;          // [Total] the first Free entries
    private readonly Holders[] _holders;   // [Total]

    public PagePool(int pages, int pageBytes, MemoryPlan plan)
    {
        Total = pages;
        PageBytes = pageBytes;
        _memory = plan.Allocate("kv", "pages", $"[pages {pages}, {pageBytes} bytes]", (long)pages * pageBytes);
        _free = new int[pages];
        _holders = new Holders[pages];
        for (int i = 0; i < pages; i++) _free[i] = pages - 1 - i; // page 0 is taken first
        Free = pages;
    }

    public byte* Memory => _memory.Pointer;

    public int Total { get; }

    public int Free { get; private set; }

    public int PageBytes { get; }

    /// <summary>Pages in the table of at least one running sequence.</summary>
    public int Live { get; private set; }

    /// <summary>Most live pages at a time.</summary>
    public int Peak { get; private set; }

    /// <summary>Pages that at least one running sequence holds as frozen: counted once, however many share them.</summary>
    public int Pinned { get; private set; }

    /// <summary>Gives up a stored prefix when no page is free; false when there is none.</summary>
    public Func<bool>? DropPrefix { get; set; }

    /// <summary>Gives up a stored prefix; false when there is none. Pages that others hold too stay taken.</summary>
    public bool TryDropPrefix() => DropPrefix is not null && DropPrefix();

    /// <summary>Takes a free page, with one holder.</summary>
    /// <param name="live">The holder is a running sequence.</param>
    public int Take(bool live)
    {
        while (Free == 0)
        {
            if (!TryDropPrefix())
                throw new InvalidOperationException("The page pool is empty although pages were reserved: the cache's books are wrong.");
        }

        int page = _free[--Free];
        Hold(page, live);
        return page;
    }

    /// <summary>Adds a holder to the page.</summary>
    public void Hold(int page, bool live)
    {
        ref Holders holders = ref _holders[page];
        holders.Tables++;
        if (!live || holders.Live++ > 0) return;
        Live++;
        Peak = Math.Max(Peak, Live);
    }

    /// <summary>Removes a holder; the last one frees the page.</summary>
    public void Return(int page, bool live)
    {
        ref Holders holders = ref _holders[page];
        if (holders.Tables == 0 || (live && holders.Live == 0))
            throw new InvalidOperationException($"Page {page} is returned once too often: the cache's books are wrong.");
        if (live && --holders.Live == 0) Live--;
        if (--holders.Tables == 0) _free[Free++] = page;
    }

    /// <summary>Counts the page as frozen by one more running sequence.</summary>
    public void Pin(int page)
    {
        if (_holders[page].Pins++ == 0) Pinned++;
    }

    public void Unpin(int page)
    {
        if (_holders[page].Pins == 0) throw new InvalidOperationException($"Page {page} is not frozen: the cache's books are wrong.");
        if (--_holders[page].Pins == 0) Pinned--;
    }

    /// <summary>Running sequences that hold the page as frozen.</summary>
    public int PinsOf(int page) => _holders[page].Pins;

    /// <summary>The page stands in more than one table: it must be copied before it is written.</summary>
    public bool IsShared(int page) => _holders[page].Tables > 1;

    /// <summary>Reorders the free pages, so that tests can place slots anywhere.</summary>
    internal void Shuffle(Func<int, int> below)
    {
        for (int i = Free - 1; i > 0; i--)
        {
            int j = below(i + 1);
            (_free[i], _free[j]) = (_free[j], _free[i]);
        }
    }

    public void Dispose() => _memory.Dispose();

    private struct Holders
    {
        public int Tables; // slot tables, of running sequences and stored prefixes
        public int Live;   // of them, running sequences
        public int Pins;   // of them, running sequences that hold the page as frozen
    }
}
