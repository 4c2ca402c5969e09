using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;

namespace Foretoken.Tests.KvCache;

public sealed class PagedKvCacheTests
{
    private static readonly KvLayout Layout = new(LayerCount: 2, KvHeadCount: 3, HeadDim: 4, KvType.F32, SlotsPerPage: 16);

    private static PagedKvCache Create(int pages, int sequences = 4, IEvictionPolicy? policy = null) => new(
        new KvCacheOptions
        {
            Layout = Layout,
            MaxSequences = sequences,
            MaxTokensPerSequence = 100,
            MaxRowsPerSequence = 20,
            BudgetBytes = (long)pages * new KvPageFormat(Layout).PageBytes,
            Policy = policy ?? new DensePolicy(),
        },
        new MemoryPlan());

    private static RowBatch Chain(int sequence, int position, int count)
    {
        var rows = new RowBatch(64);
        for (int i = 0; i < count; i++) rows.Add(0, position + i, sequence, i == 0 ? -1 : i - 1, false);
        return rows;
    }

    private static int[] Path(int count) => [.. Enumerable.Range(0, count)];

    [Fact]
    public void Acquire_gives_every_sequence_once_then_minus_one()
    {
        using PagedKvCache cache = Create(pages: 6, sequences: 3);
        Assert.Equal([0, 1, 2, -1], new[] { cache.TryAcquire(), cache.TryAcquire(), cache.TryAcquire(), cache.TryAcquire() });
        cache.Release(1);
        Assert.Equal(1, cache.TryAcquire());
    }

    [Fact]
    public void Reserve_counts_whole_pages_of_every_head_and_refuses_without_change()
    {
        using PagedKvCache cache = Create(pages: 18); // 6 heads: three pages of 16 slots each
        int a = cache.TryAcquire(), b = cache.TryAcquire();
        Assert.True(cache.TryReserve(a, 17)); // 2 pages per head
        Assert.Equal(12, cache.Statistics.PagesReserved);
        Assert.False(cache.TryReserve(b, 17));
        Assert.Equal(0, cache.Reserved(b));
        Assert.True(cache.TryReserve(b, 16));
        Assert.False(cache.TryReserve(a, 33));
        Assert.Equal(17, cache.Reserved(a));
        Assert.True(cache.TryReserve(a, 16)); // a smaller reservation gives pages back
        Assert.True(cache.TryReserve(b, 32));
        Assert.Equal(18, cache.Statistics.PagesReserved);
        Assert.Equal(0, cache.Statistics.BytesHeld);
    }

    [Fact]
    public void Rejected_rows_give_their_pages_back_at_commit()
    {
        using PagedKvCache cache = Create(pages: 18);
        int s = cache.TryAcquire();
        Assert.True(cache.TryReserve(s, 40));
        cache.BeginPass(Chain(s, 0, 20));
        Assert.Equal(12 * cache.Statistics.PageBytes, cache.Statistics.BytesHeld);
        cache.Commit(s, Path(3));
        Assert.Equal(3, cache.Length(s));
        Assert.Equal(6 * cache.Statistics.PageBytes, cache.Statistics.BytesHeld);
        Assert.Equal(12 * cache.Statistics.PageBytes, cache.Statistics.PeakBytes);
        cache.BeginPass(Chain(s, 3, 20));
        cache.Commit(s, []);
        Assert.Equal(3, cache.Length(s));
        Assert.Equal(3, cache.LiveTokens(s, 1, 2));
        cache.Release(s);
        Assert.Equal(18, cache.Statistics.PagesFree);
        Assert.Equal(0, cache.Statistics.PagesReserved);
    }

    [Fact]
    public void Misuse_is_refused_with_the_reason()
    {
        using PagedKvCache cache = Create(pages: 36);
        int s = cache.TryAcquire();
        Assert.Contains("reserved 0", Assert.Throws<InvalidOperationException>(() => cache.BeginPass(Chain(s, 0, 1))).Message);
        Assert.True(cache.TryReserve(s, 60));
        Assert.Contains("begin at position 5", Assert.Throws<InvalidOperationException>(() => cache.BeginPass(Chain(s, 5, 1))).Message);
        Assert.Contains("slack for 20", Assert.Throws<InvalidOperationException>(() => cache.BeginPass(Chain(s, 0, 21))).Message);
        Assert.Contains("no pass", Assert.Throws<InvalidOperationException>(() => cache.Commit(s, [])).Message);
        cache.BeginPass(Chain(s, 0, 4));
        Assert.Contains("pass running", Assert.Throws<InvalidOperationException>(() => cache.BeginPass(Chain(s, 0, 1))).Message);
        Assert.Contains("does not follow", Assert.Throws<InvalidOperationException>(() => cache.Commit(s, [0, 2])).Message);
        Assert.Contains("does not follow", Assert.Throws<InvalidOperationException>(() => cache.Commit(s, [1])).Message);
        cache.Commit(s, [0, 1]);
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.TryReserve(s, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.TryReserve(s, 121));
        cache.Release(s);
        Assert.Contains("not acquired", Assert.Throws<InvalidOperationException>(() => cache.Release(s)).Message);
    }

