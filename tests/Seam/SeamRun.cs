using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Xunit.Sdk;

namespace Foretoken.Tests.Seam;

/// <summary>What runs did, summed up.</summary>
public sealed class SeamTotals
{
    public int Combinations { get; set; }

    public long Sequences { get; set; }

    public long Tokens { get; set; }

    public long Drafted { get; set; }

    public long Accepted { get; set; }

    public long Preemptions { get; set; }

    public long ReusedTokens { get; set; }

    public long Passes { get; set; }

    public override string ToString() =>
        $"{Combinations} combinations: {Sequences} answers of {Tokens} tokens equal to plain decoding alone, tokens and log-probability bits; {Passes} passes, "
        + $"{Drafted} drafts ({Accepted} accepted), {Preemptions} preemptions, {ReusedTokens} tokens from stored prefixes";
}

/// <summary>Runs one combination, compares every answer with plain decoding alone, and asserts that what the combination names has happened.</summary>
public sealed class SeamRun
{
    private const int StepsBetweenIntrusions = 4;
    private readonly SeamCombination _c;
    private readonly SeamModels _models;
    private readonly int[] _numbers; // [sequences] which requests are asked
    private readonly Sequence[] _running; // [sequences]
    private readonly LargestTree _drafter;
    private readonly DecodeLoop _loop;
    private readonly PagedKvCache _cache;
    private int _intrusions, _most;
    private long _lastIntrusion = -StepsBetweenIntrusions;

