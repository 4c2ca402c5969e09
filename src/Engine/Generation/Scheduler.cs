using Foretoken.Backends;
using Foretoken.KvCache;

namespace Foretoken.Generation;

/// <summary>
/// Decides who runs in the next pass. Waiting sequences are admitted in order of arrival when the cache can hold the longest they may become. Every
/// running answer gets its row in every pass; prompts share up to a chunk of the rest, the oldest first; drafts share what is left.
/// </summary>
public sealed class Scheduler
{
    private readonly DecodeLoopOptions _options;
    private readonly PagedKvCache _cache;
    private readonly int _maxDraftNodes;
    private readonly Queue<Sequence> _waiting = new();
    private readonly Sequence[] _running;             // [MaxSequences] in order of admission
    private readonly ScheduledSequence[] _scheduled;  // [MaxSequences]
    private int _runningCount;
    private int _scheduledCount;

    public Scheduler(DecodeLoopOptions options, PagedKvCache cache, int maxDraftNodes)
    {
        options.Validate();
        (_options, _cache, _maxDraftNodes) = (options, cache, maxDraftNodes);
        _running = new Sequence[options.MaxSequences];
        _scheduled = new ScheduledSequence[options.MaxSequences];
    }

    public int WaitingCount => _waiting.Count;

    public int RunningCount => _runningCount;

    /// <summary>Admitted sequences, in order of admission.</summary>
    public ReadOnlySpan<Sequence> Running => _running.AsSpan(0, _runningCount);

    public void Enqueue(Sequence sequence) => _waiting.Enqueue(sequence);

    /// <summary>Cache slots that the sequence may come to need: the last token of the answer is never read back, drafts come on top.</summary>
    public int WorstCaseTokens(Sequence sequence) => sequence.History.Capacity - 1 + _maxDraftNodes;

    /// <summary>Removes a sequence that ended.</summary>
    public void Remove(Sequence sequence)
    {
        int index = Array.IndexOf(_running, sequence, 0, _runningCount);
        Array.Copy(_running, index + 1, _running, index, --_runningCount - index);
        _running[_runningCount] = null!;
    }

    /// <summary>Ends waiting sequences that asked for it.</summary>
    public void DropCancelled()
    {
        bool any = false;
        foreach (Sequence s in _waiting) any |= s.CancelRequested;
        for (int n = any ? _waiting.Count : 0; n > 0; n--)
        {
            Sequence s = _waiting.Dequeue();
            if (s.CancelRequested) s.EndCancelled();
            else _waiting.Enqueue(s);
        }
    }

    /// <summary>Ends all waiting sequences with an error.</summary>
    public void FailWaiting(string error)
    {
        while (_waiting.TryDequeue(out Sequence? s)) s.Fail(error);
    }

    /// <summary>The sequences of the coming pass and their rows; empty if there is nothing to do.</summary>
    public ReadOnlySpan<ScheduledSequence> Next()
    {
        Admit();
        _scheduledCount = 0;
        int rows = _options.MaxRows;
        foreach (Sequence s in Running)
        {
            if (Pending(s) != 1) continue;
            _scheduled[_scheduledCount++] = new ScheduledSequence(s, 0, HasRoot: true, 0);
            rows--;
        }

        int promptRows = Math.Min(rows, _options.PrefillChunk);
        foreach (Sequence s in Running)
        {
            int pending = Pending(s), take = Math.Min(pending, promptRows);
            if (pending == 1 || take == 0) continue;
            bool hasRoot = take == pending;
            _scheduled[_scheduledCount++] = new ScheduledSequence(s, hasRoot ? take - 1 : take, hasRoot, 0);
            promptRows -= take;
            rows -= take;
        }

        ShareDrafts(rows);
        return _scheduled.AsSpan(0, _scheduledCount);
    }

    private int Pending(Sequence s) => s.History.Count - _cache.Length(s.CacheIndex);

    private void Admit()
    {
        while (_waiting.TryPeek(out Sequence? next))
        {
            if (_runningCount == _running.Length || !TryAcquire(next)) return;
            _running[_runningCount++] = _waiting.Dequeue();
            next.Statistics.MarkStarted();
        }
    }

    private bool TryAcquire(Sequence sequence)
    {
        int index = _cache.TryAcquire();
        if (index < 0) return false;
        if (!_cache.TryReserve(index, WorstCaseTokens(sequence)))
        {
            _cache.Release(index);
            return false;
        }

        sequence.CacheIndex = index;
        return true;
    }

    private void ShareDrafts(int rows)
    {
        int roots = 0;
        for (int i = 0; i < _scheduledCount; i++) roots += _scheduled[i].HasRoot ? 1 : 0;
        if (roots == 0 || _maxDraftNodes == 0) return;
        int share = Math.Min(_maxDraftNodes, rows / roots);
        for (int i = 0; i < _scheduledCount; i++)
        {
            ref ScheduledSequence s = ref _scheduled[i];
            if (!s.HasRoot || s.MaxDepth <= 0) continue;
            int room = RowBatch.MaxTreeRows - s.PromptRows - 1; // rows of one segment that may branch
            s = s with { MaxDrafts = Math.Clamp(share, 0, Math.Max(room, 0)) };
        }
    }
}
