using Foretoken.Numerics;
using Foretoken.Sampling;

namespace Foretoken.Tests.Sampling;

public class SamplerTests
{
    private static readonly TokenHistory Path = new([1, 2, 3], 64);

    [Fact]
    public void Greedy_takes_the_lowest_id_among_equal_logits()
    {
        foreach (int size in new[] { 3, 8, 9, 40, 1000 })
        {
            var sampler = new Sampler(size);
            for (int best = 0; best < size; best += 1 + size / 13)
            {
                var logits = new float[size];
                Array.Fill(logits, -1f);
                logits[best] = logits[size - 1] = logits[(best + size) / 2] = 2.5f;
                Assert.True(sampler.TrySample(logits, SamplingOptions.Greedy, Path, out SampledToken token));
                Assert.Equal(best, token.Token);
            }
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void Logits_without_a_distribution_are_reported(float bad)
    {
        var sampler = new Sampler(37);
        foreach (int at in new[] { 0, 7, 8, 35, 36 })
        {
            var logits = new float[37];
            logits[at] = bad;
            Assert.False(sampler.TrySample(logits, SamplingOptions.Greedy, Path, out _));
            Assert.False(sampler.TrySample(logits, new SamplingOptions { Temperature = 1 }, Path, out _));
        }

        var none = new float[37];
        Array.Fill(none, float.NegativeInfinity);
        Assert.False(sampler.TrySample(none, SamplingOptions.Greedy, Path, out _));
    }

    [Fact]
    public void Masked_tokens_are_never_drawn_and_tiny_temperatures_are_greedy()
    {
        var sampler = new Sampler(20);
        var logits = new float[20];
        Array.Fill(logits, float.NegativeInfinity);
        (logits[4], logits[11], logits[12]) = (1f, 1.5f, 1.25f);
        for (ulong seed = 0; seed < 200; seed++)
        {
            Assert.True(sampler.TrySample(logits, new SamplingOptions { Temperature = 3, Seed = seed }, Path, out SampledToken token));
            Assert.Contains(token.Token, new[] { 4, 11, 12 });
            Assert.True(sampler.TrySample(logits, new SamplingOptions { Temperature = 1e-38f, TopP = 0.9f, Seed = seed }, Path, out token));
            Assert.Equal(11, token.Token);
        }
    }

    [Fact]
    public void Sampling_leaves_the_logits_alone_and_records_the_unmodified_log_probability()
    {
        var random = new SeededRandom(5);
        float[] logits = Enumerable.Range(0, 1003).Select(_ => (float)(random.NextGaussian() * 3)).ToArray();
        float[] before = [.. logits];
        var options = new SamplingOptions { Temperature = 0.5f, TopK = 20, TopP = 0.8f, MinP = 0.01f, RepetitionPenalty = 1.3f, LogProbs = true, Seed = 9 };
        var sampler = new Sampler(logits.Length);
        Assert.True(sampler.TrySample(logits, options, Path, out SampledToken token));
        Assert.Equal(before, logits);
        double sum = logits.Sum(l => Math.Exp(l));
        Assert.Equal(logits[token.Token] - Math.Log(sum), token.LogProb, 5e-6);
    }

    [Fact]
    public void The_choice_depends_on_seed_and_position_and_on_nothing_else()
    {
        float[] logits = [0.1f, 0.2f, 0.3f, 0.25f, 0.15f];
        var options = new SamplingOptions { Temperature = 1, Seed = 77 };
        var one = new Sampler(5);
        var other = new Sampler(5);
        var path = new TokenHistory([1], 300);
        var choices = new List<int>();
        for (int i = 0; i < 200; i++)
        {
            Assert.True(one.TrySample(logits, options, path, out SampledToken token));
            double uniform = CounterRandom.Uniform(77, (ulong)path.Count);
            double total = logits.Sum(l => Math.Exp(l)), sum = 0;
            int expected = 0;
            while ((sum += Math.Exp(logits[expected])) <= uniform * total) expected++;
            Assert.Equal(expected, token.Token);
            choices.Add(token.Token);
            path.Append(token.Token);
        }

        Assert.Equal(5, choices.Distinct().Count());
        path.Truncate(1);
        foreach (int choice in choices)
        {
            other.TrySample([9, 0, 0, 0, 0], options with { TopK = 2, Seed = 3 }, path, out _); // other work in between must not matter
            Assert.True(other.TrySample(logits, options, path, out SampledToken token));
            Assert.Equal(choice, token.Token);
            path.Append(token.Token);
        }
    }

    [Theory]
    [InlineData(1f, 0, 1f, 0f)]
    [InlineData(0.7f, 0, 1f, 0f)]
    [InlineData(1.6f, 5, 1f, 0f)]
    [InlineData(1f, 0, 0.8f, 0f)]
    [InlineData(1f, 0, 1f, 0.2f)]
    [InlineData(0.8f, 9, 0.9f, 0.05f)]
    public void Frequencies_follow_the_exact_distribution(float temperature, int topK, float topP, float minP)
    {
        const int draws = 40_000;
        float[] logits = [1.2f, -0.4f, 0.9f, 2.0f, 0.9f, -1.5f, 0.3f, 1.7f, -0.2f, 0.0f, 1.1f, 0.6f];
        var options = new SamplingOptions { Temperature = temperature, TopK = topK, TopP = topP, MinP = minP };
        double[] expected = ReferenceSampler.Distribution(logits, options);
        var sampler = new Sampler(logits.Length);
        var counts = new int[logits.Length];
        for (int i = 0; i < draws; i++)
        {
            Assert.True(sampler.TrySample(logits, options with { Seed = (ulong)i * 7919 }, Path, out SampledToken token));
            counts[token.Token]++;
        }

        double chiSquare = 0;
        for (int i = 0; i < counts.Length; i++)
        {
            if (expected[i] == 0) Assert.Equal(0, counts[i]);
            else chiSquare += Math.Pow(counts[i] - draws * expected[i], 2) / (draws * expected[i]);
        }

        Assert.InRange(chiSquare, 0, 31.26); // 99.9 % quantile for 11 degrees of freedom; the seeds are fixed
    }

    [Fact]
    public void Penalties_count_prompt_and_answer_as_documented()
    {
        var path = new TokenHistory([0, 1, 1], 16);
        path.Append(2);
        path.Append(2);
        path.Append(3);
        var stage = new PenaltyStage(6);
        var candidates = new Candidates(6);
        var options = new SamplingOptions { RepetitionPenalty = 2, PresencePenalty = 0.5f, FrequencyPenalty = 0.25f };
        for (int repeat = 0; repeat < 2; repeat++)
        {
            candidates.Load([4, -4, 4, -4, 4, -4]);
            stage.Apply(candidates, options, path);
            Assert.Equal([2f, -8f, 2f - 0.5f - 0.5f, -8f - 0.5f - 0.25f, 4f, -4f], candidates.Logits.ToArray());
        }
    }

    [Theory]
    [InlineData("temperature", -0.1f)]
    [InlineData("temperature", float.NaN)]
    [InlineData("temperature", float.PositiveInfinity)]
    [InlineData("top-k", -1f)]
    [InlineData("top-p", 0f)]
    [InlineData("top-p", 1.01f)]
    [InlineData("top-p", float.NaN)]
    [InlineData("min-p", -0.5f)]
    [InlineData("min-p", 1.5f)]
    [InlineData("min-p", float.NaN)]
    [InlineData("repetition-penalty", 0f)]
    [InlineData("presence-penalty", float.NaN)]
    [InlineData("frequency-penalty", float.NegativeInfinity)]
    public void Options_outside_their_range_are_refused_by_name(string field, float value)
    {
        SamplingOptions options = field switch
        {
            "temperature" => new() { Temperature = value },
            "top-k" => new() { TopK = (int)value },
            "top-p" => new() { TopP = value },
            "min-p" => new() { MinP = value },
            "repetition-penalty" => new() { RepetitionPenalty = value },
            "presence-penalty" => new() { PresencePenalty = value },
            _ => new() { FrequencyPenalty = value },
        };
        var error = Assert.Throws<InvalidRequestException>(options.Validate);
        Assert.Equal(field, error.Field);
        Assert.StartsWith($"{field} is ", error.Message, StringComparison.Ordinal);
        Assert.Contains("it must be", error.Message, StringComparison.Ordinal);
    }
}
