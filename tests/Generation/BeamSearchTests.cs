using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Speculation;

namespace Foretoken.Tests.Generation;

public sealed class BeamSearchTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    private static readonly int[] s_prompt = [.. LoopRig.Prompt(12, 5), .. LoopRig.Prompt(12, 5), .. LoopRig.Prompt(5, 6)];

    [Theory]
    [InlineData(2, 1.0)]
    [InlineData(4, 0.6)]
    [InlineData(5, 0.0)]
    public void Finds_what_a_search_without_cache_and_drafts_finds(int beams, double penalty)
    {
        int[] ends = [7, 31, 99, 120, 180, 201, 233, 250];
        var options = new BeamOptions(beams) { MaxTokens = 9, LengthPenalty = penalty, IgnoreEndTokens = true, StopTokens = ends };
        using LanguageModel model = Load(null);
        BeamResult found = model.GenerateBeams(s_prompt, options);
        Assert.Equal(found.Lengths, found.Steps);
        List<(int[] Tokens, double LogProbability)> expected = Search(model, options, ends);
        Assert.Equal(beams, found.Answers.Count);
        for (int i = 0; i < beams; i++)
        {
            Assert.Equal(expected[i].Tokens, found.Answers[i].Tokens);
            Assert.Equal(expected[i].LogProbability, found.Answers[i].LogProbability);
            Assert.Equal(expected[i].LogProbability / Math.Pow(expected[i].Tokens.Length, penalty), found.Answers[i].Score);
            Assert.Equal(ends.Contains(expected[i].Tokens[^1]) ? FinishReason.Stop : FinishReason.Length, found.Answers[i].FinishReason);
        }

        Assert.Equal(found.Answers.OrderByDescending(a => a.Score), found.Answers);
    }

    [Fact]
    public void Drafts_change_no_answer_and_no_score()
    {
        var options = new BeamOptions(3) { MaxTokens = 24, IgnoreEndTokens = true, StopTokens = [7, 99, 180] };
        BeamResult plain;
        using (LanguageModel model = Load(null)) plain = model.GenerateBeams(s_prompt, options);
        foreach (string drafter in DraftCases.Drafters)
        {
            using LanguageModel model = Load(DraftCases.Options(drafter, fixture.Directory));
            for (int repeat = 0; repeat < 2; repeat++) // drafters that remember know more the second time
            {
                BeamResult drafted = model.GenerateBeams(s_prompt, options);
                Assert.Equal(plain.Answers.Select(a => (a.LogProbability, a.Score, a.FinishReason)), drafted.Answers.Select(a => (a.LogProbability, a.Score, a.FinishReason)));
                Assert.Equal(plain.Answers.Select(a => string.Join(' ', a.Tokens)), drafted.Answers.Select(a => string.Join(' ', a.Tokens)));
                Assert.True(drafted.Steps <= plain.Steps);
            }

            model.Cache.ClearPrefixes();
            KvStatistics kv = model.Cache.Statistics;
            Assert.Equal((0L, kv.PagesTotal, 0), (kv.PagesReserved, kv.PagesFree, kv.Sequences));
        }
    }

    [Fact]
    public void Trees_that_hold_the_beams_spare_passes()
    {
        var options = new BeamOptions(2) { MaxTokens = 20, IgnoreEndTokens = true };
        BeamResult plain;
        KnownBeams known; // of every length
        using (LanguageModel model = Load(null))
        {
            plain = model.GenerateBeams(s_prompt, options);
            known = new KnownBeams([.. Enumerable.Range(1, 20).SelectMany(n => model.GenerateBeams(s_prompt, options with { MaxTokens = n }).Answers).Select(a => a.Tokens.ToArray())]);
        }

        using LanguageModel drafted = LanguageModel.Load(fixture.Directory, Options with { Drafter = known });
        BeamResult result = drafted.GenerateBeams(s_prompt, options);
        Assert.Equal(plain.Answers.Select(a => (string.Join(' ', a.Tokens), a.Score)), result.Answers.Select(a => (string.Join(' ', a.Tokens), a.Score)));
        Assert.Equal(plain.Lengths, result.Lengths);
        Assert.InRange(result.Steps, 3, plain.Steps / 2);
        Assert.Equal(0, known.Live);
    }

    [Fact]
    public void One_beam_is_greedy_decoding()
    {
        using LanguageModel model = Load(new RecyclingOptions());
        GenerationResult greedy = model.Generate(s_prompt, new GenerationOptions { MaxTokens = 30, Sampling = new SamplingOptions { LogProbs = true } }).Complete();
        BeamAnswer beam = Assert.Single(model.GenerateBeams(s_prompt, new BeamOptions(1) { MaxTokens = 30 }).Answers);
        Assert.Equal(greedy.Tokens, beam.Tokens);
        Assert.Equal(greedy.LogProbs.Sum(p => (double)p), beam.LogProbability, 1e-4);
    }

    [Fact]
    public void What_cannot_be_searched_is_refused()
    {
        using LanguageModel model = Load(null);
        Assert.Contains("loaded for 5 sequences", Assert.Throws<InvalidRequestException>(() => model.GenerateBeams(s_prompt, new BeamOptions(6))).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidRequestException>(() => model.GenerateBeams([], new BeamOptions(2)));
        using LanguageModel forgets = LanguageModel.Load(fixture.Directory, Options with { KvPolicy = new SlidingWindowPolicy(8) });
        Assert.Contains("dense cache", Assert.Throws<InvalidRequestException>(() => forgets.GenerateBeams(s_prompt, new BeamOptions(2))).Message, StringComparison.Ordinal);
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        Assert.Throws<OperationCanceledException>(() => model.GenerateBeams(s_prompt, new BeamOptions(2), cancelled.Token));
        Assert.Equal(0, model.Cache.Statistics.Sequences);
    }

    private static LanguageModelOptions Options => new() { Threads = 1, MaxSequences = 5, ContextLength = 96 };

    private LanguageModel Load(DrafterOptions? drafter) => LanguageModel.Load(fixture.Directory, Options with { Draft = drafter });

    /// <summary>The definition, every length from the prompt on.</summary>
    private static List<(int[] Tokens, double LogProbability)> Search(LanguageModel model, BeamOptions options, int[] ends)
    {
        var beams = new List<(int[] Tokens, double LogProbability)> { ([], 0) };
        var finished = new List<(int[] Tokens, double LogProbability)>();
        double Score((int[] Tokens, double LogProbability) a) => a.LogProbability / Math.Pow(a.Tokens.Length, options.LengthPenalty);
        while (beams.Count > 0 && beams[0].Tokens.Length < options.MaxTokens)
        {
            var all = beams.SelectMany(b => LogProbabilities(model, [.. s_prompt, .. b.Tokens]).Select((p, token) => (Tokens: (int[])[.. b.Tokens, token], LogProbability: b.LogProbability + p)))
                .OrderByDescending(c => c.LogProbability).Take(2 * options.Beams).ToList();
            finished.AddRange(all.Take(options.Beams).Where(c => ends.Contains(c.Tokens[^1])));
            finished = [.. finished.OrderByDescending(Score).Take(options.Beams)];
            beams = [.. all.Where(c => !ends.Contains(c.Tokens[^1])).Take(options.Beams)];
            if (beams[0].Tokens.Length < options.MaxTokens && finished.Count == options.Beams && Score(finished[^1]) >= Score(beams[0])) return finished;
        }

        return [.. finished.Concat(beams).OrderByDescending(Score).Take(options.Beams)];
    }

    private static double[] LogProbabilities(LanguageModel model, int[] path) => model.Engine.Exclusively(_ =>
    {
        int index = model.Cache.TryAcquire();
        Assert.True(model.Cache.TryReserve(index, path.Length));
        var rows = new RowBatch(path.Length);
        for (int i = 0; i < path.Length; i++) rows.Add(path[i], i, index, i - 1, wantsLogits: i == path.Length - 1);
        model.Cache.BeginPass(rows);
        model.Loaded.Transformer.Forward(rows, model.Cache.View);
        float[] logits = model.Loaded.Transformer.LogitsOf(0).ToArray();
        model.Cache.Release(index);
        float max = logits.Max();
        double norm = max + Math.Log(LogitMath.SumExp(logits, max));
        return logits.Select(l => l - norm).ToArray();
    });

    /// <summary>Drafts all answers that begin as the path does, so that most beams of a search lie in its trees.</summary>
    private sealed class KnownBeams(int[][] answers) : IDrafter
    {
        private readonly HashSet<int> _live = [];

        public string Name => "known";

        public int MaxNodes => 12;

        public int Live => _live.Count;

        private bool Observed { get; set; }

        /// <summary>A step's cost comes when its tokens are known: costs are held against them.</summary>
        public void Measured(in StepCost cost)
        {
            Assert.True(Observed);
            Observed = false;
        }

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
            Assert.False(Observed);
            foreach (DraftRequest request in requests)
            {
                _live.Add(request.Sequence);
                int[] said = request.Path.Generated.ToArray();
                foreach (int[] answer in answers.Where(a => a.AsSpan().StartsWith(said)))
                {
                    int node = forest.Root(request.Tree);
                    foreach (int token in answer.Skip(said.Length).Take(6)) node = node < 0 ? node : forest.Add(node, token);
                }
            }
        }

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
            Observed = true;
            foreach (Acceptance a in acceptances) Assert.InRange(a.NewTokens, 0, 7);
        }

        public void Release(int sequence) => _live.Remove(sequence);

        public void Dispose()
        {
        }
    }
}
