using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Xunit.Sdk;

namespace Foretoken.Tests.Seam;

/// <summary>Runs one combination, compares every answer with plain decoding alone, and asserts that what the combination names has happened.</summary>
public sealed class SeamRun
{
    private const int StepsBetweenIntrusions = 4, PassesBetweenCounts = 3;
    private readonly SeamCombination _c;
    private readonly SeamModels _models;
    private readonly (int Request, int Sample)[] _asked; // [sequences]
    private readonly Sequence[] _running; // [sequences]
    private readonly List<Sequence> _submitted = []; // with those that only store prefixes or intrude
    private readonly SeamDrafter _drafter;
    private readonly SeamLoop _run;
    private readonly DecodeLoop _loop;
    private readonly PagedKvCache _cache;
    private readonly IEvictionPolicy _policy;
    private readonly bool _planted;
    private int _intrusions, _most;
    private long _lastIntrusion = -StepsBetweenIntrusions, _heads, _forgotten;

    private SeamRun(SeamCombination c, SeamModels models, SeamDefect defect)
    {
        (_c, _models, _policy, _planted) = (c, models, c.EvictionPolicy, defect != SeamDefect.None);
        (int requests, int samples) = c.Size;
        int first = c.Batch == SeamBatch.One ? c.Index % 4 * 8 : c.Index % SeamRequest.Count; // alone, one of the long prompts
        _asked = [.. Enumerable.Range(0, c.Sequences).Select(i => ((first + i / samples) % SeamRequest.Count, i % samples))];
        _running = new Sequence[c.Sequences];
        _drafter = new SeamDrafter(c.Drafts, models.Directory);
        foreach ((int request, int sample) in _asked) _drafter.Record(SeamRequest.Number(request, c, sample), models.Alone(c, request, sample));
        _run = models.Loop(c, new SeamSize(c.Sequences, c.Chunk, c.Prefixes ? 40 : 0), _drafter, defect);
        (_loop, _cache) = (_run.Loop, _run.Cache);
        Assert.Equal(c.Threads, _run.Threads);
    }

    /// <exception cref="XunitException">An answer differs, or something did not happen; the message names the combination.</exception>
    public static void Check(SeamCombination combination, SeamModels models, SeamTotals totals, SeamDefect defect = SeamDefect.None)
    {
        var run = new SeamRun(combination, models, defect);
        try
        {
            run.Serve();
            run.Compare();
            run.AssertItHappened();
            totals.Add(combination, run._running, run._loop.Steps, run._heads, run._forgotten);
        }
        catch (Exception e)
        {
            throw new XunitException($"combination {combination.Index}: {combination}\n{e}");
        }
        finally
        {
            run._run.Dispose();
        }
    }

    public static void AssertSame(int[] alone, int[] answer, string request, string what)
    {
        int common = alone.AsSpan().CommonPrefixLength(answer);
        Assert.True(
            common == alone.Length && common == answer.Length,
            $"{request} differs from plain decoding alone in {what} {common} of {alone.Length}");
    }

    private void Serve()
    {
        if (_c.Prefixes) StoreBeginnings();
        var random = new SeededRandom((ulong)_c.Index, 11);
        (int requests, int samples) = _c.Size;
        int[] order = [.. Enumerable.Range(0, requests)];
        bool shuffled = _c.Batch == SeamBatch.ThirtyTwoShuffled;
        if (shuffled) random.Shuffle(order.AsSpan());
        foreach (int r in order)
        {
            for (int i = r * samples; i < (r + 1) * samples; i++) _running[i] = SeamRequest.Number(_asked[i].Request, _c, _asked[i].Sample).Sequence();
            Submit(_running.AsSpan(r * samples, samples));
            for (int steps = shuffled ? random.Next(4) : 0; steps > 0; steps--) _ = Pass();
        }

        Step(intrude: _c.Preempted);
    }

    /// <summary>
    /// Leaves snapshots of what all prompts begin with at ends of blocks: under eviction a prefix is matched nowhere else, so that a request has to end there.
    /// </summary>
    private void StoreBeginnings()
    {
        int shared = _c.SharedTokens, blocks = ReusableTokens;
        foreach (int length in blocks == shared ? new[] { shared } : [32, _c.Policy == SeamPolicy.Dense ? shared : blocks])
        {
            Submit([new SeamRequest(SeamRequest.Shared(length).ToArray(), 1, SamplingOptions.Greedy).Sequence()]);
            Step(intrude: false);
        }
    }

    /// <summary>Whole blocks of what all prompts begin with.</summary>
    private int ReusableTokens => _c.SharedTokens / SeamModels.SlotsPerPage * SeamModels.SlotsPerPage;

    private void Submit(ReadOnlySpan<Sequence> samples)
    {
        _submitted.AddRange(samples);
        _loop.Submit(samples);
    }

    private void Step(bool intrude)
    {
        do
        {
            if (intrude) Intrude();
        }
        while (Pass());
    }

    private bool Pass()
    {
        bool goesOn = _loop.Step();
        _most = Math.Max(_most, _loop.Statistics.Running);
        if (_loop.Steps % PassesBetweenCounts == 0 && !_planted) CountLives(); // planted defects are for the comparison of answers to find
        return goesOn;
    }

