using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Tests.Generation;

/// <summary>A loop over a <see cref="PathBackend"/> and the real cache.</summary>
internal sealed class LoopRig : IDisposable
{
    public const int Vocab = 48;
    private const int SlotsPerPage = 16;

    public LoopRig(DecodeLoopOptions options, IDrafter? drafter = null, int? kvTokens = null, int vocab = Vocab, IEvictionPolicy? policy = null, int prefixes = 0,
        IAcceptanceRule? rule = null, bool logitsOnHost = true)
    {
        drafter ??= new NoDrafter();
        Backend = new PathBackend(vocab) { LogitsOnHost = logitsOnHost };
        Model = Backend.Model(options.MaxRows, options.MaxLogitRows(drafter.MaxNodes));
        var layout = new KvLayout(1, 1, 2, KvType.F32, SlotsPerPage);
        int slack = options.MaxRowsPerSequence(drafter.MaxNodes);
        Cache = new PagedKvCache(
            new KvCacheOptions
            {
                Layout = layout, MaxSequences = options.MaxSequences, MaxTokensPerSequence = options.ContextLength, MaxRowsPerSequence = slack,
                Policy = policy ?? new DensePolicy(),
                MaxPrefixes = prefixes,
                BudgetBytes = kvTokens is { } tokens
                    ? PagedKvCache.BytesFor(layout, 1, tokens)
                    : PagedKvCache.BytesFor(layout, options.MaxSequences, options.ContextLength + slack),
            },
            new MemoryPlan());
        Loop = new DecodeLoop(Model, Cache, drafter, options, rule: rule);
    }

    public PathBackend Backend { get; }

    public Transformer Model { get; }

    public PagedKvCache Cache { get; }

    public DecodeLoop Loop { get; }

    public static DecodeLoopOptions Options(int maxSequences = 8, int maxRows = 128, int chunk = 64, int context = 512) =>
        new() { ContextLength = context, MaxSequences = maxSequences, MaxRows = maxRows, PrefillChunk = chunk };

    public static Sequence Sequence(
        int[] prompt, int maxTokens, SamplingOptions? sampling = null, int[]? stopTokens = null, string[]? stopStrings = null, int priority = 0,
        TimeSpan? deadline = null) =>
        new(prompt, maxTokens, sampling ?? SamplingOptions.Greedy, new StopConditions(stopTokens ?? [], stopStrings ?? [], t => TokenBytes[t]),
            priority, deadline);

    /// <summary>Token t is the letter 'A' + t.</summary>
    public static byte[][] TokenBytes { get; } = [.. Enumerable.Range(0, Vocab).Select(t => new[] { (byte)('A' + t) })];

    public static int[] Prompt(int length, ulong seed)
    {
        var random = new SeededRandom(seed, 1);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(Vocab))];
    }

    public void RunToEnd()
    {
        while (Loop.Step())
        {
        }
    }

    /// <summary>All pages are back in the pool and none is reserved.</summary>
    public void AssertCacheEmpty()
    {
        Cache.ClearPrefixes();
        KvStatistics statistics = Cache.Statistics;
        Assert.Equal((0, 0L, statistics.PagesTotal), (statistics.Sequences, (long)statistics.PagesReserved, statistics.PagesFree));
    }

    public void Dispose() => Cache.Dispose();
}
