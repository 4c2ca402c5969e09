using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Telemetry;

namespace Foretoken.Generation;

/// <summary>
/// Decides who runs in the next pass and with how many rows, and owns what sequences hold in cache and drafter. Everything is planned here; nothing
/// of it fails in the middle of a step.
/// <para>Order of service (<see cref="Sequence.Precedes"/>): higher priority first, in order of arrival among equals. The first in rank that waits
/// is admitted as soon as there is a place and the KV budget has room (<see cref="KvAdmission"/>); nobody waiting passes it, however small, and running
/// sequences of strictly lower priority are preempted for it if that makes the room. A waiting request is passed by at most
/// <see cref="DecodeLoopOptions.MaxOvertakes"/> later arrivals; then it goes first and is no longer preempted for others. So nobody starves.</para>
/// <para>Samples of one request keep the places in the order of service that requests of their own would have; the later ones begin as forks of the first, as soon
/// as it has read the prompt up to its last token (<see cref="SampleGroup"/>), and are counted without the pages that they share. Until then others pass
/// them, but only into places and pages that they leave over.</para>
/// <para>Rows: every running answer gets its row in every pass; prompts share up to a chunk of the other rows, first in rank first, a quarter of it
/// kept for the prompt that needs the fewest; drafts share what is left, in equal parts. So a long prompt stalls neither running answers nor short
/// prompts.</para>
/// <para>Pages: rows are served in rank order. One that finds no pages first takes fewer rows, then lets the cache give back what has expired, then
/// displaces running sequences of lower rank, the last first (<see cref="KvExhaustion"/>), and if there are none brings no row to this pass. The first
/// in rank therefore always goes on; if it is alone and the whole budget does not hold its next row, it ends with
/// <see cref="FinishReason.KvBudget"/>. Drafts take only pages that are free.</para>
/// </summary>
public sealed class Scheduler
{
    private readonly DecodeLoopOptions _options;
    private readonly PagedKvCache _cache;
    private readonly IDrafter _drafter;
    private readonly KvForecast _forecast;
    private readonly WaitingQueue _waiting;
    private readonly Sequence[] _running;             // [MaxSequences] the first _runningCount, in rank order
    private readonly ScheduledSequence[] _scheduled;  // [MaxSequences] the first _scheduledCount
    private int _runningCount;
    private int _scheduledCount;
    private bool _reclaimed;                          // in this pass
    private int _heldPlaces;                          // of samples whose prompt is being read, in this pass
    private long _heldPages;
    private long _submitted, _rejected, _preemptions, _preemptedTokens, _stalls, _forks, _endedByKvBudget;

    /// <summary>Plans for the options' sequences; nothing runs or waits yet.</summary>
    public Scheduler(DecodeLoopOptions options, PagedKvCache cache, IDrafter drafter)
    {
        options.Validate();
        (_options, _cache, _drafter) = (options, cache, drafter);
        _forecast = new KvForecast(options, cache);
        _waiting = new WaitingQueue(options.MaxWaiting + options.MaxSequences, options.MaxOvertakes);
        _running = new Sequence[options.MaxSequences];
        _scheduled = new ScheduledSequence[options.MaxSequences];
    }

    /// <summary>Sequences that wait, preempted ones included.</summary>
    public int WaitingCount => _waiting.Count;

    /// <summary>Sequences that hold a place in the cache.</summary>
    public int RunningCount => _runningCount;

    /// <summary>Admitted sequences, in order of service.</summary>
    public ReadOnlySpan<Sequence> Running => _running.AsSpan(0, _runningCount);

    /// <summary>Sequences that wait, in no order.</summary>
    public ReadOnlySpan<Sequence> Waiting => _waiting.Items;

    /// <summary>What was done so far, and what runs and waits now.</summary>
    public SchedulerStatistics Statistics => new()
    {
        KvAdmission = _options.KvAdmission,
        Running = _runningCount,
        Waiting = _waiting.Count,
        Submitted = _submitted,
        Rejected = _rejected,
        Preemptions = _preemptions,
        PreemptedTokens = _preemptedTokens,
        Stalls = _stalls,
        Forks = _forks,
        EndedByKvBudget = _endedByKvBudget,
        MeanAnswerTokens = _forecast.MeanAnswerTokens,
        LiveFraction = _forecast.LiveFraction,
    };

    /// <summary>Queues a sequence.</summary>
    /// <exception cref="InvalidRequestException">The cache could never hold it.</exception>
    /// <exception cref="QueueFullException">As many wait as may wait.</exception>
    public void Enqueue(Sequence sequence) => Enqueue([sequence]);