    [Fact]
    public void Trees_that_grow_from_pass_to_pass_are_only_taken_back_whole()
    {
        using PagedKvCache cache = Create(pages: 36);
        int s = cache.TryAcquire();
        Assert.True(cache.TryReserve(s, 60));
        cache.BeginPass(Chain(s, 0, 3));
        cache.Commit(s, [0, 1, 2]);
        cache.BeginPass(Behind(s, 0));
        Assert.Contains("3 rows of earlier passes, and 1 are there", Assert.Throws<InvalidOperationException>(() => cache.BeginPass(Behind(s, 3))).Message);
        cache.BeginPass(Behind(s, 1));
        Assert.Contains("several passes", Assert.Throws<InvalidOperationException>(() => cache.Commit(s, [0])).Message);
        Assert.Contains("pass running", Assert.Throws<InvalidOperationException>(() => cache.BeginPass(Chain(s, 3, 1))).Message);
        cache.Commit(s, []);
        Assert.Equal(3, cache.Length(s));
        cache.BeginPass(Chain(s, 3, 1));
        cache.Commit(s, [0]);

        static RowBatch Behind(int sequence, int earlier)
        {
            var rows = new RowBatch(4);
            rows.AddBehind(1, sequence, 3, earlier, [(1UL << earlier) - 1, 0, 0, 0], wantsLogits: true);
            return rows;
        }
    }

    [Fact]
    public void Policies_that_evict_refuse_trees_that_grow()
    {
        using PagedKvCache cache = Create(pages: 60, policy: new OneHeadKeepsLast(8));
        int s = cache.TryAcquire();
        Assert.True(cache.TryReserve(s, 60));
        cache.BeginPass(Chain(s, 0, 1));
        var rows = new RowBatch(4);
        rows.AddBehind(1, s, 0, 1, [1UL, 0, 0, 0], wantsLogits: true);
        Assert.Contains("evict nothing", Assert.Throws<InvalidOperationException>(() => cache.BeginPass(rows)).Message);
    }

    [Fact]
    public void Budget_below_one_page_per_head_is_refused_with_the_remedy()
    {
        var e = Assert.Throws<OutOfMemoryBudgetException>(() => Create(pages: 5));
        Assert.Contains(PagedKvCache.BytesFor(Layout, 1, 1).ToString("N0"), e.Message);
    }

    [Fact]
    public void Memory_plan_lists_pool_and_tables()
    {
        var plan = new MemoryPlan();
        var options = new KvCacheOptions
        {
            Layout = Layout, MaxSequences = 2, MaxTokensPerSequence = 100, MaxRowsPerSequence = 20, BudgetBytes = PagedKvCache.BytesFor(Layout, 2, 100),
        };
        using var cache = new PagedKvCache(options, plan);
        Assert.Equal(PagedKvCache.BytesFor(Layout, 2, 100), plan.Entries.Single(e => e.Name == "pages").Bytes);
        Assert.Contains(plan.Entries, e => e.Name == "slot tables");
        Assert.Equal(2 * 7 * 6, cache.Statistics.PagesTotal);
    }

    [Fact]
    public void Policy_that_expires_slots_frees_pages_per_head()
    {
        using PagedKvCache cache = Create(pages: 60, policy: new OneHeadKeepsLast(8));
        int s = cache.TryAcquire();
        Assert.True(cache.TryReserve(s, 100));
        for (int p = 0; p < 80; p += 20)
        {
            cache.BeginPass(Chain(s, p, 20));
            cache.Commit(s, Path(20));
        }

        Assert.Equal(80, cache.LiveTokens(s, 0, 0));
        Assert.Equal(8, cache.LiveTokens(s, 1, 1));
        KvStatistics statistics = cache.Statistics;
        Assert.Equal((5 * 5 + 1) * statistics.PageBytes, statistics.BytesHeld);
        Assert.Equal(5 * 80 + 8, statistics.LiveSlots);
        Assert.Equal(80.0 * 6 / 408, statistics.PresentCompression, 12);
        Assert.Equal(6 * (20 + 40 + 60 + 80) / (5.0 * (20 + 40 + 60 + 80) + 4 * 8), statistics.EffectiveCompression, 12);
        cache.Release(s);
        Assert.Equal(60, cache.Statistics.PagesFree);
    }

    [Fact]
    public void Passes_allocate_nothing()
    {
        using PagedKvCache cache = Create(pages: 60, policy: new OneHeadKeepsLast(8));
        RowBatch rows = new(16);
        int[] path = [0, 1, 2];
        void Generate()
        {
            int s = cache.TryAcquire();
            cache.TryReserve(s, 60);
            for (int p = 0; p < 30; p += 3)
            {
                rows.Clear();
                for (int i = 0; i < 8; i++) rows.Add(0, p + i, s, i - 1, false);
                cache.BeginPass(rows);
                cache.Commit(s, path);
            }

            _ = cache.Statistics;
            cache.Release(s);
        }

        Generate();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Generate();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    /// <summary>Layer 1, KV head 1 sees the last few positions only.</summary>
    private sealed class OneHeadKeepsLast(int window) : IEvictionPolicy
    {
        public string Name => "test";

        public bool Evicts => true;

        public int ExpireOf(int layer, int kvHead, int position) => layer == 1 && kvHead == 1 ? position + window : int.MaxValue;
    }
}
