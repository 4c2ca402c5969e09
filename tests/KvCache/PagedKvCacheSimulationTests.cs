using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.KvCache;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Tests.KvCache;

/// <summary>Random interleavings of all operations against lists of tokens. A failure names its seed, which replays it.</summary>
public sealed unsafe class PagedKvCacheSimulationTests
{
    private const int Sequences = 5, MaxTokens = 150, MaxRows = 24, Heads = 2 * 2;

    public static TheoryData<int, bool, int> Runs()
    {
        var data = new TheoryData<int, bool, int>();
        for (int seed = 0; seed < 12; seed++) data.Add(seed, seed % 2 == 1, seed % 3 == 0 ? 1 : seed % 3 * 7);
        return data;
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void Cache_equals_lists_of_tokens_under_random_operations(int seed, bool bf16, int reclaimBatch)
    {
        using var simulation = new Simulation(seed, bf16 ? KvType.BF16 : KvType.F32, seed % 4 == 0 ? new DensePolicy() : new RandomLives(seed), reclaimBatch);
        try
        {
            for (int step = 0; step < 400; step++) simulation.Step();
            simulation.ReleaseAll();
        }
        catch (Exception e) when (e is not Xunit.Sdk.XunitException)
        {
            throw new InvalidOperationException($"seed {seed}: {e.Message}", e);
        }
    }

    /// <summary>Every token of every head lives for a number of positions drawn from (seed, head, position); about half of them for ever.</summary>
    private sealed class RandomLives(int seed) : IEvictionPolicy
    {
        public string Name => "random lives";

        public bool Evicts => true;

        public int ExpireOf(int layer, int kvHead, int position)
        {
            var random = new SeededRandom((ulong)(((seed * 8 + layer * 2 + kvHead) * 1000) + position));
            int life = random.Next(60);
            return life < 30 ? position + life : int.MaxValue;
        }

        public void OnCommit(in CommittedHead head)
        {
            for (int slot = head.FirstNew; slot < head.Count; slot++) head.SetExpire(slot, ExpireOf(head.Layer, head.KvHead, head.PositionOf(slot)));
        }
    }

    private readonly record struct Token(int Position, int Content);

    private sealed class Simulation : IDisposable
    {
        private readonly SeededRandom _random;
        private readonly IEvictionPolicy _policy;
        private readonly PagedKvCache _cache;
        private readonly HostKvView _view;
        private readonly RowBatch _rows = new(128);
        private readonly TransformerShape _shape;
        private readonly Dictionary<int, List<Token>> _model = [];
        private readonly int _reclaimBatch;
        private int _content;

        public Simulation(int seed, KvType type, IEvictionPolicy policy, int reclaimBatch)
        {
            _random = new SeededRandom((ulong)seed);
            _policy = policy;
            _reclaimBatch = reclaimBatch;
            var layout = new KvLayout(2, 2, 6, type, 16);
            _cache = new PagedKvCache(
                new KvCacheOptions
                {
                    Layout = layout,
                    MaxSequences = Sequences,
                    MaxTokensPerSequence = MaxTokens,
                    MaxRowsPerSequence = MaxRows,
                    BudgetBytes = PagedKvCache.BytesFor(layout, 3, MaxTokens), // fewer than the sequences: reservations fail at times
                    Policy = policy,
                    ReclaimBatch = reclaimBatch,
                },
                new MemoryPlan());
            _view = (HostKvView)_cache.View;
            _cache.Pool.Shuffle(_random.Next);
            _shape = new TransformerShape
            {
                LayerCount = 2, HiddenSize = 12, IntermediateSize = 8, HeadCount = 2, KvHeadCount = 2, HeadDim = 6, VocabSize = 8, RmsNormEpsilon = 1e-5f,
                MaxPositions = MaxTokens, RopeInverseFrequencies = new double[3], AttentionScale = 1f,
            };
        }

        public void Step()
        {
            int choice = _random.Next(10);
            if (choice == 0)
            {
                int s = _cache.TryAcquire();
                Assert.Equal(_model.Count == Sequences, s == -1);
                if (s >= 0) _model.Add(s, []);
            }
            else if (choice == 1 && _model.Count > 0)
            {
                int s = _model.Keys.ElementAt(_random.Next(_model.Count));
                _cache.Release(s);
                _model.Remove(s);
            }
            else
            {
                Pass();
            }

            Check();
        }

        public void ReleaseAll()
        {
            foreach (int s in _model.Keys) _cache.Release(s);
            KvStatistics statistics = _cache.Statistics;
            Assert.Equal((0, 0, 0L), (statistics.Sequences, statistics.PagesReserved, statistics.BytesHeld));
            Assert.Equal(statistics.PagesTotal, statistics.PagesFree);
            for (int s = 0; s < Sequences; s++) Assert.NotEqual(-1, _cache.TryAcquire());
        }

        public void Dispose() => _cache.Dispose();

        private void Pass()
        {
            _rows.Clear();
            var contents = new List<int>();
            foreach ((int s, List<Token> tokens) in _model)
            {
                int count = 1 + _random.Next(MaxRows);
                if (_random.Next(4) == 0 || tokens.Count + count > MaxTokens) continue;
                int want = Math.Min(tokens.Count + count + _random.Next(30), MaxTokens);
                if (!_cache.TryReserve(s, want) && _cache.Reserved(s) < tokens.Count + count) continue;
                int first = _rows.Count, shape = _random.Next(3);
                for (int i = 0; i < count; i++)
                {
                    int parent = shape == 0 ? i - 1 : _random.Next(i + 1) - 1; // chain or random tree
                    int position = tokens.Count + (parent < 0 ? 0 : _rows.Positions[first + parent] - tokens.Count + 1);
                    _rows.Add(0, position, s, parent < 0 ? -1 : first + parent, false);
                    contents.Add(_content++ % 256); // exact in bf16
                }
            }

            _cache.BeginPass(_rows);
            Store(contents);
            foreach (RowSegment segment in _rows.Segments) Commit(segment, contents);
        }

        /// <summary>Key and value of every row are its content plus the dim's and head's number, through the writer that attention uses.</summary>
        private void Store(List<int> contents)
        {
            const int stride = (2 + 4) * 6;
            float[] qkv = new float[_rows.Count * stride + 1];
            for (int r = 0; r < _rows.Count; r++)
            {
                for (int i = 0; i < stride; i++) qkv[r * stride + i] = contents[r] - i;
            }

            fixed (float* p = qkv)
            {
                foreach (RowSegment segment in _rows.Segments)
                {
                    for (int h = 0; h < Heads; h++)
                        AttentionStore.Rows(_shape, segment, 0, segment.Count, _view, _view.Head(segment.Sequence, h / 2, h % 2), h % 2, p);
                }
            }
        }

        private void Commit(RowSegment segment, List<int> contents)
        {
            var path = new List<int>();
            int parent = -1;
            for (int r = segment.First; r < segment.First + segment.Count; r++)
            {
                if (_rows.Parents[r] != parent || _random.Next(5) == 0) continue;
                path.Add(r);
                parent = r;
            }

            if (_random.Next(6) == 0) path.Clear(); // rollback
            _cache.Commit(segment.Sequence, path.ToArray());
            foreach (int r in path) _model[segment.Sequence].Add(new Token(_rows.Positions[r], contents[r]));
        }

        private void Check()
        {
            KvStatistics statistics = _cache.Statistics;
            long pages = 0;
            foreach ((int s, List<Token> tokens) in _model)
            {
                Assert.Equal(tokens.Count, _cache.Length(s));
                for (int h = 0; h < Heads; h++)
                {
                    CheckHead(s, h / 2, h % 2, tokens);
                    pages += (_cache.LiveTokens(s, h / 2, h % 2) + 15) / 16;
                }
            }

            Assert.Equal(pages, statistics.PagesTotal - statistics.PagesFree);
            Assert.True(statistics.PagesReserved >= pages && statistics.PagesReserved <= statistics.PagesTotal);
        }

        private void CheckHead(int s, int layer, int kvHead, List<Token> tokens)
        {
            KvHeadSlots* head = _view.Head(s, layer, kvHead);
            int slot = 0, late = 0;
            foreach (Token token in tokens)
            {
                int expire = _policy is RandomLives lives ? lives.ExpireOf(layer, kvHead, token.Position) : int.MaxValue;
                bool dead = expire < tokens.Count;
                bool held = slot < head->Committed && *_view.PositionOf(head, slot) == token.Position;
                if (dead && held) late++;
                if (dead && !held) continue;
                Assert.True(held, $"position {token.Position} of sequence {s}, layer {layer}, head {kvHead} is lost");
                Assert.Equal(expire, *_view.ExpireOf(head, slot));
                Assert.Equal(token.Content - (2 + kvHead) * 6 - 5, KeyOf(head, slot, 5));
                Assert.Equal(token.Content - (4 + kvHead) * 6 - 3, ValueOf(head, slot, 3));
                slot++;
            }

            Assert.Equal(head->Committed, slot);
            Assert.True(late < _reclaimBatch);
            if (!head->Contiguous || slot == 0) return;
            Assert.Equal(tokens.Count - slot, *_view.PositionOf(head, 0));
        }

        private float KeyOf(KvHeadSlots* head, int slot, int d)
        {
            byte* page = _view.PageOf(head, slot);
            return _view.Layout.Type == KvType.F32
                ? ((float*)page)[d * 16 + slot % 16]
                : BitConverter.UInt32BitsToSingle((uint)((ushort*)page)[(d / 2 * 16 + slot % 16) * 2 + d % 2] << 16);
        }

        private float ValueOf(KvHeadSlots* head, int slot, int d)
        {
            byte* row = _view.PageOf(head, slot) + _view.Format.ValueOffset + slot % 16 * _view.Format.ValueRowBytes;
            return _view.Layout.Type == KvType.F32 ? ((float*)row)[d] : BitConverter.UInt32BitsToSingle((uint)((ushort*)row)[d * 2] << 16);
        }
    }
}
