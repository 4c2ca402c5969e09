using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;

namespace Foretoken.Tests.KvCache;

/// <summary>Forks, cutting back, stored prefixes: pages, books and reasons. That contents stay right is what the simulation checks.</summary>
public sealed class SharingTests
{
    private const int Heads = 4;
    private static readonly KvLayout Layout = new(LayerCount: 2, KvHeadCount: 2, HeadDim: 4, KvType.F32, SlotsPerPage: 16);

    private static PagedKvCache Create(int pages, IEvictionPolicy? policy = null, int prefixes = 0, int sequences = 5) => new(
        new KvCacheOptions
        {
            Layout = Layout,
            MaxSequences = sequences,
            MaxTokensPerSequence = 200,
            MaxRowsPerSequence = 64,
            BudgetBytes = (long)pages * new KvPageFormat(Layout).PageBytes,
            Policy = policy ?? new DensePolicy(),
            ReclaimBatch = 1,
            MaxPrefixes = prefixes,
        },
        new MemoryPlan());

    private static int[] Tokens(int count, int seed = 0) => [.. Enumerable.Range(0, count).Select(i => (i * 7 + seed) % 50)];

    private static void Append(PagedKvCache cache, int sequence, int count, int seed = 0)
    {
        int position = cache.Length(sequence);
        int[] tokens = Tokens(position + count, seed);
        for (int done = 0; done < count; done += 50)
        {
            var rows = new RowBatch(64);
            for (int i = 0; i < Math.Min(50, count - done); i++) rows.Add(tokens[position + done + i], position + done + i, sequence, i - 1, false);
            cache.BeginPass(rows);
            cache.Commit(sequence, Enumerable.Range(0, rows.Count).ToArray());
        }
    }

