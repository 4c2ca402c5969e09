using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Telemetry;

namespace Foretoken.Generation;

/// <summary>
/// The product: one pass of the model over the rows of all running sequences per <see cref="Step"/>. Everything is allocated here; a step allocates
/// nothing. Not thread-safe, except <see cref="Sequence.Cancel"/>.
/// </summary>
public sealed class DecodeLoop
{
    private readonly Transformer _model;
    private readonly PagedKvCache _cache;
    private readonly IDrafter _drafter;
    private readonly IAcceptanceRule _rule;
    private readonly DecodeLoopOptions _options;
    private readonly Scheduler _scheduler;
    private readonly Sampler _sampler;
    private readonly TokenForest _forest;
    private readonly RowBatch _rows;
    private readonly DraftRequest[] _requests;      // [MaxSequences] the first _requestCount hold this step's trees
    private readonly Acceptance[] _acceptances;     // [MaxSequences]
    private readonly FeatureTaps? _taps;            // what drafters read of the passes
    private readonly int[] _acceptedRows;           // [MaxRows] rows to commit for one sequence
    private int _requestCount;
    private long _keysRead;                         // by this step's rows, of one head

    /// <param name="model">Prepared for at least the options' rows and logit rows.</param>
    /// <param name="cache">Holds at least one sequence of the options' context, and slack for the options' rows.</param>
    /// <param name="drafter">Proposes; <see cref="NoDrafter"/> for plain decoding.</param>
    /// <param name="options">Sizes.</param>
    /// <param name="plan">Receives the loop's buffers.</param>
    /// <param name="rule">Null = <see cref="SampleAndMatch"/>.</param>
    /// <param name="taps">Hidden states that the drafter asked for; null = none.</param>
    /// <exception cref="ArgumentException">The options contradict each other, or the cache is planned for less.</exception>
    public DecodeLoop(
        Transformer model, PagedKvCache cache, IDrafter drafter, DecodeLoopOptions options, MemoryPlan? plan = null, IAcceptanceRule? rule = null,
        FeatureTaps? taps = null)
    {
        _taps = taps is { Count: > 0 } ? taps : null;
        (_model, _cache, _drafter, _options, _rule) = (model, cache, drafter, options, rule ?? new SampleAndMatch());
        CheckCache(cache.Options, options, drafter.MaxNodes);
        _scheduler = new Scheduler(options, cache, drafter);
        _sampler = new Sampler(model.Shape.VocabSize, plan);
        _forest = new TokenForest(options.MaxSequences, Math.Max(options.MaxLogitRows(drafter.MaxNodes), options.MaxSequences), plan,
            _rule.UsesDraftDistributions && drafter.DrawsDrafts ? model.Shape.VocabSize : 0);
        _rows = new RowBatch(options.MaxRows);
        _requests = new DraftRequest[options.MaxSequences];
        _acceptances = new Acceptance[options.MaxSequences];
        _acceptedRows = new int[options.MaxRows];
        plan?.Add("loop", "rows", $"[rows {options.MaxRows}]", options.MaxRows * (6L + 8 * RowBatch.MaskWords / 4) * 4);
    }

    /// <summary>The sizes that the loop was planned for.</summary>
    public DecodeLoopOptions Options => _options;

    /// <summary>Hidden states that the drafter asked for; null = none.</summary>
    internal FeatureTaps? Taps => _taps;

    /// <summary>Sequences that run or wait.</summary>
    public int ActiveCount => _scheduler.RunningCount + _scheduler.WaitingCount;

    /// <summary>Passes run so far.</summary>
    public long Steps { get; private set; }

    /// <summary>What runs and waits now, and what was admitted, preempted and rejected so far.</summary>
    public SchedulerStatistics Statistics => _scheduler.Statistics;

    /// <summary>Queues a sequence.</summary>
    /// <exception cref="InvalidRequestException">The cache could never hold it.</exception>
    /// <exception cref="QueueFullException">As many wait as may wait.</exception>
    public void Submit(Sequence sequence) => _scheduler.Enqueue(sequence);

    /// <summary>Queues the samples of one request: sequences with the same prompt, which is computed once. All are queued, or none.</summary>
    /// <exception cref="InvalidRequestException">The cache could never hold one.</exception>
    /// <exception cref="QueueFullException">The queue has no room for all.</exception>
    public void Submit(ReadOnlySpan<Sequence> samples) => _scheduler.Enqueue(samples);

    /// <summary>Runs one pass: schedule → draft → forward → verify → commit → emit.</summary>
    /// <returns>False if no sequence runs or waits.</returns>
    public bool Step()
    {
        // schedule: prompt chunks and single tokens of all sequences, under one row budget
        _scheduler.DropEnded();
        ReadOnlySpan<ScheduledSequence> batch = _scheduler.Next();
        if (batch.IsEmpty) return ActiveCount > 0;

        // draft: a tree per sequence that chooses tokens; its root is the last sampled token
        OpenTrees(batch);
        ReadOnlySpan<DraftRequest> requests = _requests.AsSpan(0, _requestCount);
        long begin = Stopwatch.GetTimestamp();
        _drafter.Propose(requests, _forest);
        long drafted = Stopwatch.GetTimestamp();

        // forward: all rows of all sequences in one pass
        LayRows(batch);
        _cache.BeginPass(_rows);
        _model.Forward(_rows, _cache.View, taps: _taps);

        // verify and commit: the longest accepted path of each tree joins the cache, the other rows leave no trace
        int tree = 0;
        for (int i = 0; i < batch.Length; i++)
        {
            Span<int> path = _acceptedRows; // the chain of prompt rows, the root, the accepted drafts
            int kept = batch[i].PromptRows;
            for (int r = 0; r < kept; r++) path[r] = _rows.Segments[i].First + r;
            if (batch[i].HasRoot)
            {
                Sequence sequence = batch[i].Sequence;
                _acceptances[tree] = _rule.Walk(new VerifiedTree(_forest, requests[tree], _model, _sampler, sequence.AnswerEnd), path[kept..]);
                kept += _acceptances[tree++].AcceptedRows;
            }

            _cache.Commit(batch[i].Sequence.CacheIndex, path[..kept]);
            _drafter.Committed(batch[i].Sequence.CacheIndex, batch[i].Sequence.History, _rows, path[..kept]);
            if (batch[i].PromptRows > 0) _cache.PublishPrefix(batch[i].Sequence.CacheIndex, batch[i].Sequence.History.Tokens);
        }

        _drafter.Observe(requests, _acceptances.AsSpan(0, tree), _forest);

        // emit: ends, statistics
        var cost = new StepCost(_rows.Count, _rows.Count - _forest.Count, _keysRead, drafted - begin, Stopwatch.GetTimestamp() - drafted);
        _drafter.Measured(cost);
        Emit(batch, cost);
        Steps++;
        return true;
    }