    /// <summary>Every head of every running sequence holds the window and the survivors, no more and no less.</summary>
    private void CountLives()
    {
        (int layers, int heads) = (_cache.Options.Layout.LayerCount, _cache.Options.Layout.KvHeadCount);
        long all = 0;
        foreach (Sequence s in _submitted)
        {
            if (s.CacheIndex < 0) continue;
            ReadOnlySpan<int> tokens = s.History.Tokens[.._cache.Length(s.CacheIndex)];
            for (int h = 0; h < layers * heads; h++)
            {
                int lives = _cache.LiveTokens(s.CacheIndex, h / heads, h % heads);
                Assert.Equal(SeamLives.Of(_policy, h / heads, h % heads, tokens), lives);
                all += lives;
                _heads++;
                _forgotten += tokens.Length - lives;
            }
        }

        Assert.Equal(all, _cache.Statistics.LiveSlots);
    }

    /// <summary>
    /// Once the running request that came last is in the midst of its answer, short requests of higher priority take all free places and then its own.
    /// </summary>
    private void Intrude()
    {
        if (_intrusions == (_c.Batch == SeamBatch.One ? 1 : 2) || _loop.Steps < _lastIntrusion + StepsBetweenIntrusions) return;
        Sequence? last = _running.Where(s => s?.CacheIndex >= 0).MaxBy(s => s.Arrival);
        if (last is null || last.History.GeneratedCount == 0 || _loop.Statistics.Waiting > 0) return;
        int free = _c.Sequences - _loop.Statistics.Running;
        for (int i = 0; i <= free; i++) Submit([new SeamRequest([i, _intrusions], 2, SamplingOptions.Greedy).Sequence(priority: 1)]);
        _lastIntrusion = _loop.Steps;
        _intrusions++;
    }

    private void Compare()
    {
        for (int i = 0; i < _asked.Length; i++)
        {
            (int request, int sample) = _asked[i];
            SeamAnswer alone = _models.Alone(_c, request, sample), answer = SeamAnswer.Of(_running[i]);
            Assert.Equal((FinishReason.Length, FinishReason.Length), (alone.Reason, answer.Reason));
            AssertSame(alone.Tokens, answer.Tokens, $"sample {sample} of request {request}", "token");
            AssertSame(alone.LogProbBits, answer.LogProbBits, $"sample {sample} of request {request}", "log-probability");
        }
    }

    private void AssertItHappened()
    {
        GenerationStatistics[] s = [.. _running.Select(r => r.Statistics)];
        if (_c.Drafts.Oracle is { } oracle)
        {
            Assert.Equal(1 + oracle.Nodes, _drafter.LargestTree);
            Assert.True(s.Sum(x => x.DraftedTokens) > s.Sum(x => x.AcceptedTokens) && s.Sum(x => x.AcceptedTokens) > 0, "no draft was accepted, or none rejected");
        }

        if (_c.Batch != SeamBatch.ThirtyTwoShuffled && !_c.Forked) Assert.Equal(_c.Sequences, _most);
        else Assert.InRange(_most, 2, _c.Sequences);
        if (!_c.Preempted && _c.Chunk == 1)
            Assert.All(_running, r => Assert.True(r.Statistics.PrefillSteps >= r.History.PromptCount - 1 - r.Statistics.ReusedTokens - r.Statistics.SharedTokens));
        if (_c.Chunk == SeamCombination.WholePrompt) Assert.All(s, x => Assert.True(x.PrefillSteps <= (_c.Forked ? 1 + x.Preemptions : 0)));
        if (_c.Preempted) Assert.True(_intrusions > 0 && s.Sum(x => x.Preemptions) >= _intrusions && s.Sum(x => x.PreemptedTokens) > 0, "nobody was preempted");
        else Assert.Equal(0, _loop.Statistics.Preemptions);
        if (_c.Forked) Assert.True(_loop.Statistics.Forks >= (_c.Policy == SeamPolicy.Dense && !_c.Preempted ? _c.Sequences - _c.Size.Requests : 1), "nobody was forked");
        AssertForgotten();
        AssertReused(s);
        KvStatistics kv = _cache.Statistics;
        Assert.Equal((0, 0), (kv.Sequences, kv.PagesReserved));
        _cache.ClearPrefixes();
        Assert.Equal(kv.PagesTotal, _cache.Statistics.PagesFree);
    }

    private void AssertForgotten()
    {
        KvStatistics kv = _cache.Statistics;
        if (_c.Policy == SeamPolicy.Dense) Assert.Equal((kv.DenseVisible, 0), (kv.LiveVisible, _forgotten));
        else if (_running.Max(r => r.History.Count) > 2 * _c.Window + 40) Assert.True(kv.LiveVisible < kv.DenseVisible && _forgotten > 0, "nothing was evicted");
    }

    private void AssertReused(GenerationStatistics[] s)
    {
        int blocks = ReusableTokens;
        if (_c.Prefixes) Assert.All(s, x => Assert.True(x.ReusedTokens + x.SharedTokens >= blocks, "a prompt was computed although it is stored"));
        if (_c.Prefixes && !_c.Preempted && !_c.Forked) Assert.All(s, x => Assert.Equal(blocks, x.ReusedTokens));
        Assert.Equal(_c.Prefixes, _cache.Statistics.Prefixes.Hits > 0);
    }
}
