using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Memory;

namespace Foretoken.Tests.Backends;

/// <summary>How passes are cut for several threads.</summary>
public sealed class AttentionPieceTests
{
    [Theory]
    [InlineData(1, 1, 1)]  // one thread: nothing to share
    [InlineData(2, 1, 2)]  // 2600 tokens are eleven chunks: two pieces of at least four
    [InlineData(2, 4, 2)]  // four KV heads: two pieces each, so that eight shares meet two threads
    [InlineData(2, 8, 1)]  // eight are enough as they are
    [InlineData(4, 8, 2)]  // but not for four threads
    public void Long_tiles_are_cut_until_every_thread_finds_enough(int threads, int kvHeads, int expected)
    {
        var test = new AttentionCase { Heads = kvHeads, KvHeads = kvHeads, HeadDim = 8, MaxTokens = 2700 };
        using var harness = new AttentionHarness(test);
        int s = harness.NewSequence();
        harness.RunChunks(s, CpuAttentionTests.RandomTokens(1, 2600), 650);
        harness.Rows.Clear();
        harness.AddChain(s, [5]);
        harness.Cache.BeginPass(harness.Rows);
        using var pieces = new AttentionPieces(harness.Shape, maxRows: 700, rowsPerTile: 64, threads, new MemoryPlan());
        pieces.Plan(harness.Rows, AttentionHarness.Layer, harness.View, window: 0);
        Assert.Equal(expected, pieces.PieceCount);
        Assert.Equal(expected == 1 ? 0 : 1, pieces.SplitCount);
        Assert.Equal(expected == 1, pieces.Pieces[0].IsWhole);
        Assert.True(pieces.Pieces[0].IsLast);
        int[] chunks = [.. pieces.Pieces.ToArray().SelectMany(p => Enumerable.Range(p.FirstChunk, p.EndChunk - p.FirstChunk)).Order()];
        Assert.Equal(Enumerable.Range(0, 11), chunks);
    }

    [Theory]
    [InlineData(1, 8, 1)]  // 64 rows read keys and values together
    [InlineData(2, 8, 1)]
    [InlineData(2, 2, 4)]  // two KV heads alone would not keep two threads busy
    [InlineData(16, 8, 4)] // nor eight sixteen
    public void Rows_of_a_tree_are_one_tile_where_the_kv_heads_feed_the_threads(int threads, int kvHeads, int expected)
    {
        var test = new AttentionCase { Heads = kvHeads, KvHeads = kvHeads, HeadDim = 8 };
        using var harness = new AttentionHarness(test);
        int s = harness.NewSequence();
        harness.RunChunks(s, CpuAttentionTests.RandomTokens(1, 100), 50);
        harness.Rows.Clear();
        for (int i = 0; i < 64; i++) harness.Rows.Add(i % 16, i == 0 ? 100 : harness.Rows.Positions[(i - 1) / 2] + 1, s, i == 0 ? -1 : (i - 1) / 2, wantsLogits: false);
        harness.Cache.BeginPass(harness.Rows);
        using var pieces = new AttentionPieces(harness.Shape, maxRows: 700, rowsPerTile: 64, threads, new MemoryPlan());
        pieces.Plan(harness.Rows, AttentionHarness.Layer, harness.View, window: 0);
        Assert.Equal(expected, pieces.PieceCount);
        Assert.Equal(expected == 1, pieces.SingleTiles);
        Assert.Equal(64, pieces.Pieces.ToArray().Sum(p => p.Tile.RowCount));
    }

    [Fact]
    public void What_no_row_sees_is_in_no_piece()
    {
        var test = new AttentionCase { HeadDim = 8, MaxTokens = 2700 };
        using var harness = new AttentionHarness(test);
        int s = harness.NewSequence();
        harness.RunChunks(s, CpuAttentionTests.RandomTokens(1, 2600), 650);
        harness.Rows.Clear();
        harness.AddChain(s, [5]);
        harness.Cache.BeginPass(harness.Rows);
        using var pieces = new AttentionPieces(harness.Shape, 700, 64, threads: 2, new MemoryPlan());
        pieces.Plan(harness.Rows, AttentionHarness.Layer, harness.View, window: 300);
        AttentionPiece only = Assert.Single(pieces.Pieces.ToArray());
        Assert.Equal((2301 / 256, 11), (only.FirstChunk, only.EndChunk));
    }
}
