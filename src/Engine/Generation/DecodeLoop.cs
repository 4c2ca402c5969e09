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
    private readonly DecodeLoopOptions _options;
    private readonly Scheduler _scheduler;
    private readonly Sampler _sampler;
    private readonly TokenForest _forest;
    private readonly RowBatch _rows;
    private readonly DraftRequest[] _requests;      // [MaxSequences] the first _requestCount hold this step's trees
    private readonly Acceptance[] _acceptances;     // [MaxSequences]
    private readonly int[] _acceptedRows;           // [MaxRows] rows to commit for one sequence
    private int _requestCount;

    /// <param name="model">Prepared for at least the options' rows and logit rows.</param>
    /// <param name="cache">Holds at least one sequence of the options' context, and slack for the options' rows.</param>
    /// <param name="drafter">Proposes; <see cref="NoDrafter"/> for plain decoding.</param>
    /// <param name="options">Sizes.</param>
    /// <param name="plan">Receives the loop's buffers.</param>
    public DecodeLoop(Transformer model, PagedKvCache cache, IDrafter drafter, DecodeLoopOptions options, MemoryPlan? plan = null)
    {
        (_model, _cache, _drafter, _options) = (model, cache, drafter, options);
        _scheduler = new Scheduler(options, cache, drafter.MaxNodes);
        _sampler = new Sampler(model.Shape.VocabSize, plan);
        _forest = new TokenForest(options.MaxSequences, Math.Max(options.MaxLogitRows(drafter.MaxNodes), options.MaxSequences), plan);
        _rows = new RowBatch(options.MaxRows);
        _requests = new DraftRequest[options.MaxSequences];
        _acceptances = new Acceptance[options.MaxSequences];
        _acceptedRows = new int[options.MaxRows];
        plan?.Add("loop", "rows", $"[rows {options.MaxRows}]", options.MaxRows * (6L + 8 * RowBatch.MaskWords / 4) * 4);
    }

    public DecodeLoopOptions Options => _options;

    /// <summary>Sequences that run or wait.</summary>
    public int ActiveCount => _scheduler.RunningCount + _scheduler.WaitingCount;

    /// <summary>Passes run so far.</summary>
    public long Steps { get; private set; }

    /// <summary>Queues a sequence.</summary>
    /// <exception cref="InvalidRequestException">The cache could never hold it.</exception>
    public void Submit(Sequence sequence)
    {
        if (sequence.History.Capacity > _options.ContextLength)
        {
            throw new InvalidRequestException(
                "prompt", $"Prompt and answer take {sequence.History.Capacity} tokens, the context holds {_options.ContextLength}: ask for fewer.");
        }

        long needed = PagedKvCache.BytesFor(_cache.Options.Layout, 1, _scheduler.WorstCaseTokens(sequence));
        if (needed > _cache.Options.BudgetBytes)
        {
            throw new InvalidRequestException(
                "prompt",
                $"Prompt and answer need {needed:N0} bytes of KV cache, its budget is {_cache.Options.BudgetBytes:N0}: ask for fewer tokens or raise it.");
        }

        sequence.MarkSubmitted();
        _scheduler.Enqueue(sequence);
    }

    /// <summary>Runs one pass: schedule → draft → forward → verify → commit → emit.</summary>
    /// <returns>False if no sequence runs or waits.</returns>
    public bool Step()
    {
        // schedule: prompt chunks and single tokens of all sequences, under one row budget
        ReleaseCancelled();
        ReadOnlySpan<ScheduledSequence> batch = _scheduler.Next();
        if (batch.IsEmpty) return false;

        // draft: a tree per sequence that chooses tokens; its root is the last sampled token
        OpenTrees(batch);
        ReadOnlySpan<DraftRequest> requests = _requests.AsSpan(0, _requestCount);
        _drafter.Propose(requests, _forest);

        // forward: all rows of all sequences in one pass
        LayRows(batch);
        _cache.BeginPass(_rows);
        _model.Forward(_rows, _cache.View);

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
                _acceptances[tree] = SampleAndMatch.Walk(
                    _forest, requests[tree], _model, _sampler, sequence.Sampling, sequence.RemainingTokens, path[kept..]);
                kept += _acceptances[tree++].AcceptedRows;
            }

            _cache.Commit(batch[i].Sequence.CacheIndex, path[..kept]);
        }

        _drafter.Observe(requests, _acceptances.AsSpan(0, tree), _forest);

        // emit: stop conditions, limits, statistics
        Emit(batch);
        Steps++;
        return true;
    }

    /// <summary>Ends the sequences that asked for it and frees what they hold; every step begins with it.</summary>
    public void ReleaseCancelled()
    {
        _scheduler.DropCancelled();
        for (int i = _scheduler.RunningCount - 1; i >= 0; i--)
        {
            Sequence sequence = _scheduler.Running[i];
            if (!sequence.CancelRequested) continue;
            sequence.EndCancelled();
            Release(sequence);
        }
    }

    /// <summary>Ends everything with an error: a pass failed half-way. The loop can go on with new sequences.</summary>
    public void Abort(string error)
    {
        while (_scheduler.RunningCount > 0)
        {
            Sequence sequence = _scheduler.Running[^1];
            if (!sequence.Finished) sequence.Fail(error);
            Release(sequence);
        }

        _scheduler.FailWaiting(error);
    }

    private void OpenTrees(ReadOnlySpan<ScheduledSequence> batch)
    {
        _forest.Clear();
        _requestCount = 0;
        foreach (ScheduledSequence s in batch)
        {
            if (!s.HasRoot) continue;
            int tree = _forest.AddTree(s.Sequence.History.Last, s.MaxDrafts, s.MaxDepth);
            _requests[_requestCount++] = new DraftRequest(tree, s.Sequence.CacheIndex, s.Sequence.History, s.MaxDrafts, s.MaxDepth);
        }
    }

    /// <summary>One segment per sequence: pending prompt tokens as a chain, then the tree.</summary>
    private void LayRows(ReadOnlySpan<ScheduledSequence> batch)
    {
        _rows.Clear();
        int tree = 0, logits = 0;
        foreach (ScheduledSequence s in batch)
        {
            int index = s.Sequence.CacheIndex, position = _cache.Length(index), parent = -1;
            for (int r = 0; r < s.PromptRows; r++, position++)
                parent = _rows.Add(s.Sequence.History.Tokens[position], position, index, parent, wantsLogits: false);
            if (!s.HasRoot) continue;
            for (int node = _forest.Root(tree++); node >= 0; node = _forest.Next(node))
            {
                int above = _forest.Parent(node) is var parentNode and >= 0 ? _forest.Row(parentNode) : parent;
                int row = _rows.Add(_forest.Token(node), position + _forest.Depth(node), index, above, wantsLogits: true);
                _forest.Place(node, row, logits++);
            }
        }
    }

    private void Emit(ReadOnlySpan<ScheduledSequence> batch)
    {
        int tree = 0;
        foreach (ScheduledSequence s in batch)
        {
            if (!s.HasRoot)
            {
                s.Sequence.Statistics.PrefillSteps++;
                continue;
            }

            Acceptance acceptance = _acceptances[tree];
            s.Sequence.Statistics.MarkStep(_forest.CountOf(tree++) - 1, acceptance.AcceptedRows - 1);
            ForetokenTelemetry.Stepped(acceptance);
            s.Sequence.Emit(acceptance);
            if (s.Sequence.Finished) Release(s.Sequence);
        }
    }

    private void Release(Sequence sequence)
    {
        _scheduler.Remove(sequence);
        _drafter.Release(sequence.CacheIndex);
        _cache.Release(sequence.CacheIndex);
        sequence.CacheIndex = -1;
    }
}
