using Foretoken.KvCache;

namespace Foretoken.Generation;

/// <summary>How many pages of the KV budget a sequence is counted with when the scheduler decides on admission.</summary>
internal sealed class KvForecast(DecodeLoopOptions options, PagedKvCache cache)
{
    private const double NewestWeight = 1.0 / 8;

    private readonly bool _measured = options.KvAdmission == KvAdmission.Measured;

    /// <summary>Mean tokens of recent answers; null until one has ended.</summary>
    public double? MeanAnswerTokens { get; private set; } = options.ExpectedAnswerTokens > 0 ? options.ExpectedAnswerTokens : null;

    /// <summary>Mean share of slots that eviction left in recent answers.</summary>
    public double LiveFraction { get; private set; } = 1;

    /// <summary>Cache slots that a sequence may come to need without drafts: the last token of the answer is never read back.</summary>
    public static int WorstCaseTokens(Sequence sequence) => sequence.History.Capacity - 1;

    /// <summary>Tokens that the sequence's reservation never falls below, from its admission on.</summary>
    public int ReservedTokens(Sequence sequence) => _measured ? 0 : WorstCaseTokens(sequence);

    /// <summary>
    /// Pages that the sequence is counted with beside the frozen ones of running sequences: what it has reserved, or is expected to need, whichever is more.
    /// </summary>
    public int Pages(Sequence sequence)
    {
        bool running = sequence.CacheIndex >= 0;
        int own = running ? cache.ReservedPages(sequence.CacheIndex) : 0;
        if (running && !_measured) return own;
        int needed = cache.PagesOf(_measured ? (int)Math.Ceiling(ExpectedTokens(sequence) * LiveFraction) : WorstCaseTokens(sequence));
        int shared = running ? cache.FrozenPagesOf(sequence.CacheIndex) : SharedPages(sequence);
        return Math.Max(own, needed - shared);
    }

    /// <summary>Pages by which preempting the running sequence makes room.</summary>
    public int FreedPages(Sequence sequence) =>
        Pages(sequence) - cache.ReservedPages(sequence.CacheIndex) + cache.PagesFreedBy(sequence.CacheIndex);

    /// <summary>Learns from an answer that came to its end, while the cache still holds it.</summary>
    public void Observe(Sequence sequence)
    {
        double tokens = sequence.History.GeneratedCount;
        MeanAnswerTokens = MeanAnswerTokens is { } mean ? mean + (tokens - mean) * NewestWeight : tokens;
        if (!cache.Options.Policy.Evicts || cache.Length(sequence.CacheIndex) == 0) return;
        LiveFraction += (LiveShare(sequence.CacheIndex) - LiveFraction) * NewestWeight;
    }

    /// <summary>
    /// A running answer is expected to reach the mean length, or a quarter of it more than it has; one that was preempted, because expectations failed
    /// before, the most it may, so that it does not come and go.
    /// </summary>
    private double ExpectedTokens(Sequence sequence)
    {
        int worst = WorstCaseTokens(sequence);
        if (MeanAnswerTokens is not { } mean || sequence.Statistics.Preemptions > 0) return worst;
        return Math.Min(worst, Math.Max(sequence.History.PromptCount + mean, sequence.History.Count + mean / 4));
    }

    /// <summary>Pages that a waiting sequence would share from its beginning: with another sample of its request, or with who else holds a stored prefix.</summary>
    private int SharedPages(Sequence sequence) => sequence.Group?.FindSource(sequence, cache) is { Tokens: > 0 } source
        ? cache.PagesSharedByFork(source.Sequence, source.Tokens)
        : cache.PagesSharedWith(sequence.History.Tokens);

    private double LiveShare(int sequence)
    {
        int layers = cache.Options.Layout.LayerCount, heads = cache.Options.Layout.KvHeadCount;
        long live = 0;
        for (int layer = 0; layer < layers; layer++)
        {
            for (int head = 0; head < heads; head++) live += cache.LiveTokens(sequence, layer, head);
        }

        return (double)live / ((long)layers * heads * cache.Length(sequence));
    }
}