    /// <summary>Queues the samples of one request, all or none.</summary>
    /// <exception cref="InvalidRequestException">The cache could never hold one.</exception>
    /// <exception cref="QueueFullException">The queue has no room for all.</exception>
    public void Enqueue(ReadOnlySpan<Sequence> samples)
    {
        foreach (Sequence sequence in samples) CheckFits(sequence);
        if (_waiting.Count + samples.Length > _options.MaxWaiting)
        {
            _rejected += samples.Length;
            foreach (Sequence _ in samples) ForetokenTelemetry.Rejected();
            throw new QueueFullException(_waiting.Count, samples.Length);
        }

        if (samples.Length > 1) _ = new SampleGroup(samples);
        foreach (Sequence sequence in samples)
        {
            sequence.MarkSubmitted(_submitted++, _options.Time, _drafter);
            _waiting.Add(sequence);
        }
    }

    /// <summary>Ends the sequences that were cancelled or whose deadline has passed, and frees what they hold.</summary>
    public void DropEnded()
    {
        long now = _options.Time.GetTimestamp();
        for (int i = _waiting.Count - 1; i >= 0; i--)
        {
            Sequence s = _waiting.Items[i];
            if (EndingReason(s, now) is var reason and not FinishReason.None) EndWaiting(s, reason);
        }

        for (int i = _runningCount - 1; i >= 0; i--)
        {
            Sequence s = _running[i];
            if (EndingReason(s, now) is var reason and not FinishReason.None) EndRunning(s, reason);
        }
    }

    /// <summary>Frees what a running sequence that has ended holds.</summary>
    public void Remove(Sequence sequence)
    {
        if (sequence.FinishReason is FinishReason.Stop or FinishReason.Length) _forecast.Observe(sequence);
        _cache.PublishPrefix(sequence.CacheIndex, sequence.History.Tokens);
        Free(sequence);
    }

    /// <summary>Ends everything with an error, and frees it also where the drafter fails.</summary>
    /// <exception cref="AggregateException">What the drafter threw; everything has ended all the same.</exception>
    public void FailAll(string error)
    {
        List<Exception>? failures = null;
        while (_runningCount > 0)
        {
            Sequence s = _running[_runningCount - 1];
            if (!s.Finished) s.Fail(error);
            try
            {
                Free(s);
            }
            catch (Exception e)
            {
                (failures ??= []).Add(e);
            }
        }

        while (_waiting.Count > 0)
        {
            Sequence s = _waiting.Items[0];
            _waiting.Remove(s);
            s.Fail(error);
        }

        if (failures is not null) throw new AggregateException("The drafter failed to release sequences.", failures);
    }

    /// <summary>The sequences of the coming pass and their rows. Empty if there is nothing to do, or if the only sequence has just ended.</summary>
    public ReadOnlySpan<ScheduledSequence> Next()
    {
        foreach (Sequence s in Running) TrimReservation(s);
        Admit();
        _scheduledCount = 0;
        _reclaimed = false;
        int rows = ScheduleRows();
        ShareDrafts(_options.MaxRows - rows);
        return _scheduled.AsSpan(0, _scheduledCount);
    }

    /// <summary>Refuses what could not even run alone.</summary>
    private void CheckFits(Sequence sequence)
    {
        if (sequence.History.Capacity > _options.ContextLength)
        {
            throw new InvalidRequestException(
                "prompt", $"Prompt and answer take {sequence.History.Capacity} tokens, the context holds {_options.ContextLength}: ask for fewer.");
        }

        if (_options.KvAdmission == KvAdmission.Measured) return; // may be evicted from, or end early
        long needed = PagedKvCache.BytesFor(_cache.Options.Layout, 1, KvForecast.WorstCaseTokens(sequence));
        if (needed <= _cache.Options.BudgetBytes) return;
        throw new InvalidRequestException(
            "prompt",
            $"Prompt and answer need {needed:N0} bytes of KV cache, its budget is {_cache.Options.BudgetBytes:N0}: ask for fewer tokens (max-tokens) or raise the budget (kv-budget).");
    }

    private static FinishReason EndingReason(Sequence s, long now)
    {
        if (s.CancelRequested) return FinishReason.Cancelled;
        return now >= s.DeadlineTimestamp ? FinishReason.Deadline : FinishReason.None;
    }

    private int Pending(Sequence s) => s.History.Count - _cache.Length(s.CacheIndex);

    private void Admit()
    {
        foreach (Sequence s in _waiting.Items) s.Held = false;
        (_heldPlaces, _heldPages) = (0, 0);
        while (_waiting.First() is { } next)
        {
            if (next.Group?.FindSource(next, _cache).IsReading == true)
            {
                int held = next.Group.Hold(); // others pass, but only into room that these do not need
                _heldPlaces += held;
                _heldPages += (long)held * _forecast.Pages(next);
                continue;
            }

            if (!HasRoom(next) && !PreemptFor(next)) return;
            if (TryStart(next)) continue;
            if (_runningCount > 0) return;
            EndWaiting(next, FinishReason.KvBudget); // not even alone
        }
    }

