using Foretoken.Numerics;
using Foretoken.Sampling;

namespace Foretoken.Tests.Sampling;

public class CandidatesTests
{
    private static readonly TokenHistory Path = new([0], 1);

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(1024)]
    [InlineData(5003)]
    public void Top_k_keeps_what_sorting_keeps(int vocab)
    {
        foreach (float[] logits in Rows(vocab))
        {
            foreach (int k in new[] { 1, 2, 3, 10, vocab / 2, vocab - 1, vocab, vocab + 5 })
            {
                if (k > 0) Check(logits, new SamplingOptions { Temperature = 0.7f, TopK = k }, new TopKStage());
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(1024)]
    [InlineData(5003)]
    public void Top_p_keeps_what_sorting_keeps(int vocab)
    {
        foreach (float[] logits in Rows(vocab))
        {
            foreach (float p in new[] { 0.001f, 0.137f, 0.5f, 0.8101f, 0.95f, 0.9999f })
                Check(logits, new SamplingOptions { Temperature = 1.3f, TopP = p }, new TopPStage());
        }
    }

    [Fact]
    public void Min_p_keeps_what_sorting_keeps()
    {
        foreach (float[] logits in Rows(1000))
        {
            foreach (float p in new[] { 1e-6f, 0.0513f, 0.3f, 1f })
                Check(logits, new SamplingOptions { Temperature = 0.9f, MinP = p }, new MinPStage());
        }
    }

    [Fact]
    public void Stages_work_on_what_the_stage_before_left()
    {
        foreach (float[] logits in Rows(777))
            Check(logits, new SamplingOptions { Temperature = 0.9f, TopK = 60, TopP = 0.77f, MinP = 0.1f }, new TopKStage(), new TopPStage(), new MinPStage());
    }

    [Fact]
    public void Equal_logits_are_kept_from_the_lowest_id_on()
    {
        var candidates = new Candidates(10);
        candidates.Load([1, 2, 1, 2, 1, 2, 1, 2, 1, 0]);
        candidates.ScaleBelowBest(1);
        candidates.KeepBest(6);
        Assert.Equal([0, 1, 2, 3, 5, 7], candidates.Ids.ToArray());
        candidates.Load([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        candidates.ScaleBelowBest(1);
        candidates.KeepMass(0.35);
        Assert.Equal([0, 1, 2, 3], candidates.Ids.ToArray());
    }

    [Fact]
    public void A_draw_is_the_candidate_where_the_cumulative_weights_pass_the_uniform_number()
    {
        foreach (float[] logits in Rows(5003))
        {
            var candidates = new Candidates(logits.Length);
            candidates.Load(logits);
            candidates.ScaleBelowBest(1.5f);
            double[] cumulative = new double[logits.Length];
            double sum = 0;
            for (int i = 0; i < logits.Length; i++) cumulative[i] = sum += candidates.Weights()[i];
            for (int n = 0; n < 400; n++)
            {
                double uniform = n == 0 ? 0 : CounterRandom.Uniform(8, (ulong)n);
                int drawn = candidates.Draw(uniform);
                Assert.True(candidates.Weights()[drawn] > 0);
                Assert.True(cumulative[drawn] > uniform * sum * (1 - 1e-12));
                Assert.True(drawn == 0 || cumulative[drawn - 1] <= uniform * sum * (1 + 1e-12));
            }

            Assert.True(candidates.Weights()[candidates.Draw(Math.BitDecrement(1.0))] > 0);
        }
    }

    private static void Check(float[] logits, SamplingOptions options, params ISamplerStage[] stages)
    {
        var candidates = new Candidates(logits.Length);
        for (int repeat = 0; repeat < 2; repeat++) // the second time on used scratch
        {
            candidates.Load(logits);
            new TemperatureStage().Apply(candidates, options, Path);
            foreach (ISamplerStage stage in stages) stage.Apply(candidates, options, Path);
            Assert.Equal(ReferenceSampler.Survivors(logits, options), candidates.Ids.ToArray());
        }
    }

    private static IEnumerable<float[]> Rows(int vocab)
    {
        var random = new SeededRandom((ulong)vocab);
        yield return Enumerable.Range(0, vocab).Select(_ => (float)(random.NextGaussian() * 2)).ToArray();
        yield return Enumerable.Range(0, vocab).Select(_ => (float)(random.NextGaussian() * 12)).ToArray();
        yield return Enumerable.Range(0, vocab).Select(_ => (float)random.Next(6)).ToArray(); // many ties
        yield return new float[vocab];                                                         // nothing but ties
        yield return Enumerable.Range(0, vocab).Select(i => i % 3 == 0 && vocab > 1 ? float.NegativeInfinity : (float)random.NextGaussian()).ToArray();
        yield return Enumerable.Range(0, vocab).Select(_ => 30f + (float)random.NextGaussian() * 1e-5f).ToArray(); // neighbours in the last bits
    }
}
