using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Numerics;
using Foretoken.Tests.Backends;

namespace Foretoken.Tests.KvCache;

/// <summary>Defects that are planted to see that random operations find them.</summary>
public enum CacheDefect
{
    None,

    /// <summary>Copy-on-write takes a page that a fork shares for one of its own, and writes it without a copy.</summary>
    ForgetsHolder,

    /// <summary>Stored prefixes are found under the tokens of another prompt.</summary>
    StoresUnderOtherTokens,
}

/// <summary>
/// Random interleavings of everything that a cache does, against a naive model: the list of each sequence's tokens. After every step each head must
/// hold exactly the tokens that the policy shows, with their keys and values. A seed replays a run.
/// </summary>
internal sealed unsafe class CacheSimulation : IDisposable
{
    public const int Sequences = 6, MaxTokens = 170, MaxRows = 24, Layers = 2, KvHeads = 2, HeadDim = 6, Heads = Layers * KvHeads, SlotsPerPage = 16;
    private readonly SeededRandom _random;
    private readonly KvCacheOptions _options;
    private readonly IEvictionPolicy _expected;
    private readonly CacheDefect _defect;
    private readonly PagedKvCache _cache;
    private readonly HostKvView _view;
    private readonly RowBatch _rows = new(Sequences * MaxRows);
    private readonly TransformerShape _shape;
    private readonly Dictionary<int, NaiveSequence> _model = [];
    private readonly List<int[]> _prompts = [];

    /// <param name="seed">Replays the run.</param>
    /// <param name="type">Storage.</param>
    /// <param name="policy">What evicts.</param>
    /// <param name="reclaimBatch">See <see cref="KvCacheOptions"/>.</param>
    /// <param name="prefixes">Most stored prefixes.</param>
    /// <param name="expected">What the cache is held to, if not its own policy.</param>
    /// <param name="defect">What is planted.</param>
    public CacheSimulation(
        ulong seed, KvType type, IEvictionPolicy policy, int reclaimBatch, int prefixes, IEvictionPolicy? expected = null, CacheDefect defect = CacheDefect.None)
    {
        _defect = defect;
        _random = new SeededRandom(seed);
        _expected = expected ?? policy;
        var layout = new KvLayout(Layers, KvHeads, HeadDim, type, SlotsPerPage);
        _options = new KvCacheOptions
        {
            Layout = layout,
            MaxSequences = Sequences,
            MaxTokensPerSequence = MaxTokens,
            MaxRowsPerSequence = MaxRows,
            BudgetBytes = PagedKvCache.BytesFor(layout, 3, MaxTokens), // fewer than the sequences: reservations fail at times
            Policy = policy,
            ReclaimBatch = reclaimBatch,
            MaxPrefixes = prefixes,
        };
        _cache = new PagedKvCache(_options, new MemoryPlan());
        _view = (HostKvView)_cache.View;
        _cache.Pool.Shuffle(_random.Next);
        _shape = new TransformerShape
        {
            LayerCount = Layers, HiddenSize = 12, IntermediateSize = 8, HeadCount = 2, KvHeadCount = KvHeads, HeadDim = HeadDim, VocabSize = 8,
            RmsNormEpsilon = 1e-5f, MaxPositions = MaxTokens, RopeInverseFrequencies = new double[3], AttentionScale = 1f,
        };
        for (int p = 0; p < 3; p++) _prompts.Add([.. Enumerable.Range(0, 100).Select(_ => _random.Next(4))]);
    }

    /// <summary>How often each kind of step did something.</summary>
    public SortedDictionary<string, int> Done { get; } = [];

    public PagedKvCache Cache => _cache;

    public void Step()
    {
        int choice = _random.Next(25);
        int s = _model.Count == 0 ? -1 : _model.Keys.ElementAt(_random.Next(_model.Count));
        if (s < 0 || choice < 3) Acquire();
        else if (choice == 3) Release(s, "release");
        else if (choice == 4) Preempt(s);
        else if (choice is 5 or 6) Fork(s);
        else if (choice is 7 or 8) Truncate(s);
        else if (choice is 9 or 10) PublishAll();
        else if (choice == 11) CancelInThePass(s);
        else if (choice == 13) Reclaim(s);
        else if (choice == 12 && _random.Next(6) == 0) _cache.ClearPrefixes();
        else Pass();
        Check();
    }

