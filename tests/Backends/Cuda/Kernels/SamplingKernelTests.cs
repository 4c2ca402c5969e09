using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Numerics;
using Foretoken.Sampling;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>Sampling and acceptance on the machine: to the token equal to a scalar reference in integers, and in distribution what the host samples.</summary>
public sealed class SamplingKernelTests
{
    public static TheoryData<float, int, float, float> Options() => new()
    {
        { 0, 0, 1, 0 }, { 1, 0, 1, 0 }, { 0.7f, 20, 1, 0 }, { 1.3f, 0, 0.8f, 0 }, { 1, 0, 1, 0.05f }, { 0.9f, 40, 0.9f, 0.02f }, { 2, 1, 0.5f, 0 },
    };

    [Theory]
    [MemberData(nameof(Options))]
    public void Tokens_equal_the_scalar_reference(float temperature, int topK, float topP, float minP)
    {
        const int vocabulary = 1009, stride = 1024, rows = 12;
        using var harness = new KernelHarness("sampling");
        var logits = new float[rows * stride];
        for (int r = 0; r < rows; r++)
        {
            float[] row = KernelHarness.Random(vocabulary, 40 + (ulong)r, 6);
            if (r % 3 == 0) for (int i = 0; i < vocabulary; i++) row[i] = MathF.Round(row[i]); // many equals
            if (r == 5) row[17] = float.NegativeInfinity;
            row.CopyTo(logits, r * stride);
        }

        int[] samplings = [.. Enumerable.Range(0, rows).SelectMany(r => Sampling(temperature, topK, topP, minP, 99 + (ulong)r, 1000 + r))];
        int[] results = Run(harness, logits, stride, vocabulary, rows, samplings);
        for (int r = 0; r < rows; r++)
        {
            ReadOnlySpan<float> row = logits.AsSpan(r * stride, vocabulary);
            Assert.Equal(SamplingReference.Token(row, temperature, topK, topP, minP, 99 + (ulong)r, 1000 + r), results[4 * r]);
            ulong sum = (uint)results[4 * r + 2] | (ulong)(uint)results[4 * r + 3] << 32;
            float max = LargestOf(row);
            double logProb = BitConverter.Int32BitsToSingle(results[4 * r + 1]) - Math.Log(sum / (double)(1L << 40));
            double exact = row[results[4 * r]] - max - Math.Log(row.ToArray().Sum(x => Math.Exp(x - (double)max)));
            Assert.Equal(exact, logProb, 1e-5);
        }
    }

    [Fact]
    public void Greedy_takes_the_first_of_equals_and_refuses_what_is_no_distribution()
    {
        const int vocabulary = 700;
        using var harness = new KernelHarness("sampling");
        var logits = new float[4 * vocabulary];
        logits[300] = logits[644] = 2;
        logits[vocabulary + 5] = float.NaN;
        logits[2 * vocabulary + 699] = float.PositiveInfinity;
        logits.AsSpan(3 * vocabulary).Fill(float.NegativeInfinity);
        int[] samplings = [.. Enumerable.Range(0, 4).SelectMany(_ => Sampling(0, 0, 1, 0, 1, 1))];
        int[] results = Run(harness, logits, vocabulary, vocabulary, 4, samplings);
        Assert.Equal([300, -1, -1, -1], [results[0], results[4], results[8], results[12]]);
    }

    [Fact]
    public void Tokens_are_nearly_always_those_of_the_host()
    {
        const int vocabulary = 600, rows = 64;
        using var harness = new KernelHarness("sampling");
        float[] logits = KernelHarness.Random(rows * vocabulary, 4, 5);
        int[] samplings = [.. Enumerable.Range(0, rows).SelectMany(r => Sampling(0.8f, 50, 0.95f, 0.01f, 7, r + 1))];
        int[] results = Run(harness, logits, vocabulary, vocabulary, rows, samplings);
        var sampler = new Sampler(vocabulary);
        int equal = 0;
        for (int r = 0; r < rows; r++)
        {
            var path = new TokenHistory(new int[r + 1], r + 2);
            var options = new SamplingOptions { Temperature = 0.8f, TopK = 50, TopP = 0.95f, MinP = 0.01f, Seed = 7 };
            Assert.True(sampler.TrySample(logits.AsSpan(r * vocabulary, vocabulary), options, path, out SampledToken sampled));
            equal += sampled.Token == results[4 * r] ? 1 : 0;
        }

        Assert.True(equal >= rows - 1, $"{equal} of {rows} tokens are equal: the two may differ only where a cut or a draw falls within rounding");
    }

