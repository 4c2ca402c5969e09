using System.Diagnostics;
using Foretoken.Backends;
using Foretoken.KvCache;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Generation;

/// <summary>
/// Beam search with speculation. Every pass holds a row per beam and a tree of drafts behind it. From the rows' logits the best continuations of all beams are chosen;
/// as long as every chosen one is a drafted node, whose logits the pass has computed already, the beams grow by another token without a pass. Logits do not depend on what
/// shares a pass, so answers and scores are those of a search without drafts, bit by bit.
/// <para>A beam that leaves the path which its cache sequence keeps becomes a fork of it, cut back to where they part; what lies between is pending and is computed
/// with the next pass, as after a preemption.</para>
/// </summary>
internal sealed class BeamSearch
{
    private readonly Transformer _model;
    private readonly PagedKvCache _cache;
    private readonly IDrafter _drafter;
    private readonly BeamOptions _options;
    private readonly int[] _ends;
    private readonly FeatureTaps? _taps;           // what drafters read of the passes
    private readonly RowBatch _rows;
    private readonly TokenForest _forest;
    private readonly int _chunk;
    private readonly DraftRequest[] _requests;     // [beams]
    private StepCost _cost;                        // of the pass
    private readonly Acceptance[] _acceptances;    // [beams]
    private readonly int[] _kept;                  // [rows] rows to commit
    private readonly int[] _topTokens;             // [2 · beams]
    private readonly float[] _topLogits;           // [2 · beams]
    private readonly List<Candidate> _candidates = [];
    private readonly List<Finished> _finished = []; // the best first, at most as many as beams
    private readonly Stack<TokenHistory> _paths = new();
    private readonly HashSet<int> _held = [];      // the cache's indexes that this search has taken and not given back
    private List<Beam> _origins = [];              // beams at the beginning of the pass
    private List<Beam> _beams = [];                // beams now: behind drafted nodes of their origins
    private int _steps, _lengths, _drafted;

    public BeamSearch(Transformer model, PagedKvCache cache, IDrafter drafter, DecodeLoopOptions sizes, BeamOptions options, int[] ends, FeatureTaps? taps)
    {
        (_model, _cache, _drafter, _options, _ends, _taps) = (model, cache, drafter, options, ends, taps);
        _rows = new RowBatch(sizes.MaxRows);
        _forest = new TokenForest(options.Beams, Math.Max(options.Beams, sizes.MaxLogitRows(drafter.MaxNodes)));
        _chunk = sizes.PrefillChunk;
        (_requests, _acceptances, _kept) = (new DraftRequest[options.Beams], new Acceptance[options.Beams], new int[sizes.MaxRows]);
        int top = Math.Min(2 * options.Beams, model.Shape.VocabSize);
        (_topTokens, _topLogits) = (new int[top], new float[top]);
    }