    /// <summary>Ends everything, in random order; the pool must be exactly empty.</summary>
    public void ReleaseAll()
    {
        while (_model.Count > 0)
        {
            Release(_model.Keys.ElementAt(_random.Next(_model.Count)), "end");
            Check();
        }

        Assert.Equal(0L, _cache.Statistics.BytesHeld);
        _cache.ClearPrefixes();
        KvStatistics statistics = _cache.Statistics;
        Assert.Equal((0, 0, 0L, 0L), (statistics.Sequences, statistics.PagesReserved, statistics.BytesHeld, statistics.BytesCached));
        Assert.Equal(statistics.PagesTotal, statistics.PagesFree);
        Assert.Equal(0, _cache.Pool.Pinned);
        for (int s = 0; s < Sequences; s++) Assert.NotEqual(-1, _cache.TryAcquire());
    }

    public void Dispose() => _cache.Dispose();

    private void Mark(string what) => Done[what] = Done.GetValueOrDefault(what) + 1;

    private void Acquire()
    {
        int s = _cache.TryAcquire();
        Assert.Equal(_model.Count == Sequences, s == -1);
        if (s < 0) return;
        int[] prompt = _prompts[_random.Next(_prompts.Count)];
        int[] planned = [.. prompt.AsSpan(0, _random.Next(prompt.Length)), .. Enumerable.Range(0, _random.Next(1, 20)).Select(_ => _random.Next(4))];
        _model.Add(s, Begin(s, planned));
    }

    /// <summary>Releases the sequence and computes it again, as a preempted request is.</summary>
    private void Preempt(int s)
    {
        int[] tokens = [.. _model[s].Tokens, 1];
        Release(s, "preempt");
        s = _cache.TryAcquire();
        _model.Add(s, Begin(s, tokens));
    }

    private NaiveSequence Begin(int s, int[] planned)
    {
        var naive = new NaiveSequence { Planned = planned };
        int reused = _cache.TryAttachPrefix(s, planned);
        Assert.True(reused < planned.Length && reused % SlotsPerPage == 0);
        Assert.Equal(reused, _cache.Length(s));
        naive.Tokens.AddRange(planned[..reused]);
        if (reused > 0) Mark("attach");
        return naive;
    }

    private void Release(int s, string why)
    {
        _cache.Release(s);
        _model.Remove(s);
        Mark(why);
    }

    private void Fork(int s)
    {
        int fork = _cache.TryFork(s);
        if (fork < 0) return;
        _model.Add(fork, _model[s].Copy());
        Mark("fork");
        if (_defect == CacheDefect.ForgetsHolder) ForgetHolders(fork);
    }

    private void Truncate(int s)
    {
        NaiveSequence naive = _model[s];
        int length = _random.Next(naive.Tokens.Count + 1);
        if (_random.Next(2) == 0) length = Math.Max(length, naive.Tokens.Count - 5);
        bool legal = length >= _cache.ShortestLength(s);
        if (_options.Policy is DensePolicy) Assert.True(legal);
        if (!_cache.TryTruncate(s, length)) return;
        Assert.True(legal);
        Mark("truncate");
        naive.Tokens.RemoveRange(length, naive.Tokens.Count - length);
    }

    private void Reclaim(int s)
    {
        int before = Enumerable.Range(0, Heads).Sum(h => _view.Head(s, h / KvHeads, h % KvHeads)->Committed);
        int reserved = _cache.Reserved(s), pages = _cache.ReservedPages(s), freed = _cache.Reclaim(s);
        Assert.Equal(reserved, _cache.Reserved(s));
        Assert.InRange(_cache.ReservedPages(s), 0, pages);
        Assert.Equal(before - freed, Enumerable.Range(0, Heads).Sum(h => _view.Head(s, h / KvHeads, h % KvHeads)->Committed));
        for (int h = 0; h < Heads; h++) Assert.Equal(_view.Head(s, h / KvHeads, h % KvHeads)->Committed, _cache.LiveTokens(s, h / KvHeads, h % KvHeads));
        if (freed > 0) Mark("reclaim");
    }