    /// <summary>Ends the sequences that were cancelled or are past their deadline and frees what they hold; every step begins with it.</summary>
    public void DropEnded() => _scheduler.DropEnded();

    /// <summary>Ends everything with an error: a pass failed half-way. The loop can go on with new sequences.</summary>
    /// <exception cref="AggregateException">The drafter failed too, while it was to forget them; everything has ended all the same.</exception>
    public void Abort(string error)
    {
        try
        {
            _scheduler.FailAll(error);
        }
        finally
        {
            _cache.Recover();
        }
    }

    private void OpenTrees(ReadOnlySpan<ScheduledSequence> batch)
    {
        _forest.Clear();
        _requestCount = 0;
        foreach (ScheduledSequence s in batch)
        {
            if (!s.HasRoot) continue;
            int tree = _forest.AddTree(s.Sequence.History.Last, s.MaxDrafts, s.MaxDepth);
            _requests[_requestCount++] = new DraftRequest(tree, s.Sequence.CacheIndex, s.Sequence.History, s.Sequence.Sampling, s.MaxDrafts, s.MaxDepth);
        }
    }

    /// <summary>One segment per sequence: pending prompt tokens as a chain, then the tree.</summary>
    private void LayRows(ReadOnlySpan<ScheduledSequence> batch)
    {
        _rows.Clear();
        _keysRead = 0;
        _rows.AcceptsSamples = _rule.FollowsSamples;
        int tree = 0, logits = 0;
        foreach (ScheduledSequence s in batch)
        {
            int index = s.Sequence.CacheIndex, position = _cache.Length(index), parent = -1, first = _rows.Count;
            for (int r = 0; r < s.PromptRows; r++, position++)
                parent = _rows.Add(s.Sequence.History.Tokens[position], position, index, parent, wantsLogits: false);
            if (s.HasRoot) PlaceTree(tree++, s.Sequence, position, parent, ref logits);
            _keysRead += (long)StepCost.KeysOf(_cache, index, _rows.Count - first);
        }
    }

    /// <summary>A tree behind the row <paramref name="parent"/>, its root at <paramref name="position"/>.</summary>
    private void PlaceTree(int tree, Sequence sequence, int position, int parent, ref int logits)
    {
        for (int node = _forest.Root(tree); node >= 0; node = _forest.Next(node))
        {
            int above = _forest.Parent(node) is var parentNode and >= 0 ? _forest.Row(parentNode) : parent;
            int row = _rows.Add(_forest.Token(node), position + _forest.Depth(node), sequence.CacheIndex, above, wantsLogits: true);
            _forest.Place(node, row, logits++);
            if (_rule.FollowsSamples) _rows.PlanSampling(sequence.Sampling.OfRow(position + _forest.Depth(node) + 1));
        }
    }

    private void Emit(ReadOnlySpan<ScheduledSequence> batch, in StepCost cost)
    {
        int tree = 0;
        foreach (ScheduledSequence s in batch)
        {
            s.Sequence.Statistics.KvBytesRead += _cache.PassBytes(s.Sequence.CacheIndex);
            if (!s.HasRoot)
            {
                s.Sequence.Statistics.PrefillSteps++;
                continue;
            }

            Acceptance acceptance = _acceptances[tree];
            s.Sequence.Statistics.MarkStep(_forest.CountOf(tree) - 1, _forest.DepthOf(tree), acceptance, cost);
            if (_forest.CountOf(tree) > 1)
                s.Sequence.Statistics.MarkDrafts(_forest, tree, s.Sequence.History.Tokens[^acceptance.NewTokens..][..Math.Min(acceptance.AcceptedDrafts, acceptance.NewTokens)]);
            ForetokenTelemetry.Stepped(_forest.CountOf(tree) - 1, acceptance);
            tree++;
            s.Sequence.Emit(acceptance);
            if (s.Sequence.Finished) _scheduler.Remove(s.Sequence);
        }
    }

    private static void CheckCache(KvCacheOptions cache, DecodeLoopOptions options, int draftNodes)
    {
        int rows = options.MaxRowsPerSequence(draftNodes);
        if (cache.MaxSequences >= options.MaxSequences && cache.MaxTokensPerSequence >= options.ContextLength && cache.MaxRowsPerSequence >= rows) return;
        throw new ArgumentException(
            $"The cache is planned for {cache.MaxSequences} sequences of {cache.MaxTokensPerSequence} tokens and {cache.MaxRowsPerSequence} rows, "
            + $"the loop for {options.MaxSequences} of {options.ContextLength} and {rows}: plan both from the same options.", nameof(cache));
    }
}
