using Foretoken.Memory;

namespace Foretoken.KvCache;

/// <summary>Pages of equal size in one buffer and the stack of those that are free. Last freed, first taken: it is warm in the caches.</summary>
internal sealed unsafe class PagePool : IDisposable
{
    private readonly NativeBuffer _memory; // [Total, pageBytes]
    private readonly int[] _free;          // [Total] the first Free entries
    private readonly bool[] _taken;        // [Total]

    public PagePool(int pages, int pageBytes, MemoryPlan plan)
    {
        Total = pages;
        PageBytes = pageBytes;
        _memory = plan.Allocate("kv", "pages", $"[pages {pages}, {pageBytes} bytes]", (long)pages * pageBytes);
        _free = new int[pages];
        _taken = new bool[pages];
        for (int i = 0; i < pages; i++) _free[i] = pages - 1 - i; // page 0 is taken first
        Free = pages;
    }

    public byte* Memory => _memory.Pointer;

    public int Total { get; }

    public int Free { get; private set; }

    public int PageBytes { get; }

    /// <summary>Most pages taken at a time.</summary>
    public int Peak { get; private set; }

    public int Take()
    {
        if (Free == 0) throw new InvalidOperationException("The page pool is empty although pages were reserved: the cache's books are wrong.");
        int page = _free[--Free];
        _taken[page] = true;
        Peak = Math.Max(Peak, Total - Free);
        return page;
    }

    public void Return(int page)
    {
        if (!_taken[page]) throw new InvalidOperationException($"Page {page} is returned twice: the cache's books are wrong.");
        _taken[page] = false;
        _free[Free++] = page;
    }

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
}
