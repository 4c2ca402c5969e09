using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Lanes;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends;

/// <summary>What is special about int8 keys and values: integer products.</summary>
public sealed unsafe class Int8AttentionTests
{
    /// <summary>Rounding queries and weights to 15 bits must not show beside what storing keys and values in 8 bits has lost.</summary>
    [Theory]
    [InlineData(64, 4)]
    [InlineData(128, 2)]
    public void Arithmetic_loses_less_than_a_tenth_of_what_storage_has_lost(int headDim, int heads)
    {
        var test = new AttentionCase { Heads = heads, KvHeads = 1, HeadDim = headDim, Type = KvType.Int8 };
        using var harness = new AttentionHarness(test);
        int[] tokens = CpuAttentionTests.RandomTokens(12, 600);
        float[][] outputs = harness.RunChunks(harness.NewSequence(), tokens, 200);
        double arithmetic = 0, storage = 0;
        for (int p = 20; p < 600; p += 29)
        {
            double[] stored = AttentionReference.Output(test, tokens.AsSpan(0, p + 1));
            double[] exact = AttentionReference.Output(test with { Type = KvType.F32 }, tokens.AsSpan(0, p + 1));
            for (int i = 0; i < stored.Length; i++)
            {
                arithmetic += Math.Pow(outputs[p][i] - stored[i], 2);
                storage += Math.Pow(stored[i] - exact[i], 2);
            }
        }

        Assert.True(storage > 0);
        Assert.InRange(Math.Sqrt(arithmetic / storage), 0, 0.1);
    }

    [Fact]
    public void Keys_that_are_no_numbers_reach_the_rows_that_see_them_and_no_others()
    {
        var test = new AttentionCase { Type = KvType.Int8, Window = 20 };
        using var harness = new AttentionHarness(test);
        int s = harness.NewSequence();
        harness.RunChain(s, CpuAttentionTests.RandomTokens(1, 40));
        KvHeadSlots* head = harness.View.Head(s, AttentionHarness.Layer, 0);
        float* scales = (float*)(harness.View.PageOf(head, 30) + harness.View.Format.KeyScaleOffset);
        float* valueScales = (float*)(harness.View.PageOf(head, 10) + harness.View.Format.ValueScaleOffset);
        valueScales[10] = float.NaN; // outside of the window of all rows from 30 on
        float[] before = harness.RunChain(s, [7])[0];
        Assert.All(before, x => Assert.True(float.IsFinite(x)));
        scales[30 % harness.View.Format.SlotsPerPage] = float.NaN;
        float[] after = harness.RunChain(s, [7])[0];
        Assert.All(after.Take(2 * test.HeadDim), x => Assert.True(float.IsNaN(x))); // query heads of the first KV head
        Assert.All(after.Skip(2 * test.HeadDim), x => Assert.True(float.IsFinite(x)));
    }

    /// <summary>Scores that lie hundreds apart, so that weights underflow, and what is no number, with any payload: the softmax of every instruction set says the same.</summary>
    [Fact]
    public void Scores_far_apart_and_no_numbers_are_the_same_on_every_instruction_set()
    {
        foreach (int headDim in new[] { 32, 64, 128 })
        {
            (float[] Far, float[][] None)[] answers = [.. Enum.GetValues<IsaLevel>().Where(IsaLevels.IsSupported).Select(level => Run(headDim, level))];
            foreach ((float[] far, float[][] none) in answers)
            {
                Assert.Equal(answers[0].Far.Select(BitConverter.SingleToInt32Bits), far.Select(BitConverter.SingleToInt32Bits));
                Assert.All(far, x => Assert.True(float.IsFinite(x)));
                Assert.True(far.Count(x => x != 0) > far.Length / 2);
                foreach (float[] row in none) Assert.All(row, x => Assert.True(float.IsNaN(x)));
            }
        }

        static (float[] Far, float[][] None) Run(int headDim, IsaLevel level)
        {
            var test = new AttentionCase { Heads = 4, KvHeads = 1, HeadDim = headDim, Type = KvType.Int8, Level = level };
            using var harness = new AttentionHarness(test);
            int s = harness.NewSequence(), inPage = harness.View.Format.SlotsPerPage;
            harness.RunChain(s, CpuAttentionTests.RandomTokens(5, 600));
            KvHeadSlots* head = harness.View.Head(s, AttentionHarness.Layer, 0);
            float* Scale(int slot, bool ofValue) =>
                (float*)(harness.View.PageOf(head, slot) + (ofValue ? harness.View.Format.ValueScaleOffset : harness.View.Format.KeyScaleOffset)) + slot % inPage;
            for (int slot = 0; slot < 600; slot++)
            {
                *Scale(slot, false) *= 1 << slot * 7 % 11;
                *Scale(slot, true) *= slot % 13 == 0 ? 0 : 1 + slot % 3;
            }

            float[] far = harness.RunChain(s, [7])[0];
            *Scale(300, true) = float.PositiveInfinity;
            *Scale(300, false) = 0; // its weight is no zero, whatever the largest score is
            *Scale(301, false) = BitConverter.Int32BitsToSingle(0x7FC00123);
            float[] payload = harness.RunChain(s, [7])[0];
            *Scale(301, false) = BitConverter.Int32BitsToSingle(unchecked((int)0xFFC001FF));
            return (far, [payload, harness.RunChain(s, [7])[0]]);
        }
    }

    [Fact]
    public void Products_of_words_are_the_same_on_every_instruction_set()
    {
        var random = new SeededRandom(4);
        sbyte* bytes = stackalloc sbyte[32];
        float* sums = stackalloc float[16];
        for (int round = 0; round < 200; round++)
        {
            for (int i = 0; i < 32; i++) bytes[i] = (sbyte)random.Next(-127, 128);
            short low = (short)random.Next(-32767, 32768), high = (short)random.Next(-32767, 32768);
            int pair = (low & 0xFFFF) | high << 16;
            int[] expected = [.. Enumerable.Range(0, 16).Select(i => low * bytes[2 * i] + high * bytes[2 * i + 1])];
            foreach (IsaLevel level in Enum.GetValues<IsaLevel>().Where(IsaLevels.IsSupported))
            {
                if (level == IsaLevel.Avx512) Multiply<WordLanes512>(bytes, pair, sums);
                else if (level == IsaLevel.Avx2) Multiply<WordLanes256>(bytes, pair, sums);
                else Multiply<WordLanes128>(bytes, pair, sums);
                for (int i = 0; i < 16; i++) Assert.Equal(expected[i], (int)sums[i]);
            }

            for (int i = 0; i < 16; i++)
            {
                int word = (bytes[2 * i] & 0xFFFF) | bytes[2 * i + 1] << 16;
                Assert.Equal(expected[i], WordLanes128.PortableProducts(System.Runtime.Intrinsics.Vector128.Create(word), System.Runtime.Intrinsics.Vector128.Create(pair))[0]);
            }
        }
    }

    private static void Multiply<TWords>(sbyte* bytes, int pair, float* sums)
        where TWords : struct, IWordLanes<TWords> =>
        TWords.MultiplyAdd(TWords.LoadBytes(bytes), TWords.Broadcast(pair), TWords.Zero).StoreScaled(sums, 1f);
}