    /// <exception cref="GenerationException">The cache has no room for the beams, or logits are no distribution.</exception>
    /// <exception cref="OperationCanceledException">The search was cancelled.</exception>
    public (IReadOnlyList<Finished> Answers, int Steps, int Lengths, int Drafted, double Milliseconds) Run(ReadOnlySpan<int> prompt, int maxTokens, CancellationToken cancel)
    {
        for (int i = 0; i < 3 * _options.Beams; i++) _paths.Push(new TokenHistory(prompt, prompt.Length + maxTokens));
        try
        {
            int index = _cache.TryAcquire();
            if (index < 0) throw NoRoom();
            _held.Add(index);
            _origins.Add(new Beam(index, 0, _paths.Pop(), 0, -1));
            ReadPrompt(index, prompt, cancel);
            long start = Stopwatch.GetTimestamp();
            while (true)
            {
                cancel.ThrowIfCancellationRequested();
                Pass();
                if (Grow()) break;
                Settle();
            }

            return (_finished, _steps, _lengths, _drafted, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
        finally
        {
            foreach (int index in _held.ToArray()) Drop(index); // also forks that no pass has begun with
        }
    }

    private void ReadPrompt(int index, ReadOnlySpan<int> prompt, CancellationToken cancel)
    {
        while (_cache.Length(index) < prompt.Length - 1)
        {
            cancel.ThrowIfCancellationRequested();
            int from = _cache.Length(index), rows = Math.Min(Math.Min(_chunk, _rows.Capacity), prompt.Length - 1 - from);
            Reserve(index, from + rows);
            _rows.Clear();
            for (int r = 0; r < rows; r++) _kept[r] = _rows.Add(prompt[from + r], from + r, index, r - 1, wantsLogits: false);
            _cache.BeginPass(_rows);
            _model.Forward(_rows, _cache.View, taps: _taps);
            _cache.Commit(index, _kept.AsSpan(0, rows));
            _drafter.Committed(index, _origins[0].Path, _rows, _kept.AsSpan(0, rows));
        }
    }

    /// <summary>Drafts behind every beam and runs all rows.</summary>
    private void Pass()
    {
        _forest.Clear();
        int pending = 0;
        foreach (Beam b in _origins) pending += b.Path.Count - _cache.Length(b.Index);
        for (int i = 0; i < _origins.Count; i++)
        {
            Beam b = _origins[i];
            int own = b.Path.Count - _cache.Length(b.Index), depth = b.Path.Capacity - b.Path.Count - 1;
            int nodes = Math.Min(_drafter.MaxNodes, Math.Min((_rows.Capacity - pending) / _origins.Count, Math.Min(_cache.Options.MaxRowsPerSequence, RowBatch.MaxTreeRows) - own));
            nodes = depth <= 0 ? 0 : Math.Max(nodes, 0);
            Reserve(b.Index, b.Path.Count + nodes);
            int tree = _forest.AddTree(b.Path.Last, nodes, Math.Max(depth, 0));
            _requests[i] = new DraftRequest(tree, b.Index, b.Path, SamplingOptions.Greedy, nodes, Math.Max(depth, 0));
            _origins[i] = b with { Node = _forest.Root(tree) };
        }

        long begin = Stopwatch.GetTimestamp();
        _drafter.Propose(_requests.AsSpan(0, _origins.Count), _forest);
        long drafted = Stopwatch.GetTimestamp();
        double keys = LayRows();
        _cache.BeginPass(_rows);
        _model.Forward(_rows, _cache.View, taps: _taps);
        _steps++;
        _drafted += _forest.Count - _origins.Count;
        _cost = new StepCost(_rows.Count, _rows.Count - _forest.Count, (long)keys, drafted - begin, Stopwatch.GetTimestamp() - drafted);
    }

    private double LayRows()
    {
        _rows.Clear();
        int logits = 0;
        double keys = 0;
        for (int i = 0; i < _origins.Count; i++)
        {
            Beam b = _origins[i];
            int first = _rows.Count, parent = -1, at = _cache.Length(b.Index);
            for (; at < b.Path.Count - 1; at++) parent = _rows.Add(b.Path.Tokens[at], at, b.Index, parent, wantsLogits: false);
            for (int node = b.Node; node >= 0; node = _forest.Next(node))
            {
                int above = _forest.Parent(node) is var p and >= 0 ? _forest.Row(p) : parent;
                _forest.Place(node, _rows.Add(_forest.Token(node), at + _forest.Depth(node), b.Index, above, wantsLogits: true), logits++);
            }

            keys += StepCost.KeysOf(_cache, b.Index, _rows.Count - first);
        }

        return keys;
    }

    /// <summary>Lets the beams grow as far as the pass has logits for all of them.</summary>
    /// <returns>True if the search is over.</returns>
    private bool Grow()
    {
        _beams.Clear();
        for (int i = 0; i < _origins.Count; i++) _beams.Add(_origins[i] with { Origin = i, Path = Copy(_origins[i].Path) });
        while (true)
        {
            List<Beam> next = Extend();
            foreach (Beam b in _beams) _paths.Push(b.Path);
            _beams = next;
            _lengths++;
            if (IsOver()) return true;
            if (next.Exists(b => b.Node < 0)) return false;
        }
    }

    /// <summary>The best continuations of all beams: as many as there may be beams, those that end an answer apart.</summary>
    private List<Beam> Extend()
    {
        _candidates.Clear();
        for (int i = 0; i < _beams.Count; i++)
        {
            ReadOnlySpan<float> logits = _model.LogitsOf(_forest.LogitIndex(_beams[i].Node));
            float max = LogitMath.Max(logits);
            if (!float.IsFinite(max)) throw new GenerationException($"The model's output for position {_beams[i].Path.Count} holds values that are not numbers: its weights are damaged.");
            TopTokens.Find(logits, _topTokens, _topLogits);
            double norm = max + Math.Log(LogitMath.SumExp(logits, max));
            for (int t = 0; t < _topTokens.Length && _topTokens[t] >= 0; t++)
                _candidates.Add(new Candidate(i, _topTokens[t], _beams[i].LogProbability + (_topLogits[t] - norm), _candidates.Count));
        }

        _candidates.Sort(static (a, b) => a.LogProbability != b.LogProbability ? b.LogProbability.CompareTo(a.LogProbability) : a.Order.CompareTo(b.Order));
        var next = new List<Beam>(_options.Beams);
        for (int rank = 0; rank < Math.Min(2 * _options.Beams, _candidates.Count) && next.Count < _options.Beams; rank++)
        {
            Candidate c = _candidates[rank];
            Beam beam = _beams[c.Beam];
            if (Array.IndexOf(_ends, c.Token) >= 0)
            {
                if (rank < _options.Beams) Finish([.. beam.Path.Generated, c.Token], c.LogProbability, FinishReason.Stop);
                continue;
            }

            TokenHistory path = Copy(beam.Path);
            path.Append(c.Token);
            next.Add(beam with { Path = path, LogProbability = c.LogProbability, Node = _forest.FindChild(beam.Node, c.Token) });
        }

        return next;
    }

    /// <summary>Whether enough answers have ended and no beam can become better than the worst of them, or the beams are as long as they may be.</summary>
    private bool IsOver()
    {
        if (_beams.Count == 0) return true;
        if (_beams[0].Path.Count == _beams[0].Path.Capacity)
        {
            foreach (Beam b in _beams) Finish(b.Path.Generated.ToArray(), b.LogProbability, FinishReason.Length);
            return true;
        }

        return _finished.Count == _options.Beams && _finished[^1].Score >= Score(_beams[0].LogProbability, _beams[0].Path.GeneratedCount);
    }

    private double Score(double logProbability, int length) => logProbability / Math.Pow(length, _options.LengthPenalty);

    private void Finish(int[] tokens, double logProbability, FinishReason reason)
    {
        var answer = new Finished(tokens, logProbability, Score(logProbability, tokens.Length), reason);
        int place = _finished.Count;
        while (place > 0 && answer.Score > _finished[place - 1].Score) place--;
        _finished.Insert(place, answer);
        if (_finished.Count > _options.Beams) _finished.RemoveAt(_options.Beams);
    }

    /// <summary>Commits what the beams keep of the pass, forks where they part, and makes them the origins of the next.</summary>
    private void Settle()
    {
        Span<bool> taken = stackalloc bool[_origins.Count];
        for (int i = 0; i < _origins.Count; i++)
        {
            Beam heir = _beams.Find(b => b.Origin == i);
            if (heir.Path is null)
            {
                _acceptances[i] = new Acceptance(i, _origins[i].Index, 1, 0, AcceptanceEnd.Tree);
                _cache.Commit(_origins[i].Index, []);
                continue;
            }

            int kept = KeepRows(i, heir.Path.Tokens[_origins[i].Path.Count..]);
            _cache.Commit(_origins[i].Index, _kept.AsSpan(0, kept));
            int grown = heir.Path.Count - _origins[i].Path.Count;
            foreach (int token in heir.Path.Tokens[^grown..]) _origins[i].Path.Append(token);
            _drafter.Committed(_origins[i].Index, _origins[i].Path, _rows, _kept.AsSpan(0, kept));
            _acceptances[i] = new Acceptance(i, _origins[i].Index, grown, grown, AcceptanceEnd.Tree);
        }

        _drafter.Observe(_requests.AsSpan(0, _origins.Count), _acceptances.AsSpan(0, _origins.Count), _forest);
        _drafter.Measured(_cost);
        for (int i = 0; i < _origins.Count; i++)
        {
            _paths.Push(_origins[i].Path);
            if (!_beams.Exists(b => b.Origin == i)) Drop(_origins[i].Index);
        }

        var next = new List<Beam>(_beams.Count);
        foreach (Beam b in _beams)
        {
            Beam origin = _origins[b.Origin];
            int index = taken[b.Origin] ? Fork(origin.Index, origin.Path, b.Path) : origin.Index;
            taken[b.Origin] = true;
            next.Add(b with { Index = index });
        }

        (_origins, _beams) = (next, []);
    }

    /// <summary>Rows of the pass that lie on the way from an origin through all of <paramref name="tokens"/> but the last.</summary>
    private int KeepRows(int origin, ReadOnlySpan<int> tokens)
    {
        Beam b = _origins[origin];
        int kept = 0, node = b.Node, first = _forest.Row(node) - (b.Path.Count - 1 - _cache.Length(b.Index));
        for (int row = first; row < _forest.Row(node); row++) _kept[kept++] = row;
        _kept[kept++] = _forest.Row(node);
        foreach (int token in tokens[..^1])
        {
            node = _forest.FindChild(node, token);
            _kept[kept++] = _forest.Row(node);
        }

        return kept;
    }

    private int Fork(int source, TokenHistory kept, TokenHistory path)
    {
        int shared = Math.Min(kept.Tokens.CommonPrefixLength(path.Tokens), Math.Min(_cache.Length(source), path.Count - 1));
        int fork = _cache.TryFork(source, shared);
        if (fork < 0) throw NoRoom();
        _held.Add(fork);
        _drafter.Fork(source, fork, shared);
        return fork;
    }

    private TokenHistory Copy(TokenHistory path)
    {
        TokenHistory copy = _paths.TryPop(out TokenHistory? free) ? free : new TokenHistory(path.Tokens[..path.PromptCount], path.Capacity);
        copy.Truncate(copy.PromptCount);
        foreach (int token in path.Generated) copy.Append(token);
        return copy;
    }

    private void Reserve(int index, int tokens)
    {
        if (!_cache.TryReserve(index, Math.Max(tokens, _cache.Length(index)))) throw NoRoom();
    }

    private void Drop(int index)
    {
        _held.Remove(index);
        _drafter.Release(index);
        _cache.Release(index);
    }

    private GenerationException NoRoom() => new(
        $"The KV cache has no room for {_options.Beams} beams beside what runs: ask for fewer beams or a shorter answer, or load the model with more KV memory.");

    /// <summary>An answer that has ended.</summary>
    internal readonly record struct Finished(int[] Tokens, double LogProbability, double Score, FinishReason Reason);

    /// <param name="Index">The cache's index; of the origin while the pass is read.</param>
    /// <param name="Origin">Place of the beam that it comes from in the pass.</param>
    /// <param name="Path">Prompt and answer so far.</param>
    /// <param name="LogProbability">Of the answer so far.</param>
    /// <param name="Node">Its last token's node in the pass; −1 if that was not drafted.</param>
    private readonly record struct Beam(int Index, int Origin, TokenHistory Path, double LogProbability, int Node);

    private readonly record struct Candidate(int Beam, int Token, double LogProbability, int Order);
}
