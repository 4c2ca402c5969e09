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