    private void PublishAll()
    {
        foreach ((int s, NaiveSequence naive) in _model)
        {
            int[] tokens = [.. naive.Tokens];
            if (_defect == CacheDefect.StoresUnderOtherTokens) _prompts[0].AsSpan(0, Math.Min(tokens.Length, _prompts[0].Length)).CopyTo(tokens);
            if (_cache.PublishPrefix(s, tokens)) Mark("publish");
        }
    }

    /// <summary>The last page of every head, which both sequences go on to write, counts as held by one of them.</summary>
    private void ForgetHolders(int fork)
    {
        for (int h = 0; h < Heads; h++)
        {
            KvHeadSlots* head = _view.Head(fork, h / KvHeads, h % KvHeads);
            if (head->Committed % SlotsPerPage != 0) _cache.Pool.Return(head->Pages[head->PageCount - 1], live: true);
        }
    }

    private void CancelInThePass(int s)
    {
        _rows.Clear();
        if (!AddRows(s)) return;
        _cache.BeginPass(_rows);
        Store();
        Release(s, "cancel");
    }

    private void Pass()
    {
        _rows.Clear();
        foreach (int s in _model.Keys)
        {
            if (_random.Next(4) != 0) AddRows(s);
        }

        _cache.BeginPass(_rows);
        Store();
        foreach (RowSegment segment in _rows.Segments) Commit(segment);
        Mark("pass");
    }

    /// <summary>A chain of planned tokens, or a random tree.</summary>
    private bool AddRows(int s)
    {
        NaiveSequence naive = _model[s];
        int length = naive.Tokens.Count, count = 1 + _random.Next(MaxRows), shape = length < naive.Planned.Length - 1 ? 0 : _random.Next(3);
        if (shape == 0 && _random.Next(2) == 0 && length % SlotsPerPage + count > SlotsPerPage) count -= (length + count) % SlotsPerPage; // to a block's end
        if (length + count > MaxTokens) return false;
        int want = Math.Min(length + count + _random.Next(30), MaxTokens);
        if (!_cache.TryReserve(s, want) && _cache.Reserved(s) < length + count)
        {
            Mark("no pages");
            return false;
        }

        int first = _rows.Count;
        for (int i = 0; i < count; i++)
        {
            int parent = shape == 0 ? i - 1 : _random.Next(3) > 0 ? i - 1 : _random.Next(i + 1) - 1;
            int position = length + (parent < 0 ? 0 : _rows.Positions[first + parent] - length + 1);
            int token = shape == 0 && position < naive.Planned.Length ? naive.Planned[position] : _random.Next(4);
            _rows.Add(token, position, s, parent < 0 ? -1 : first + parent, false);
        }

        return true;
    }

    /// <summary>Keys and values of every row, through the writer that attention uses.</summary>
    private void Store()
    {
        const int stride = (2 + 2 * KvHeads) * HeadDim;
        float[] qkv = new float[_rows.Count * stride + 1];
        foreach (RowSegment segment in _rows.Segments)
        {
            for (int r = segment.First; r < segment.First + segment.Count; r++)
                NaiveSequence.Vectors(PathOf(r, segment), qkv.AsSpan(r * stride + 2 * HeadDim, 2 * KvHeads * HeadDim));
        }

        fixed (float* p = qkv)
        {
            foreach (RowSegment segment in _rows.Segments)
            {
                for (int h = 0; h < Heads; h++)
                {
                    KvHeadSlots* head = _view.Head(segment.Sequence, h / KvHeads, h % KvHeads);
                    AttentionStore.Rows(_shape, segment, 0, segment.Count, _view, head, h % KvHeads, p);
                }
            }
        }
    }

    private List<int> PathOf(int row, RowSegment segment)
    {
        var path = new List<int>();
        for (int r = row; r >= 0; r = _rows.Parents[r]) path.Insert(0, _rows.Tokens[r]);
        path.InsertRange(0, _model[segment.Sequence].Tokens);
        return path;
    }

