using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Lanes;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends;

/// <summary>Attention against float64 with explicit masks.</summary>
public sealed class CpuAttentionTests
{
    public static TheoryData<int, int, int, KvType, int> Shapes()
    {
        var data = new TheoryData<int, int, int, KvType, int>();
        foreach (KvType type in Enum.GetValues<KvType>())
        {
            foreach ((int heads, int kvHeads, int headDim, int window) in new[]
            {
                (4, 4, 16, 0), (6, 2, 32, 0), (4, 2, 64, 0), (8, 1, 96, 0), (5, 1, 80, 0), (2, 1, 128, 0), (2, 2, 256, 0), (3, 3, 8, 0), (2, 1, 24, 0),
                (6, 2, 32, 1), (6, 2, 32, 10), (4, 1, 64, 100), (4, 2, 32, 300),
            })
            {
                data.Add(heads, kvHeads, headDim, type, window);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Chains_equal_the_reference(int heads, int kvHeads, int headDim, KvType type, int window)
    {
        var test = new AttentionCase { Heads = heads, KvHeads = kvHeads, HeadDim = headDim, Type = type, Window = window };
        using var harness = new AttentionHarness(test);
        int[] tokens = RandomTokens(1, 300);
        int s = harness.NewSequence();
        float[][] prefill = harness.RunChain(s, tokens.AsSpan(0, 280));
        float[][] steps = harness.RunChunks(s, tokens.AsSpan(280), 1);
        foreach (int p in new[] { 0, 1, 15, 16, 17, 99, 100, 101, 255, 256, 257, 279, 280, 281, 299 })
            AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tokens.AsSpan(0, p + 1)), p < 280 ? prefill[p] : steps[p - 280], $"position {p}");
    }

    [Theory]
    [InlineData(KvType.F32, 0, 0)]
    [InlineData(KvType.BF16, 0, 0)]
    [InlineData(KvType.F32, 7, 0)]
    [InlineData(KvType.BF16, 40, 1)]
    [InlineData(KvType.F32, 0, 2)]
    [InlineData(KvType.F16, 0, 2)]
    [InlineData(KvType.Int8, 0, 0)]
    [InlineData(KvType.Int8, 40, 1)]
    public void Trees_of_many_rows_equal_the_reference(KvType type, int window, int seed)
    {
        foreach ((int committed, int nodes) in new[] { (0, 70), (40, 256), (250, 120), (256, 9), (511, 200) })
        {
            var test = new AttentionCase { Heads = 6, Type = type, Window = window, Expire = seed == 2 ? RandomExpire(5) : null };
            using var harness = new AttentionHarness(test);
            int s = harness.NewSequence();
            int[] prefix = RandomTokens((ulong)seed, committed);
            if (committed > 0) harness.RunChain(s, prefix);
            harness.Rows.Clear();
            int[][] paths = AddRandomTree(harness, s, prefix, nodes, new SeededRandom((ulong)(seed + committed)));
            harness.Run();
            for (int r = 0; r < nodes; r += Math.Max(1, nodes / 12))
                AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, paths[r]), harness.Output(r), $"row {r} of {nodes} on {committed}");
        }
    }

    [Theory]
    [InlineData(KvType.F32, 0)]
    [InlineData(KvType.BF16, 0)]
    [InlineData(KvType.F32, 50)]
    [InlineData(KvType.F16, 0)]
    [InlineData(KvType.Int8, 50)]
    public void Expired_keys_are_unseen_from_the_next_position_on(KvType type, int window)
    {
        var test = new AttentionCase { Heads = 4, Type = type, Window = window, Expire = RandomExpire(3) };
        using var harness = new AttentionHarness(test);
        int[] tokens = RandomTokens(2, 600);
        int s = harness.NewSequence();
        float[][] outputs = [.. harness.RunChunks(s, tokens.AsSpan(0, 580), 200), .. harness.RunChunks(s, tokens.AsSpan(580), 1)];
        for (int p = 0; p < 600; p += p < 580 ? 37 : 3)
            AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tokens.AsSpan(0, p + 1)), outputs[p], $"position {p}");
        Assert.True(harness.Cache.LiveTokens(s, AttentionHarness.Layer, 0) < 450);
    }

    [Fact]
    public void Several_sequences_share_a_pass_without_seeing_each_other()
    {
        var test = new AttentionCase { Type = KvType.BF16, Threads = 2 };
        using var harness = new AttentionHarness(test);
        int a = harness.NewSequence(), b = harness.NewSequence(), c = harness.NewSequence();
        int[] ta = RandomTokens(10, 90), tb = RandomTokens(11, 400), tc = RandomTokens(12, 300);
        harness.RunChain(a, ta.AsSpan(0, 60));
        harness.RunChain(b, tb.AsSpan(0, 399));
        harness.Rows.Clear();
        harness.AddChain(a, ta.AsSpan(60));
        harness.AddChain(b, tb.AsSpan(399));
        harness.AddChain(c, tc);
        harness.Run();
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, ta), harness.Output(29), "a");
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tb), harness.Output(30), "b");
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tc.AsSpan(0, 100)), harness.Output(130), "c");
        AttentionReference.AssertClose(test.Type, AttentionReference.Output(test, tc), harness.Output(330), "c");
    }

    [Fact]
    public unsafe void Every_half_reads_as_its_value_on_every_instruction_set()
    {
        uint* pairs = stackalloc uint[16];
        float* even = stackalloc float[16], odd = stackalloc float[16];
        for (int first = 0; first < 0x10000; first += 32)
        {
            for (int i = 0; i < 16; i++) pairs[i] = (uint)(first + 2 * i | (first + 2 * i + 1) << 16);
            foreach (IsaLevel level in Enum.GetValues<IsaLevel>().Where(IsaLevels.IsSupported))
            {
                LoadHalves(level, (byte*)pairs, even, odd);
                for (int i = 0; i < 32; i++)
                {
                    var half = BitConverter.UInt16BitsToHalf((ushort)(first + i));
                    float read = i % 2 == 0 ? even[i / 2] : odd[i / 2];
                    if (Half.IsFinite(half)) Assert.Equal(BitConverter.SingleToUInt32Bits((float)half), BitConverter.SingleToUInt32Bits(read));
                }
            }
        }
    }

    [Fact]
    public void Passes_allocate_nothing()
    {
        using var harness = new AttentionHarness(new AttentionCase { Threads = 2 });
        int s = harness.NewSequence();
        harness.RunChain(s, RandomTokens(1, 300));
        harness.Rows.Clear();
        harness.AddChain(s, RandomTokens(2, 20));
        harness.Run();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 5; i++) harness.Attend();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public unsafe void Cache_of_another_shape_is_refused()
    {
        using var cache = new AttentionHarness(new AttentionCase { HeadDim = 64 });
        using var harness = new AttentionHarness(new AttentionCase { HeadDim = 32 });
        var e = Assert.Throws<ArgumentException>(() => harness.AttendTo(cache.Cache.View));
        Assert.Contains("HeadDim = 64", e.Message);
    }

    private static unsafe void LoadHalves(IsaLevel level, byte* pairs, float* even, float* odd)
    {
        if (level == IsaLevel.Avx512) Load<Lanes512>(pairs, even, odd);
        else if (level == IsaLevel.Avx2) Load<Lanes256>(pairs, even, odd);
        else Load<Lanes128>(pairs, even, odd);
    }

    private static unsafe void Load<TLanes>(byte* pairs, float* even, float* odd)
        where TLanes : struct, ILanes<TLanes>
    {
        TLanes.LoadHalfPairs(pairs, out TLanes e, out TLanes o);
        e.Store(even);
        o.Store(odd);
    }

    internal static int[] RandomTokens(ulong seed, int count)
    {
        var random = new SeededRandom(seed);
        var tokens = new int[count];
        for (int i = 0; i < count; i++) tokens[i] = random.Next(1000);
        return tokens;
    }

    /// <summary>Half of the keys live for ever, the others 4..120 positions.</summary>
    internal static Func<int, int, int> RandomExpire(ulong seed) => (head, position) =>
    {
        int life = (int)(CounterRandom.Bits(seed, (ulong)position, (uint)head) % 240);
        return life < 120 ? position + Math.Max(4, life) : int.MaxValue;
    };

    /// <summary>Adds a random tree over the committed prefix and returns each row's path of tokens from position 0.</summary>
    internal static int[][] AddRandomTree(AttentionHarness harness, int sequence, int[] prefix, int nodes, SeededRandom random)
    {
        var paths = new int[nodes][];
        int first = harness.Rows.Count;
        for (int i = 0; i < nodes; i++)
        {
            int parent = random.Chance(0.6) ? i - 1 : random.Next(-1, i); // long branches and wide forks
            int[] before = parent < 0 ? prefix : paths[parent];
            paths[i] = [.. before, random.Next(1000)];
            harness.Rows.Add(paths[i][^1], before.Length, sequence, parent < 0 ? -1 : first + parent, false);
        }

        return paths;
    }
}