    /// <summary>Gives back what the last pass's drafts had reserved, and what eviction has freed since.</summary>
    private void TrimReservation(Sequence s)
    {
        int least = Math.Max(_forecast.ReservedTokens(s), _cache.Length(s.CacheIndex));
        if (_cache.Options.Policy.Evicts || _cache.Reserved(s.CacheIndex) > least) _cache.TryReserve(s.CacheIndex, least); // a smaller one never fails
    }

    private bool HasRoom(Sequence next)
    {
        if (_runningCount == 0) return true;
        return _runningCount + _heldPlaces < _running.Length && MissingPages(next) <= 0;
    }

    private long MissingPages(Sequence next)
    {
        long pages = _forecast.Pages(next) + _heldPages + _cache.PagesFrozen;
        foreach (Sequence s in Running) pages += _forecast.Pages(s);
        return pages - _cache.PagesTotal;
    }

    /// <summary>Preempts running sequences of strictly lower priority, the last in rank first, if that makes room for <paramref name="next"/>.</summary>
    private bool PreemptFor(Sequence next)
    {
        if (_options.KvExhaustion == KvExhaustion.End) return false;
        long missing = MissingPages(next);
        int victims = 0;
        while (victims == 0 || missing > 0 || _runningCount - victims + _heldPlaces >= _running.Length)
        {
            if (victims == _runningCount) return false;
            Sequence victim = _options.Rules.Victim(Running, victims);
            if (victim.Overdue || victim.Priority >= next.Priority) return false;
            missing -= _forecast.FreedPages(victim);
            victims++;
        }

        for (; victims > 0; victims--) Preempt(_options.Rules.Victim(Running, 0));
        return true;
    }

    private bool TryStart(Sequence next)
    {
        int index = TryBegin(next, out int source);
        if (index < 0) return false;
        int tokens = _cache.Length(index);
        if (!_cache.TryReserve(index, Math.Max(_forecast.ReservedTokens(next), tokens)))
        {
            _cache.Release(index);
            return false;
        }

        next.CacheIndex = index;
        next.Statistics.MarkStarted(source < 0 ? tokens : 0, source < 0 ? 0 : tokens);
        _waiting.Remove(next);
        _waiting.Passed(next);
        int place = _runningCount++;
        for (; place > 0 && next.Precedes(_running[place - 1]); place--) _running[place] = _running[place - 1];
        _running[place] = next;
        if (source < 0) return true;
        _forks++;
        _drafter.Fork(source, index, tokens);
        return true;
    }

    /// <summary>Takes a place in the cache, with what another sample or a stored prefix has computed, whichever is more.</summary>
    /// <param name="next">The sequence.</param>
    /// <param name="source">The cache's index of the sample that it is a fork of, or −1.</param>
    /// <returns>The cache's index, or −1.</returns>
    private int TryBegin(Sequence next, out int source)
    {
        source = -1;
        ForkSource fork = next.Group?.FindSource(next, _cache) ?? default;
        int index = -1;
        if (fork.Tokens == 0 || next.History.GeneratedCount > 0) // an answer that was preempted may be stored as a whole
        {
            index = _cache.TryAcquire();
            if (index < 0 || _cache.TryAttachPrefix(index, next.History.Tokens) >= fork.Tokens) return index;
            _cache.Release(index);
        }

        index = _cache.TryFork(fork.Sequence, fork.Tokens);
        if (index < 0) return _cache.TryAcquire();
        source = fork.Sequence;
        return index;
    }

    /// <summary>Gives running answers their row and prompts their chunk, in rank order.</summary>
    /// <returns>Rows given.</returns>
    private int ScheduleRows()
    {
        (int promptRows, Sequence? shortest) = PromptShare();
        int kept = shortest is null ? 0 : Math.Min(promptRows / 4, Pending(shortest));
        int rows = 0;
        for (int i = 0; i < _runningCount; i++)
        {
            Sequence s = _running[i];
            int pending = Pending(s);
            if (s == shortest) kept = 0;
            int room = Math.Min(promptRows - kept, s.Group?.MostRows(s, _cache) ?? int.MaxValue), take = _options.Rules.Rows(s, pending, room);
            if (take <= 0) continue;
            take = ReserveRows(i, take);
            if (take == 0) continue;
            if (pending != 1) promptRows -= take;
            bool hasRoot = take == pending;
            _scheduled[_scheduledCount++] = new ScheduledSequence(s, hasRoot ? take - 1 : take, hasRoot, 0);
            rows += take;
        }

        return rows;
    }

