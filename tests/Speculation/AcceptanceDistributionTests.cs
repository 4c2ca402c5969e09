using Foretoken.Generation;
using Foretoken.Numerics;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>Joint distributions of three tokens through scheduler, cache, sampler and acceptance, against the exact ones.</summary>
public class AcceptanceDistributionTests
{
    private const int Vocab = 4, Samples = 8000;
    private const double Critical = 125; // 63 degrees of freedom: exceeded once in 100,000 draws; seeds are fixed
    private static readonly int[] s_prompt = [1, 3, 2];

    public static TheoryData<AcceptanceKind, string, int> Cases()
    {
        var cases = new TheoryData<AcceptanceKind, string, int>();
        foreach (string sampling in new[] { "plain", "cut", "penalties" })
        {
            cases.Add(AcceptanceKind.SampleAndMatch, sampling, 2);
            cases.Add(AcceptanceKind.Rejection, sampling, 1);
            cases.Add(AcceptanceKind.Rejection, sampling, 2);
            cases.Add(AcceptanceKind.Block, sampling, 1);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Sampled_triples_follow_the_models_distribution(AcceptanceKind rule, string sampling, int width)
    {
        (double chiSquare, double variation, double accepted) = Measure(rule, sampling, new DrawingDrafter(3, width, honest: true));
        Assert.True(chiSquare < Critical && variation < 0.05, $"chi-square {chiSquare}, total variation {variation}");
        Assert.True(accepted > 0.15, $"{accepted} drafts accepted per step"); // what was drafted had its part in it
    }

    [Fact]
    public void Drafts_chosen_but_judged_as_drawn_are_caught()
    {
        (double chiSquare, _, _) = Measure(AcceptanceKind.Rejection, "plain", new DrawingDrafter(3, 1, honest: false));
        Assert.True(chiSquare > 2 * Critical, $"chi-square {chiSquare}");
    }

    [Fact]
    public void Lossy_rules_accept_more_and_say_that_they_are_lossy()
    {
        double lossless = Measure(AcceptanceKind.SampleAndMatch, "plain", new DrawingDrafter(3, 1, honest: true)).Accepted;
        foreach (AcceptanceKind kind in Enum.GetValues<AcceptanceKind>())
        {
            var options = new AcceptanceOptions(kind) { Delta = kind == AcceptanceKind.Divergence ? 5 : null };
            IAcceptanceRule rule = options.Create(Vocab, 64);
            Assert.Equal(kind is AcceptanceKind.Typical or AcceptanceKind.TopK or AcceptanceKind.Divergence, rule.IsLossy);
            Assert.Equal(rule.IsLossy, rule.Name.StartsWith("lossy ", StringComparison.Ordinal));
            if (rule.IsLossy) Assert.True(Measure(kind, "plain", new DrawingDrafter(3, 1, honest: true), options).Accepted > 1.5 * lossless);
        }
    }

    /// <summary>Nothing behind a refused draft is accepted, whatever was accepted at that place in trees before.</summary>
    [Fact]
    public void A_lossy_rule_that_accepts_the_likeliest_token_only_says_what_greedy_decoding_says()
    {
        int[][] prompts = [.. Enumerable.Range(0, 4).Select(i => LoopRig.Prompt(5 + 3 * i, (ulong)i))], answers = new int[4][];
        var drafter = new ScriptedDrafter(24, 5, siblings: 1, wrongRate: 0.3, LoopRig.Vocab);
        using var plain = new LoopRig(LoopRig.Options());
        using var lossy = new LoopRig(LoopRig.Options(), drafter, rule: new AcceptanceOptions(AcceptanceKind.TopK) { K = 1, Delta = 0 }.Create(LoopRig.Vocab, 256));
        for (int i = 0; i < prompts.Length; i++)
        {
            answers[i] = Run(plain, prompts[i]).History.Generated.ToArray();
            drafter.Learn(prompts[i], answers[i]);
        }

        for (int i = 0; i < prompts.Length; i++)
        {
            Sequence sequence = Run(lossy, prompts[i]);
            Assert.Equal(answers[i], sequence.History.Generated.ToArray());
            Assert.InRange(sequence.Statistics.AcceptedTokens, 20, 55);
        }

        static Sequence Run(LoopRig rig, int[] prompt)
        {
            Sequence sequence = LoopRig.Sequence(prompt, 60);
            rig.Loop.Submit(sequence);
            rig.RunToEnd();
            return sequence;
        }
    }

    /// <returns>Chi-square against the exact joint distribution of the first three tokens, total variation, accepted drafts per step.</returns>
    private static (double ChiSquare, double Variation, double Accepted) Measure(AcceptanceKind kind, string sampling, IDrafter drafter, AcceptanceOptions? options = null)
    {
        double[] exact = Exact(Options(sampling, 0));
        var counts = new double[exact.Length];
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 5), drafter, vocab: Vocab, rule: (options ?? new AcceptanceOptions(kind)).Create(Vocab, 128));
        var sequences = new List<Sequence>();
        for (int i = 0; i < Samples; i += 500)
        {
            for (int j = 0; j < 500; j++)
            {
                Sequence sequence = LoopRig.Sequence(s_prompt, 6, Options(sampling, (ulong)(1000 + i + j)));
                sequences.Add(sequence);
                rig.Loop.Submit(sequence);
            }

            rig.RunToEnd();
        }

        foreach (Sequence s in sequences)
        {
            ReadOnlySpan<int> t = s.History.Generated;
            counts[(t[0] * Vocab + t[1]) * Vocab + t[2]]++;
        }

        double chiSquare = 0, variation = 0;
        for (int x = 0; x < exact.Length; x++)
        {
            double expected = exact[x] * Samples;
            if (exact[x] == 0) Assert.Equal(0, counts[x]);
            else chiSquare += (counts[x] - expected) * (counts[x] - expected) / expected;
            variation += Math.Abs(counts[x] - expected) / Samples / 2;
        }

        return (chiSquare, variation, sequences.Average(s => (double)s.Statistics.AcceptedTokens / s.Statistics.Steps));
    }