    [Fact]
    public void Acceptance_follows_the_sampled_children()
    {
        using var harness = new KernelHarness("sampling");
        // segment 0: prompt rows 0, 1, root 2, children 3 (token 7), 4 (token 8), below 4: 5 (token 9); segment 1: rows 6, 7 without logits; segment 2: root 8
        int[] parents = [-1, 0, 1, 2, 2, 4, -1, 6, -1], tokens = [1, 2, 3, 7, 8, 9, 5, 5, 4], indices = [-1, -1, 0, 1, 2, 3, -1, -1, 4];
        int[] sampled = [8, 5, 9, 11, 6];
        int[] results = [.. sampled.SelectMany(t => new[] { t, 0, 0, 0 })];
        int[] segments = [10, 0, 6, 2, 20, 6, 2, -1, 30, 8, 1, -2];
        const int maxRows = 9;
        DevicePointer<int> starts = harness.Allocate<int>(3), lengths = harness.Allocate<int>(3), records = harness.Allocate<int>(3 * (2 + maxRows));
        harness.Stream.Fill(records, 0, 3 * (2 + maxRows));
        new AcceptTrees
        {
            Counts = harness.Upload(9, 5, 0, 3), Segments = harness.Upload(segments), Parents = harness.Upload(parents), Tokens = harness.Upload(tokens),
            LogitIndices = harness.Upload(indices), Results = harness.Upload(results), MaxRows = maxRows, Starts = starts, Records = records, Lengths = lengths,
            Grid = 1, Block = 32,
        }.Launch(harness.Stream);
        Assert.Equal([5, 2, 0], harness.Download(lengths, 3));
        int[] all = harness.Download(records, 3 * (2 + maxRows));
        Assert.Equal([10, 5, 0, 1, 2, 4, 5], all[..7]);
        Assert.Equal([20, 2, 0, 1], all[11..15]);
        Assert.Equal([30, 0], all[22..24]);
        Assert.Equal([0, 11, 22], harness.Download(starts, 3));
    }

    private static int[] Run(KernelHarness harness, float[] logits, int stride, int vocabulary, int rows, int[] samplings)
    {
        DevicePointer<int> results = harness.Allocate<int>(4 * rows);
        new SampleRows
        {
            Logits = harness.Upload(logits), Stride = stride, Vocabulary = vocabulary, Rows = harness.Upload(rows), Samplings = harness.Upload(samplings),
            Results = results, Grid = rows, Block = 512,
        }.Launch(harness.Stream);
        return harness.Download(results, 4 * rows);
    }

    private static int[] Sampling(float temperature, int topK, float topP, float minP, ulong seed, int position) =>
    [
        BitConverter.SingleToInt32Bits(temperature), topK, BitConverter.SingleToInt32Bits(topP), BitConverter.SingleToInt32Bits(minP), (int)(uint)seed,
        (int)(uint)(seed >> 32), position, 3,
    ];

    private static float LargestOf(ReadOnlySpan<float> row)
    {
        float max = float.NegativeInfinity;
        foreach (float x in row) max = MathF.Max(max, x);
        return max;
    }

    /// <summary>The sampling of cu/sampling.cu, one candidate after the other.</summary>
    private static class SamplingReference
    {
        public static int Token(ReadOnlySpan<float> logits, float temperature, int topK, float topP, float minP, ulong seed, int position)
        {
            float max = LargestOf(logits);
            if (temperature == 0) return logits.IndexOf(max);
            var candidates = new List<(int Id, float L, ulong Mass)>();
            for (int i = 0; i < logits.Length; i++)
            {
                float l = (logits[i] - max) / temperature;
                candidates.Add((i, l, (ulong)(VectorMath.Exp(l) * 1099511627776f)));
            }

            candidates = [.. candidates.OrderByDescending(c => c.L).ThenBy(c => c.Id)];
            if (topK > 0) candidates = [.. candidates.Take(topK)];
            if (topP < 1)
            {
                ulong target = Math.Max(1, (ulong)((double)Total(candidates) * topP)), sum = 0;
                int kept = 0;
                while (sum < target) sum += candidates[kept++].Mass;
                candidates = [.. candidates.Take(kept)];
            }

            candidates = [.. candidates.Where(c => VectorMath.Exp(c.L) >= minP).OrderBy(c => c.Id)];
            ulong draw = Math.BigMul(CounterRandom.Bits(seed, (ulong)position) & ~0x7FFul, Total(candidates), out _), passed = 0;
            foreach ((int id, _, ulong mass) in candidates)
            {
                passed += mass;
                if (passed > draw) return id;
            }

            return -1;
        }

        private static ulong Total(List<(int Id, float L, ulong Mass)> candidates)
        {
            ulong total = 0;
            foreach ((_, _, ulong mass) in candidates) total += mass;
            return total;
        }
    }
}
