using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;

namespace Foretoken.Tests.KvCache;

/// <summary>The index of stored prefixes by itself, at sizes that no model here reaches.</summary>
public sealed class PrefixIndexTests
{
    /// <summary>The index reserves memory and touches what it writes: ten gigabytes of it are asked for here and a few megabytes used.</summary>
    [Fact]
    public void More_than_two_billion_tokens_of_prefixes_are_kept_apart()
    {
        const int prefixes = 4096, maxTokens = 1 << 19 | 160, block = 16;
        Assert.True((long)prefixes * maxTokens > int.MaxValue);
        var plan = new MemoryPlan();
        PrefixIndex index;
        try
        {
            index = new PrefixIndex(prefixes, maxTokens, block, plan);
        }
        catch (OutOfMemoryBudgetException e)
        {
            Assert.Contains("prefix index", e.Message, StringComparison.Ordinal); // a machine that lends less: a clear refusal
            return;
        }

        using (index)
        {
            Assert.Equal(prefixes * (maxTokens * 4L + maxTokens / block * 8L), plan.TotalBytes);
            int[] first = Tokens(64, 1), middle = Tokens(80, 2), last = Tokens(96, 3);
            index.Store(0, first, 0);
            index.Store(prefixes / 2, middle, 0);
            index.Store(prefixes - 1, last, 0);
            foreach ((int prefix, int[] tokens) in new[] { (0, first), (prefixes / 2, middle), (prefixes - 1, last) })
                Assert.Equal(new PrefixMatch(prefix, tokens.Length, PrefixMiss.None), index.Find([.. tokens, 7]));
            index.Remove(prefixes - 1);
            Assert.Equal(PrefixMiss.OtherTokens, index.Find([.. last, 7]).Miss);
            Assert.Equal(0, index.Oldest);
        }
    }

    [Theory]
    [InlineData(1 << 30, 1 << 30, 64)]
    [InlineData(int.MaxValue, 1, 64)]
    [InlineData(4, 4, int.MaxValue)]
    public void Cache_whose_tables_cannot_be_counted_is_refused(int sequences, int prefixes, int tokens)
    {
        var layout = new KvLayout(LayerCount: 2, KvHeadCount: 2, HeadDim: 4, KvType.F32, SlotsPerPage: 16);
        var options = new KvCacheOptions
        {
            Layout = layout, MaxSequences = sequences, MaxPrefixes = prefixes, MaxTokensPerSequence = tokens, MaxRowsPerSequence = 64, BudgetBytes = 1 << 20,
        };
        var e = Assert.Throws<OutOfMemoryBudgetException>(() => new PagedKvCache(options, new MemoryPlan()));
        Assert.Contains("lower max-sequences, max-prefixes or the context", e.Message, StringComparison.Ordinal);
    }

    private static int[] Tokens(int count, int seed) => [.. Enumerable.Range(0, count).Select(i => (i * 7 + seed) % 50)];
}