    private void Commit(RowSegment segment)
    {
        var path = new List<int>();
        int parent = -1, stop = _random.Next(8);
        for (int r = segment.First; r < segment.First + segment.Count; r++)
        {
            if (_rows.Parents[r] != parent || (stop < 3 && _random.Next(8) == 0)) continue;
            path.Add(r);
            parent = r;
        }

        if (_random.Next(7) == 0) path.Clear(); // rollback
        _cache.Commit(segment.Sequence, path.ToArray());
        foreach (int r in path) _model[segment.Sequence].Tokens.Add(_rows.Tokens[r]);
    }

    private void Check()
    {
        KvStatistics statistics = _cache.Statistics;
        var pages = new HashSet<int>();
        long live = 0, dead = 0;
        foreach ((int s, NaiveSequence naive) in _model)
        {
            Assert.Equal(naive.Tokens.Count, _cache.Length(s));
            for (int h = 0; h < Heads; h++)
            {
                KvHeadSlots* head = _view.Head(s, h / KvHeads, h % KvHeads);
                int visible = CheckHead(s, h / KvHeads, h % KvHeads, naive);
                Assert.Equal(visible, _cache.LiveTokens(s, h / KvHeads, h % KvHeads));
                live += visible;
                dead += head->Committed - visible;
                Assert.Equal((head->Committed + SlotsPerPage - 1) / SlotsPerPage, head->PageCount);
                for (int p = 0; p < head->PageCount; p++) pages.Add(head->Pages[p]);
            }
        }

        Assert.Equal((pages.Count, live, dead), (statistics.PagesHeld, statistics.LiveSlots, statistics.DeadSlots));
        Assert.InRange(statistics.PagesReserved, statistics.PagesHeld, statistics.PagesTotal);
    }

    /// <summary>Checks one head and returns the number of its visible tokens.</summary>
    private int CheckHead(int s, int layer, int kvHead, NaiveSequence naive)
    {
        KvHeadSlots* head = _view.Head(s, layer, kvHead);
        int slot = 0, late = 0, visible = 0, length = naive.Tokens.Count;
        for (int position = 0; position < length; position++)
        {
            int expire = naive.ExpireOf(_expected, layer, kvHead, position);
            bool held = slot < head->Committed && *_view.PositionOf(head, slot) == position;
            if (expire < length && !held) continue;
            string where = $"position {position} of {length}, sequence {s}, layer {layer}, head {kvHead}";
            Assert.True(held, $"{where} is lost");
            Assert.True(expire == *_view.ExpireOf(head, slot), $"{where} expires at {*_view.ExpireOf(head, slot)}, not at {expire}");
            Assert.True(expire == int.MaxValue || slot >= head->FirstMortal, $"{where}: slot {slot} has an end, the first such is {head->FirstMortal}");
            CheckVectors(head, slot, naive, kvHead, position, where);
            if (expire < length) late++;
            else visible++;
            slot++;
        }

        Assert.Equal(head->Committed, slot);
        Assert.True(late < Math.Max(_options.ReclaimBatch, 1 + MaxTokens / 32 + SlotsPerPage));
        if (head->Contiguous && slot > 0) Assert.Equal(length - slot, *_view.PositionOf(head, 0));
        return visible;
    }

    private void CheckVectors(KvHeadSlots* head, int slot, NaiveSequence naive, int kvHead, int position, string where)
    {
        Span<float> vectors = stackalloc float[2 * KvHeads * HeadDim];
        NaiveSequence.Vectors(naive.Tokens[..(position + 1)], vectors);
        double[] key = AttentionReference.StoredAs(_view.Layout.Type, vectors.Slice(kvHead * HeadDim, HeadDim));
        double[] value = AttentionReference.StoredAs(_view.Layout.Type, vectors.Slice((KvHeads + kvHead) * HeadDim, HeadDim));
        for (int d = 0; d < HeadDim; d++)
        {
            Assert.True(key[d] == SlotReader.Key(_view, head, slot, d), $"{where}: key {d}");
            Assert.True(value[d] == SlotReader.Value(_view, head, slot, d), $"{where}: value {d}");
        }
    }
}