    private SeamRun(SeamCombination c, SeamModels models, SeamDefect defect)
    {
        (_c, _models) = (c, models);
        int first = c.Batch == SeamBatch.One ? c.Index % 4 * 8 : c.Index % SeamRequest.Count; // alone, one of the long prompts
        _numbers = [.. Enumerable.Range(first, c.Sequences).Select(i => i % SeamRequest.Count)];
        _running = new Sequence[c.Sequences];
        var oracle = new OracleDrafter(c.Oracle);
        foreach (int i in _numbers)
        {
            SeamRequest r = SeamRequest.Number(i, c.Sampled);
            oracle.Record(r.Prompt, r.Sampling, models.Alone(c, i).Tokens);
        }

        _drafter = new LargestTree(oracle);
        (_loop, _cache, int threads) = models.Loop(c, _drafter, c.Sequences, c.Chunk, c.Prefixes ? 40 : 0, defect);
        Assert.Equal(c.Threads, threads);
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
            run.AddTo(totals);
        }
        catch (Exception e)
        {
            throw new XunitException($"combination {combination.Index}: {combination}\n{e}");
        }
        finally
        {
            run._cache.Dispose();
        }
    }

    public static Sequence Submit(DecodeLoop loop, SeamRequest request, int priority = 0)
    {
        var sequence = new Sequence(request.Prompt, request.MaxTokens, request.Sampling, new StopConditions([], []), priority);
        loop.Submit(sequence);
        return sequence;
    }

    private void Serve()
    {
        if (_c.Prefixes)
        {
            Submit(_loop, new SeamRequest(SeamRequest.Shared, 1, SamplingOptions.Greedy)); // leaves a snapshot at the end of a block
            Step(intrude: false);
        }

        var random = new SeededRandom((ulong)_c.Index, 11);
        int[] order = [.. Enumerable.Range(0, _numbers.Length)];
        bool shuffled = _c.Batch == SeamBatch.ThirtyTwoShuffled;
        if (shuffled) random.Shuffle(order.AsSpan());
        foreach (int i in order)
        {
            _running[i] = Submit(_loop, SeamRequest.Number(_numbers[i], _c.Sampled));
            for (int steps = shuffled ? random.Next(4) : 0; steps > 0; steps--) _ = Pass();
        }

        Step(intrude: _c.Preempted);
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
        return goesOn;
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
        for (int i = 0; i <= free; i++) Submit(_loop, new SeamRequest([i, _intrusions], 2, SamplingOptions.Greedy), priority: 1);
        _lastIntrusion = _loop.Steps;
        _intrusions++;
    }

    private void Compare()
    {
        for (int i = 0; i < _numbers.Length; i++)
        {
            SeamAnswer alone = _models.Alone(_c, _numbers[i]), answer = SeamAnswer.Of(_running[i]);
            Assert.Equal((FinishReason.Length, FinishReason.Length), (alone.Reason, answer.Reason));
            AssertSame(alone.Tokens, answer.Tokens, _numbers[i], "token");
            AssertSame(alone.LogProbBits, answer.LogProbBits, _numbers[i], "log-probability");
        }
    }

    private static void AssertSame(int[] alone, int[] answer, int request, string what)
    {
        int common = alone.AsSpan().CommonPrefixLength(answer);
        Assert.True(
            common == alone.Length && common == answer.Length,
            $"request {request} differs from plain decoding alone in {what} {common} of {alone.Length}");
    }

    private void AssertItHappened()
    {
        GenerationStatistics[] s = [.. _running.Select(r => r.Statistics)];
        Assert.Equal(1 + _c.Oracle.Nodes, _drafter.Nodes);
        Assert.True(s.Sum(x => x.DraftedTokens) > s.Sum(x => x.AcceptedTokens) && s.Sum(x => x.AcceptedTokens) > 0, "no draft was accepted, or none rejected");
        if (_c.Batch != SeamBatch.ThirtyTwoShuffled) Assert.Equal(_c.Sequences, _most);
        else Assert.InRange(_most, 2, 32);
        if (!_c.Preempted && _c.Chunk == 1) Assert.All(_running, r => Assert.True(r.Statistics.PrefillSteps >= r.History.PromptCount - 1 - r.Statistics.ReusedTokens));
        if (_c.Chunk == SeamCombination.WholePrompt) Assert.All(s, x => Assert.Equal(0, x.PrefillSteps));
        KvStatistics kv = _cache.Statistics;
        if (_c.Policy == SeamPolicy.Dense) Assert.Equal(kv.DenseVisible, kv.LiveVisible);
        else Assert.True(kv.DenseVisible > 1.2 * kv.LiveVisible, $"visible {kv.LiveVisible} of {kv.DenseVisible}");
        if (_c.Preempted) Assert.True(_intrusions > 0 && s.Sum(x => x.Preemptions) >= _intrusions && s.Sum(x => x.PreemptedTokens) > 0, "nobody was preempted");
        else Assert.Equal(0, _loop.Statistics.Preemptions);
        if (_c.Prefixes) Assert.All(s, x => Assert.True(x.ReusedTokens >= SeamRequest.SharedTokens, "a prompt was computed although it is stored"));
        Assert.Equal(_c.Prefixes, kv.Prefixes.Hits > 0);
        Assert.Equal((0, 0), (kv.Sequences, kv.PagesReserved));
        _cache.ClearPrefixes();
        Assert.Equal(kv.PagesTotal, _cache.Statistics.PagesFree);
    }

    private void AddTo(SeamTotals totals)
    {
        totals.Combinations++;
        totals.Passes += _loop.Steps;
        foreach (Sequence r in _running)
        {
            totals.Sequences++;
            totals.Tokens += r.History.GeneratedCount;
            totals.Drafted += r.Statistics.DraftedTokens;
            totals.Accepted += r.Statistics.AcceptedTokens;
            totals.Preemptions += r.Statistics.Preemptions;
            totals.ReusedTokens += r.Statistics.ReusedTokens;
        }
    }

    /// <summary>Passes everything on and notes the largest tree that was verified.</summary>
    private sealed class LargestTree(IDrafter inner) : IDrafter
    {
        public string Name => inner.Name;

        public int MaxNodes => inner.MaxNodes;

        public int Nodes { get; private set; }

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest) => inner.Propose(requests, forest);

        public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted) => inner.Committed(sequence, path, rows, accepted);

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
            foreach (Acceptance a in acceptances) Nodes = Math.Max(Nodes, forest.CountOf(a.Tree));
            inner.Observe(requests, acceptances, forest);
        }

        public void Release(int sequence) => inner.Release(sequence);

        public void Dispose() => inner.Dispose();
    }
}