    /// <summary>Rows that prompts may take, and the one of several prompts that needs the fewest.</summary>
    private (int Rows, Sequence? Shortest) PromptShare()
    {
        int decodes = 0, prompts = 0, fewest = int.MaxValue;
        Sequence? shortest = null;
        foreach (Sequence s in Running)
        {
            int pending = Pending(s);
            if (pending == 1) decodes++;
            else prompts++;
            if (pending == 1 || pending >= fewest) continue;
            (shortest, fewest) = (s, pending);
        }

        return (Math.Min(_options.MaxRows - decodes, _options.PrefillChunk), prompts > 1 ? shortest : null);
    }

    /// <summary>Reserves pages for the rows of the sequence at <paramref name="place"/> in rank; those before it keep theirs.</summary>
    /// <returns>Rows that it may bring: fewer than asked if pages are short, 0 if there are none for it now.</returns>
    private int ReserveRows(int place, int rows)
    {
        Sequence s = _running[place];
        while (!TryReserve(s, rows))
        {
            if (rows > 1)
            {
                rows /= 2;
            }
            else if (ReclaimExpired())
            {
                // some slots came free: try again
            }
            else if (place + 1 < _runningCount)
            {
                Displace(_options.Rules.Victim(Running[(place + 1)..], 0));
            }
            else
            {
                _stalls++;
                if (place == 0) EndRunning(s, FinishReason.KvBudget);
                return 0;
            }
        }

        return rows;
    }

    private bool TryReserve(Sequence s, int rows)
    {
        int tokens = Math.Max(_forecast.ReservedTokens(s), _cache.Length(s.CacheIndex) + rows);
        return tokens == _cache.Reserved(s.CacheIndex) || _cache.TryReserve(s.CacheIndex, tokens);
    }

    /// <summary>Gives back the slots that have expired in running sequences and wait to be reclaimed; once per pass.</summary>
    /// <returns>Whether any slot came free.</returns>
    private bool ReclaimExpired()
    {
        if (_reclaimed) return false;
        _reclaimed = true;
        int slots = 0;
        foreach (Sequence s in Running) slots += _cache.Reclaim(s.CacheIndex);
        return slots > 0;
    }

    private void Displace(Sequence s)
    {
        if (_options.KvExhaustion == KvExhaustion.Preempt) Preempt(s);
        else EndRunning(s, FinishReason.KvBudget);
    }

    /// <summary>
    /// Takes a running sequence's pages and queues it again in its old rank. What it had committed is then pending, so that later passes compute it again.
    /// </summary>
    private void Preempt(Sequence s)
    {
        int tokens = _cache.Length(s.CacheIndex);
        _preemptions++;
        _preemptedTokens += tokens;
        s.Statistics.MarkPreempted(tokens);
        ForetokenTelemetry.Preempted();
        _cache.PublishPrefix(s.CacheIndex, s.History.Tokens); // spares the recomputation if nobody needs the pages
        try
        {
            Free(s);
        }
        finally
        {
            _waiting.Add(s); // else nobody would end it where the drafter fails
        }
    }

    private void EndRunning(Sequence s, FinishReason reason)
    {
        if (reason == FinishReason.KvBudget) _endedByKvBudget++;
        s.End(reason);
        Free(s);
    }

    private void EndWaiting(Sequence s, FinishReason reason)
    {
        if (reason == FinishReason.KvBudget) _endedByKvBudget++;
        _waiting.Remove(s);
        s.End(reason);
    }

    private void Free(Sequence s)
    {
        int place = Array.IndexOf(_running, s, 0, _runningCount);
        Array.Copy(_running, place + 1, _running, place, --_runningCount - place);
        _running[_runningCount] = null!;
        int index = s.CacheIndex;
        s.CacheIndex = -1;
        try
        {
            _drafter.Release(index);
        }
        finally
        {
            _cache.Release(index);
        }
    }

    /// <summary>Gives the trees equal parts of the rows that are left, as far as free pages reach.</summary>
    private void ShareDrafts(int rows)
    {
        if (_drafter.MaxNodes == 0) return;
        int trees = 0;
        foreach (ScheduledSequence s in _scheduled.AsSpan(0, _scheduledCount)) trees += s.MaxDepth > 0 && s.HasRoot ? 1 : 0;
        for (int i = 0; i < _scheduledCount; i++)
        {
            ref ScheduledSequence s = ref _scheduled[i];
            if (!s.HasRoot || s.MaxDepth <= 0) continue;
            int room = RowBatch.MaxTreeRows - s.PromptRows - 1; // rows of one segment that may branch
            int drafts = Math.Min(Math.Min(_drafter.MaxNodes, rows / trees--), Math.Max(room, 0));
            while (drafts > 0 && !TryReserve(s.Sequence, s.PromptRows + 1 + drafts)) drafts /= 2;
            s = s with { MaxDrafts = drafts };
            rows -= drafts;
        }
    }
}