    private static int New(PagedKvCache cache, int tokens, int reserve = 0)
    {
        int s = cache.TryAcquire();
        Assert.True(cache.TryReserve(s, Math.Max(tokens, reserve)));
        Append(cache, s, tokens);
        return s;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Forks_share_pages_until_they_write_and_are_released_in_any_order(bool parentFirst)
    {
        using PagedKvCache cache = Create(pages: 40);
        int parent = New(cache, 40); // two full pages and a part of a third per head
        int fork = cache.TryFork(parent);
        Assert.Equal((40, 40), (cache.Length(fork), cache.Reserved(fork)));
        Assert.Equal(3 * Heads, cache.Statistics.PagesHeld);
        Assert.Equal((2 + 1 + 1) * Heads, cache.Statistics.PagesReserved); // frozen pages once, the last page for each
        Assert.True(cache.TryReserve(fork, 48));
        Append(cache, fork, 1);
        Assert.Equal(4 * Heads, cache.Statistics.PagesHeld);
        Assert.True(cache.TryReserve(parent, 48));
        Append(cache, parent, 1); // alone on its page by now: nothing is copied
        Assert.Equal(4 * Heads, cache.Statistics.PagesHeld);
        cache.Release(parentFirst ? parent : fork);
        Assert.Equal(3 * Heads, cache.Statistics.PagesHeld);
        Assert.Equal(3 * Heads, cache.Statistics.PagesReserved);
        cache.Release(parentFirst ? fork : parent);
        Assert.Equal((40, 0), (cache.Statistics.PagesFree, cache.Statistics.PagesReserved));
    }

    [Fact]
    public void Shared_pages_admit_more_forks_than_copies_would_fit()
    {
        using PagedKvCache cache = Create(pages: 10 * Heads, sequences: 5);
        int parent = New(cache, 96); // six pages per head
        for (int i = 0; i < 4; i++)
        {
            int fork = cache.TryFork(parent);
            Assert.True(cache.TryReserve(fork, 112)); // one page of its own per head
            Append(cache, fork, 16);
        }

        Assert.Equal(10 * Heads, cache.Statistics.PagesHeld);
        Assert.False(cache.TryReserve(parent, 112));
        Assert.Equal(96, cache.Reserved(parent));
    }

    [Fact]
    public void Fork_without_room_or_during_a_pass_is_refused()
    {
        using PagedKvCache cache = Create(pages: 5 * Heads, sequences: 2);
        int parent = New(cache, 40, reserve: 80);
        Assert.Equal(-1, cache.TryFork(parent)); // no page for the copy of the last one
        Assert.True(cache.TryReserve(parent, 48));
        int fork = cache.TryFork(parent);
        Assert.True(fork >= 0);
        Assert.Equal(-1, cache.TryFork(parent)); // all sequences are taken
        cache.Release(fork);
        var rows = new RowBatch(1);
        rows.Add(1, 40, parent, -1, false);
        cache.BeginPass(rows);
        Assert.Contains("pass running", Assert.Throws<InvalidOperationException>(() => cache.TryFork(parent)).Message);
        Assert.Contains("pass running", Assert.Throws<InvalidOperationException>(() => cache.TryTruncate(parent, 3)).Message);
    }

    [Fact]
    public void Truncate_gives_pages_back_and_keeps_the_reservation()
    {
        using PagedKvCache cache = Create(pages: 20 * Heads);
        int s = New(cache, 70, reserve: 100);
        int fork = cache.TryFork(s);
        Assert.True(cache.TryTruncate(s, 20));
        Assert.Equal((20, 100), (cache.Length(s), cache.Reserved(s)));
        Append(cache, s, 80);
        Assert.Equal(70, cache.Length(fork));
        Assert.True(cache.TryTruncate(s, 0));
        Append(cache, s, 10);
        Assert.Equal(10, cache.LiveTokens(s, 1, 1));
        cache.Release(fork);
        cache.Release(s);
        Assert.Equal(20 * Heads, cache.Statistics.PagesFree);
    }

    [Fact]
    public void Truncate_below_reclaimed_tokens_is_refused()
    {
        using PagedKvCache cache = Create(pages: 40, new SlidingWindowPolicy(10));
        int s = New(cache, 40);
        Assert.Equal(40, cache.ShortestLength(s)); // position 29 was visible to the row at 38 and reclaimed behind 39
        Assert.False(cache.TryTruncate(s, 39));
        Assert.Equal(40, cache.Length(s));
    }

    [Fact]
    public void Stored_prefix_is_attached_in_whole_blocks_and_leaves_a_token_to_compute()
    {
        using PagedKvCache cache = Create(pages: 60, prefixes: 4);
        int a = New(cache, 40);
        Assert.True(cache.PublishPrefix(a, Tokens(40)));
        cache.Release(a);
        KvStatistics statistics = cache.Statistics;
        Assert.Equal((0, 1), (statistics.PagesHeld, statistics.Prefixes.Stored));
        Assert.Equal(2L * Heads * statistics.PageBytes, statistics.BytesCached); // whole blocks only
        int b = cache.TryAcquire();
        Assert.Equal(16, cache.TryAttachPrefix(b, Tokens(32))); // one token must be left
        Assert.Equal((16, 16), (cache.Length(b), cache.Reserved(b)));
        Assert.Equal(Heads, cache.Statistics.PagesReserved);
        Assert.True(cache.TryReserve(b, 32));
        Append(cache, b, 16);
        int c = cache.TryAcquire();
        Assert.Equal(32, cache.TryAttachPrefix(c, Tokens(33)));
        Assert.Equal((2L, 48L), (cache.Statistics.Prefixes.Hits, cache.Statistics.Prefixes.ReusedTokens));
    }

    [Fact]
    public void Reasons_of_misses_are_counted()
    {
        using PagedKvCache cache = Create(pages: 3 * Heads, prefixes: 4);
        int a = cache.TryAcquire();
        Assert.Equal(0, cache.TryAttachPrefix(a, Tokens(20)));
        Assert.Equal(0, cache.TryAttachPrefix(a, Tokens(16)));
        Assert.True(cache.TryReserve(a, 48));
        Append(cache, a, 48);
        Assert.True(cache.PublishPrefix(a, Tokens(48)));
        int b = cache.TryAcquire();
        Assert.Equal(0, cache.TryAttachPrefix(b, Tokens(30, seed: 1)));
        cache.Release(a);
        Assert.True(cache.TryReserve(b, 32));
        int c = cache.TryAcquire();
        Assert.Equal(0, cache.TryAttachPrefix(c, Tokens(48)));
        PrefixStatistics p = cache.Statistics.Prefixes;
        Assert.Equal((0L, 1L, 1L, 1L, 0L, 1L), (p.Hits, p.MissesEmpty, p.MissesTooShort, p.MissesOtherTokens, p.MissesNoSnapshot, p.MissesNoRoom));
    }

    [Fact]
    public void Under_eviction_only_snapshots_at_block_ends_are_stored_and_matched()
    {
        using PagedKvCache cache = Create(pages: 200, new DmsPolicy(4, new SyntheticDecisions(1, 0.8)), prefixes: 4);
        int a = New(cache, 40, reserve: 200);
        Assert.False(cache.PublishPrefix(a, Tokens(40)));
        Append(cache, a, 24);
        Assert.True(cache.PublishPrefix(a, Tokens(64)));
        int b = cache.TryAcquire();
        Assert.Equal(0, cache.TryAttachPrefix(b, Tokens(50)));
        Assert.Equal(1, cache.Statistics.Prefixes.MissesNoSnapshot);
        Assert.Equal(64, cache.TryAttachPrefix(b, Tokens(70)));
        for (int h = 0; h < Heads; h++) Assert.Equal(cache.LiveTokens(a, h / 2, h % 2), cache.LiveTokens(b, h / 2, h % 2));
        Assert.True(cache.TryReserve(b, 100));
        Append(cache, a, 10);
        Append(cache, b, 10);
        for (int h = 0; h < Heads; h++) Assert.Equal(cache.LiveTokens(a, h / 2, h % 2), cache.LiveTokens(b, h / 2, h % 2));
    }

    [Fact]
    public void Stored_prefixes_give_way_to_running_sequences_the_oldest_first()
    {
        using PagedKvCache cache = Create(pages: 6 * Heads, prefixes: 3);
        foreach (int seed in new[] { 1, 2, 3 })
        {
            int s = cache.TryAcquire();
            Assert.True(cache.TryReserve(s, 32));
            Append(cache, s, 32, seed);
            Assert.True(cache.PublishPrefix(s, Tokens(32, seed)));
            cache.Release(s);
        }

        Assert.Equal((0, 3), (cache.Statistics.PagesFree, cache.Statistics.Prefixes.Stored));
        int a = cache.TryAcquire();
        Assert.Equal(32, cache.TryAttachPrefix(a, Tokens(33, seed: 1))); // used last from now on
        cache.Release(a);
        int b = New(cache, 16); // one page per head: the prefix used longest ago goes
        Assert.Equal(2, cache.Statistics.Prefixes.Stored);
        int c = cache.TryAcquire();
        Assert.Equal(0, cache.TryAttachPrefix(c, Tokens(33, seed: 2)));
        Assert.Equal(32, cache.TryAttachPrefix(c, Tokens(33, seed: 1)));
        Assert.Equal(16, cache.LiveTokens(b, 0, 0));
    }

    /// <summary>
    /// A sequence whose evicted heads have room left on their last page stores a prefix that is all of the pool. Its next row writes a page that only the stored prefix holds
    /// beside it, while no page is free for a copy: the prefix goes, and with it the need for a copy.
    /// </summary>
    [Fact]
    public void Copy_on_write_in_a_full_pool_drops_stored_prefixes_before_it_fails()
    {
        using PagedKvCache cache = Create(pages: 2 * Heads, new DmsPolicy(4, new SyntheticDecisions(1, 0.3)), prefixes: 2);
        int s = New(cache, 32);
        for (int h = 0; h < Heads; h++) Assert.InRange(cache.LiveTokens(s, h / 2, h % 2), 17, 31); // two pages, the second with room
        Assert.True(cache.PublishPrefix(s, Tokens(32)));
        Assert.Equal((0, 1), (cache.Statistics.PagesFree, cache.Statistics.Prefixes.Stored));
        Assert.True(cache.TryReserve(s, 33));
        int live = cache.LiveTokens(s, 0, 0);
        Append(cache, s, 1);
        Assert.Equal((0, 1L, 0), (cache.Statistics.Prefixes.Stored, cache.Statistics.Prefixes.Dropped, cache.Statistics.PagesFree));
        Assert.InRange(cache.LiveTokens(s, 0, 0), live - 1, live + 1);
        cache.Release(s);
        Assert.Equal(2 * Heads, cache.Statistics.PagesFree);
    }

    /// <summary>As above, with another stored prefix: the older one goes first and frees a page for the copy, so that the other stays.</summary>
    [Fact]
    public void Copy_on_write_in_a_full_pool_drops_no_more_prefixes_than_the_copies_need()
    {
        using PagedKvCache cache = Create(pages: 4 * Heads, new DmsPolicy(4, new SyntheticDecisions(1, 0.3)), prefixes: 2);
        int old = New(cache, 32);
        Assert.True(cache.PublishPrefix(old, Tokens(32)));
        cache.Release(old);
        int s = cache.TryAcquire();
        Assert.True(cache.TryReserve(s, 32));
        Append(cache, s, 32, seed: 3);
        Assert.True(cache.PublishPrefix(s, Tokens(32, seed: 3)));
        Assert.Equal((0, 2), (cache.Statistics.PagesFree, cache.Statistics.Prefixes.Stored));
        Assert.True(cache.TryReserve(s, 33));
        Append(cache, s, 1, seed: 3);
        Assert.Equal((1, 1L), (cache.Statistics.Prefixes.Stored, cache.Statistics.Prefixes.Dropped));
        int again = cache.TryAcquire();
        Assert.Equal(32, cache.TryAttachPrefix(again, Tokens(33, seed: 3)));
    }

    [Fact]
    public void Longer_prefix_replaces_the_one_it_begins_with()
    {
        using PagedKvCache cache = Create(pages: 60, prefixes: 2);
        int a = New(cache, 32, reserve: 64);
        Assert.True(cache.PublishPrefix(a, Tokens(32)));
        Append(cache, a, 32);
        Assert.True(cache.PublishPrefix(a, Tokens(64)));
        Assert.True(cache.PublishPrefix(a, Tokens(64))); // known
        Assert.Equal((1, 1L), (cache.Statistics.Prefixes.Stored, cache.Statistics.Prefixes.Dropped));
        cache.ClearPrefixes();
        cache.Release(a);
        Assert.Equal(60, cache.Statistics.PagesFree);
    }

    [Fact]
    public void Forking_sharing_and_cutting_back_allocate_nothing()
    {
        using PagedKvCache cache = Create(pages: 100, new DmsPolicy(4, new SyntheticDecisions(1, 0.8)), prefixes: 2);
        int[] tokens = Tokens(33), path = [.. Enumerable.Range(0, 32)];
        var rows = new RowBatch(32);
        void Cycle()
        {
            int s = cache.TryAcquire();
            if (cache.TryAttachPrefix(s, tokens) == 0)
            {
                cache.TryReserve(s, 40);
                rows.Clear();
                for (int i = 0; i < 32; i++) rows.Add(tokens[i], i, s, i - 1, false);
                cache.BeginPass(rows);
                cache.Commit(s, path);
                cache.PublishPrefix(s, tokens);
            }

            int fork = cache.TryFork(s);
            cache.TryReserve(fork, 40);
            rows.Clear();
            for (int i = 0; i < 5; i++) rows.Add(i, 32 + i, fork, i - 1, false);
            cache.BeginPass(rows);
            cache.Commit(fork, path.AsSpan(0, 5));
            cache.TryTruncate(fork, 36);
            cache.Release(s);
            cache.Release(fork);
        }

        Cycle();
        Cycle();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Cycle();
        cache.ClearPrefixes();
        Cycle();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
