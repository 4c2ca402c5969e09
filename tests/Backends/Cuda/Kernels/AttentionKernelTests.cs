using Foretoken.Backends;
using Foretoken.KvCache;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>Attention on the machine against the float64 reference, and its bits against themselves under other cuts and placements.</summary>
public sealed class AttentionKernelTests
{
    public static TheoryData<KvType, int, int, int, int> Shapes() => new()
    {
        { KvType.F32, 4, 2, 32, 0 },
        { KvType.BF16, 4, 1, 16, 0 },
        { KvType.BF16, 3, 3, 40, 20 },
        { KvType.F32, 10, 1, 24, 150 },
        { KvType.BF16, 2, 1, 128, 9 },
        { KvType.F16, 6, 2, 48, 0 },
        { KvType.F16, 2, 2, 8, 40 },
        { KvType.Int8, 4, 2, 32, 0 },
        { KvType.Int8, 9, 1, 24, 130 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Attention_equals_the_reference(KvType type, int heads, int kvHeads, int headDim, int window)
    {
        AttentionCase test = new() { Type = type, Heads = heads, KvHeads = kvHeads, HeadDim = headDim, Window = window, MaxTokens = 300, SlotsPerPage = 16 };
        using var harness = new CudaAttentionHarness(test, 300);
        int[] tokens = Tokens(276);
        int sequence = harness.NewSequence();
        float[][] first = harness.RunChain(sequence, tokens.AsSpan(0, 35));
        harness.RunChain(sequence, tokens.AsSpan(35, 215), attend: false);
        float[][] last = harness.RunChain(sequence, tokens.AsSpan(250)); // across the border between two splits
        foreach (int row in new[] { 0, 1, 31, 34, 250, 255, 256, 275 })
            AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tokens.AsSpan(0, row + 1)), row < 35 ? first[row] : last[row - 250], $"row {row}");
    }

    [Theory]
    [InlineData(KvType.BF16)]
    [InlineData(KvType.F32)]
    [InlineData(KvType.F16)]
    [InlineData(KvType.Int8)]
    public void Chunks_and_placements_change_no_bit(KvType type)
    {
        AttentionCase test = new() { Type = type, MaxTokens = 64, SlotsPerPage = 16, HeadDim = 16 };
        int[] tokens = Tokens(45);
        float[][] expected;
        using (var harness = new CudaAttentionHarness(test, 64)) expected = harness.RunChunks(harness.NewSequence(), tokens, 45);
        using var other = new CudaAttentionHarness(test with { PlacementSeed = 5 }, 64);
        Assert.Equal(expected, other.RunChunks(other.NewSequence(), tokens, 7));
        Assert.Equal(expected[..10], other.RunChunks(other.NewSequence(), tokens[..10], 1));
    }

    [Fact]
    public void A_row_of_a_tree_sees_its_ancestors_only_and_the_accepted_path_is_committed()
    {
        AttentionCase test = new() { MaxTokens = 80, SlotsPerPage = 16, HeadDim = 16, KvHeads = 2 };
        int[] prompt = Tokens(21);
        float[][] expected;
        using (var plain = new CudaAttentionHarness(test, 64))
        {
            int chain = plain.NewSequence();
            plain.RunChain(chain, prompt);
            expected = plain.RunChain(chain, [3, 5, 7, 8, 9]);
        }

        using var harness = new CudaAttentionHarness(test, 64);
        int sequence = harness.NewSequence();
        harness.RunChain(sequence, prompt);
        harness.Rows.Clear();
        // root 3; children 4, 5; below 5: 6, 7; below 7: 8
        int root = harness.Rows.Add(3, 21, sequence, -1, false);
        harness.Rows.Add(4, 22, sequence, root, false);
        int five = harness.Rows.Add(5, 22, sequence, root, false);
        harness.Rows.Add(6, 23, sequence, five, false);
        int seven = harness.Rows.Add(7, 23, sequence, five, false);
        int eight = harness.Rows.Add(8, 24, sequence, seven, false);
        float[][] tree = harness.Run();
        int[][] paths = [[3], [3, 4], [3, 5], [3, 5, 6], [3, 5, 7], [3, 5, 7, 8]];
        for (int r = 0; r < paths.Length; r++)
            AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, [.. prompt, .. paths[r]]), tree[r], $"row {r}");
        Assert.Equal(expected[3], tree[eight]);
        harness.Cache.Commit(sequence, [root, five, seven, eight]);
        Assert.Equal(expected[4], harness.RunChain(sequence, [9])[0]);
    }

    [Fact]
    public void Evicted_tokens_are_hidden_and_their_slots_reused()
    {
        AttentionCase test = new() { MaxTokens = 120, SlotsPerPage = 16, HeadDim = 16, Policy = new SinksPolicy(16), ReclaimBatch = 4 };
        using var harness = new CudaAttentionHarness(test, 32);
        int[] tokens = Tokens(90);
        float[][] outputs = harness.RunChunks(harness.NewSequence(), tokens, 9);
        foreach (int row in new[] { 3, 20, 40, 89 })
            AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tokens.AsSpan(0, row + 1)), outputs[row], $"row {row}");
    }

    [Fact]
    public void A_fork_copies_the_page_that_it_writes()
    {
        AttentionCase test = new() { MaxTokens = 64, SlotsPerPage = 16, HeadDim = 16 };
        using var harness = new CudaAttentionHarness(test, 32);
        int sequence = harness.NewSequence();
        int[] prompt = Tokens(21); // a whole page, and one that both will write
        harness.RunChain(sequence, prompt);
        int fork = harness.Cache.TryFork(sequence);
        Assert.True(harness.Cache.TryReserve(fork, 40));
        float[][] second = harness.RunChain(fork, [9, 4]), first = harness.RunChain(sequence, [2, 7]);
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, [.. prompt, 9, 4]), second[1], "fork");
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, [.. prompt, 2, 7]), first[1], "source");
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, [.. prompt, 9, 4, 5]), harness.RunChain(fork, [5])[0], "fork, later");
    }

    [Fact]
    public void Sequences_of_a_pass_do_not_see_each_other()
    {
        AttentionCase test = new() { MaxTokens = 64, SlotsPerPage = 16, HeadDim = 16, Heads = 6, KvHeads = 2 };
        using var harness = new CudaAttentionHarness(test, 64);
        int first = harness.NewSequence(), second = harness.NewSequence();
        int[] a = Tokens(30), b = [.. Tokens(17).Select(t => t + 1)];
        harness.Rows.Clear();
        harness.AddChain(first, a);
        int length = harness.Rows.Count;
        for (int i = 0; i < b.Length; i++) harness.Rows.Add(b[i], i, second, i == 0 ? -1 : harness.Rows.Count - 1, false);
        float[][] outputs = harness.Run();
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, a), outputs[length - 1], "first");
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, b), outputs[^1], "second");
    }

    private static int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(i => (i * 7 + 3) % 16)];
}