    /// <summary>The model's own joint distribution of three tokens, by the sampler's stages over its logits.</summary>
    private static double[] Exact(SamplingOptions sampling)
    {
        var joint = new double[Vocab * Vocab * Vocab];
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 1), vocab: Vocab);
        var sampler = new Sampler(Vocab);
        void Visit(int[] tokens, double probability)
        {
            if (tokens.Length == 3)
            {
                joint[(tokens[0] * Vocab + tokens[1]) * Vocab + tokens[2]] = probability;
                return;
            }

            rig.Loop.Submit(LoopRig.Sequence([.. s_prompt, .. tokens], 1));
            rig.RunToEnd();
            var path = new TokenHistory(s_prompt, 10);
            foreach (int token in tokens) path.Append(token);
            var p = new double[Vocab];
            Assert.True(sampler.TryDistribution(rig.Backend.LogitsOf(0), sampling, path, p));
            for (int x = 0; x < Vocab; x++)
            {
                if (p[x] > 0) Visit([.. tokens, x], probability * p[x]);
            }
        }

        Visit([], 1);
        Assert.Equal(1, joint.Sum(), 1e-9);
        return joint;
    }

    private static SamplingOptions Options(string sampling, ulong seed) => sampling switch
    {
        "plain" => new SamplingOptions { Temperature = 1.3f, Seed = seed },
        "cut" => new SamplingOptions { Temperature = 1.5f, TopK = 3, TopP = 0.9f, MinP = 0.05f, Seed = seed },
        _ => new SamplingOptions { Temperature = 1.1f, RepetitionPenalty = 1.3f, PresencePenalty = 0.4f, FrequencyPenalty = 0.2f, Seed = seed },
    };

    /// <summary>Draws from distributions of its own, functions of the path, and says which; a dishonest one takes the likeliest token instead.</summary>
    private sealed class DrawingDrafter(int depth, int width, bool honest) : IDrafter
    {
        private readonly double[] _left = new double[Vocab];

        public string Name => "drawing";

        public bool DrawsDrafts => true;

        public int MaxNodes => depth * width;

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
            foreach (DraftRequest request in requests)
            {
                int node = forest.Root(request.Tree);
                ulong hash = 5;
                foreach (int token in request.Path.Tokens) hash = CounterRandom.Bits(hash, (ulong)token);
                for (int d = 0; d < depth && node >= 0; d++)
                {
                    int main = Children(request, forest, node, hash, d);
                    if (main >= 0) hash = CounterRandom.Bits(hash, (ulong)forest.Token(main));
                    node = main;
                }
            }
        }

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
        }

        public void Release(int sequence)
        {
        }

        public void Dispose()
        {
        }

        private int Children(in DraftRequest request, TokenForest forest, int node, ulong hash, int d)
        {
            double sum = 0;
            for (int x = 0; x < Vocab; x++) sum += _left[x] = CounterRandom.Uniform(hash, (ulong)x, 9) + 0.05;
            bool drawn = forest.TryMarkDrawn(node, out Span<float> q);
            for (int x = 0; drawn && x < Vocab; x++) _left[x] = q[x] = (float)(_left[x] / sum);
            var draws = new CounterDraws(request.Sampling.Seed, request.Path.Count, CounterDraws.DraftDraws + (uint)(d * width));
            int main = -1;
            for (int i = 0; i < width; i++)
            {
                int token = honest ? draws.Draw(_left, _left.Sum()) : Array.IndexOf(_left, _left.Max());
                int child = drawn ? forest.AddDrawn(node, token, 0.5f) : forest.Add(node, token, 0.5f);
                if (i == 0) main = child;
                _left[token] = 0;
            }

            return main;
        }
    }
}
