using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;
using Xunit.Abstractions;

namespace Foretoken.Tests.KvCache;

/// <summary>Bytes that delayed eviction really frees, against a dense cache of the same tokens.</summary>
public sealed class MemoryFigureTests(ITestOutputHelper output)
{
    private static KvStatistics Fill(IEvictionPolicy policy, int tokens, int chunk, bool reclaimAll = false)
    {
        var layout = new KvLayout(LayerCount: 4, KvHeadCount: 8, HeadDim: 2, KvType.BF16);
        using var cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = 1, MaxTokensPerSequence = tokens, MaxRowsPerSequence = chunk,
                BudgetBytes = PagedKvCache.BytesFor(layout, 1, tokens), Policy = policy,
            },
            new MemoryPlan());
        int s = cache.TryAcquire();
        Assert.True(cache.TryReserve(s, tokens));
        var rows = new RowBatch(chunk);
        int[] path = [.. Enumerable.Range(0, chunk)];
        for (int position = 0; position < tokens; position += chunk)
        {
            rows.Clear();
            for (int i = 0; i < chunk; i++) rows.Add((position + i) * 31 % 1000, position + i, s, i - 1, false);
            cache.BeginPass(rows);
            cache.Commit(s, path);
        }

        if (reclaimAll) cache.Reclaim(s);
        return cache.Statistics;
    }

    /// <summary>The rule alone allows (W + (T − W) / 8) / T = 0.152 and 0.132; pages and waiting slots cost the rest.</summary>
    [Theory]
    [InlineData(4096, 1, 0.16)]
    [InlineData(4096, 64, 0.16)]
    [InlineData(16384, 64, 0.14)]
    public void Dms_at_compression_8_and_window_128_holds_a_seventh_of_the_dense_bytes(int tokens, int chunk, double bound)
    {
        KvStatistics dense = Fill(new DensePolicy(), tokens, 64);
        KvStatistics dms = Fill(new DmsPolicy(128, SyntheticDecisions.ForCompression(11, 8)), tokens, chunk);
        Assert.Equal(PagedKvCache.BytesFor(new KvLayout(4, 8, 2, KvType.BF16), 1, tokens), dense.BytesHeld);
        double share = (double)dms.BytesHeld / dense.BytesHeld;
        Assert.True(share <= bound, $"{share:F4} of the dense bytes at {tokens} tokens");
        Assert.InRange((double)dms.PeakBytes / dense.PeakBytes, share, bound + (chunk + 32.0) / tokens);
        double expected = 128 + (tokens - 128) / 8.0;
        Assert.InRange(dms.LiveTokensPerHead, expected * 0.97, expected * 1.03);
        Assert.InRange(dms.DeadSlots, 0, 32 * 7);
        output.WriteLine(FormattableString.Invariant(
            $"{tokens} tokens in passes of {chunk}: dense {dense.BytesHeld} bytes, evicted {dms.BytesHeld} ({share:F4}), live tokens per head {dms.LiveTokensPerHead:F1}"));
    }

    /// <summary>
    /// Expired slots wait for seven others, or until a thirty-second of a head's slots has expired: what they hold meanwhile is less than a page per head, and all of it comes back
    /// when pages are short.
    /// </summary>
    [Theory]
    [InlineData(600)]
    [InlineData(1700)]
    [InlineData(4000)]
    public void Slots_that_wait_to_be_reclaimed_hold_less_than_a_page_per_head(int tokens)
    {
        var policy = new DmsPolicy(128, SyntheticDecisions.ForCompression(11, 8));
        KvStatistics waiting = Fill(policy, tokens, 1), reclaimed = Fill(policy, tokens, 1, reclaimAll: true);
        Assert.True(waiting.DeadSlots > 0);
        Assert.Equal((0, waiting.LiveSlots), (reclaimed.DeadSlots, reclaimed.LiveSlots));
        Assert.InRange(waiting.PagesHeld - reclaimed.PagesHeld, 0, waiting.Heads - 1);
        output.WriteLine(FormattableString.Invariant(
            $"{tokens} tokens: {waiting.DeadSlots} expired slots beside {waiting.LiveSlots} live ones hold {waiting.PagesHeld - reclaimed.PagesHeld} of {waiting.PagesHeld} pages"));
    }

    [Fact]
    public void Effective_compression_is_the_mean_over_the_whole_generation()
    {
        KvStatistics dms = Fill(new DmsPolicy(128, SyntheticDecisions.ForCompression(11, 8)), 4096, 1);
        double live = 0, visible = 0;
        for (int t = 1; t <= 4096; t++)
        {
            visible += t;
            live += t <= 129 ? t : 129 + (t - 129) / 8.0;
        }

        Assert.InRange(dms.EffectiveCompression, 0.97 * visible / live, 1.03 * visible / live);
        Assert.True(dms.PresentCompression > dms.EffectiveCompression);
        Assert.Equal(4096, dms.Passes);
        double read = dms.BytesRead / (32.0 * (2 * 2 + 32 * 2)); // slots per head: a key of 2 dims, a value row of 32
        Assert.InRange(read, live, live + 4096 * 12);
    }
}
