using System.Text;
using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Generation;

/// <summary>The shipped reasoner on the processor, with an oracle that knows its answers: what drafts bring is exact, and answers end inside them as without.</summary>
public sealed class RealBackendDraftTests : IDisposable
{
    private const int Depth = 5, Steps = 9;
    private static readonly string[] s_questions = ["What is 17 + 25?", "What is 6 times 14?", "How many days are in 3 weeks?"];
    private readonly string _directory = Path.Combine(RepoFiles.Root, "models", "reasoner");
    private readonly LanguageModel _plain;

    public RealBackendDraftTests() => _plain = LanguageModel.Load(_directory, Options(null));

    public static TheoryData<int, int, int> Shapes => new() { { 1, 0, 1 }, { 4, 0, 1 }, { 7, 0, 1 }, { 4, 2, 1 }, { 3, 3, 2 } };

    public void Dispose() => _plain.Dispose();

    /// <summary>K + 1 tokens in every step of every answer, the one that reads the prompt included.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Drafts_that_are_always_right_give_exactly_all_their_tokens_and_one_more_per_step(int depth, int siblings, int siblingDepth) =>
        AssertTokensPerStep(depth, siblings, siblingDepth, acceptance: 1, perStep: depth + 1);

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Drafts_that_are_always_wrong_give_exactly_one_token_per_step(int depth, int siblings, int siblingDepth) =>
        AssertTokensPerStep(depth, siblings, siblingDepth, acceptance: 0, perStep: 1);

    /// <summary>Ends at every place of a draft: its first token, its last, the bonus token.</summary>
    [Theory]
    [InlineData("stop token")]
    [InlineData("stop string")]
    [InlineData("token limit")]
    public void Answers_end_inside_a_draft_where_plain_decoding_ends_them(string kind)
    {
        int[] prompt = _plain.Encode(s_questions[0]);
        GenerationResult whole = _plain.Generate(prompt, Free(40)).Complete();
        (LanguageModel model, OracleDrafter oracle) = Load(Depth, 0, 1, acceptance: 1);
        using LanguageModel drafted = model;
        var places = new HashSet<int>();
        for (int at = 2; at < 34; at++)
        {
            string text = string.Concat(whole.Tokens.Skip(at).Take(2).Select(t => Encoding.UTF8.GetString(_plain.Tokenizer!.TokenBytes(t).ToArray())));
            GenerationOptions options = kind switch
            {
                "stop token" => Free(40) with { StopTokens = [whole.Tokens[at]] },
                "stop string" => Free(40) with { StopStrings = [text] },
                _ => Free(at),
            };
            GenerationResult alone = _plain.Generate(prompt, options).Complete();
            oracle.Record(prompt, options.Sampling, whole.Tokens.ToArray()); // it drafts beyond the end
            GenerationResult result = drafted.Generate(prompt, options).Complete();
            Assert.Equal(alone.Tokens, result.Tokens);
            Assert.Equal(alone.LogProbs, result.LogProbs);
            Assert.Equal((alone.Text, alone.FinishReason), (result.Text, result.FinishReason));
            int tokens = result.Statistics.GeneratedTokens;
            Assert.Equal((tokens + Depth) / (Depth + 1), result.Statistics.Steps);
            Assert.Equal(tokens, result.Statistics.Steps + result.Statistics.AcceptedTokens);
            places.Add(tokens % (Depth + 1));
            AssertEmpty(drafted);
        }

        Assert.True(places.Count >= 4, $"answers ended at {string.Join(", ", places)} of {Depth + 1} places");
    }

    /// <summary>A caller leaves while a step runs: what the step brings is kept, the next one ends the request, and another takes its place.</summary>
    [Theory]
    [InlineData("before drafts")]
    [InlineData("after acceptance")]
    [InlineData("by another thread")]
    public void Cancellation_that_arrives_during_a_step_ends_the_request_after_it(string when)
    {
        int[] prompt = _plain.Encode(s_questions[1]);
        GenerationResult whole = _plain.Generate(prompt, Free(60)).Complete();
        GenerationResult other = _plain.Generate(_plain.Encode(s_questions[2]), Free(60)).Complete();
        (OracleDrafter oracle, int vocab) = Oracle(Depth, 1, 1, acceptance: 1);
        oracle.Record(prompt, Free(60).Sampling, whole.Tokens.ToArray());
        var drafter = new HookedDrafter(oracle);
        using LanguageModel model = LanguageModel.Load(_directory, Options(drafter));
        for (int step = 1; step <= 4; step++)
        {
            int steps = 0;
            using GenerationSession session = model.Generate(prompt, Free(60)), beside = model.Generate(_plain.Encode(s_questions[2]), Free(60));
            void Cancel()
            {
                if (++steps != step) return;
                if (when != "by another thread")
                {
                    session.Cancel();
                    return;
                }

                var caller = new Thread(session.Cancel);
                caller.Start();
                caller.Join();
            }

            if (when == "after acceptance") drafter.Observing = Cancel;
            else drafter.Proposing = Cancel;
            GenerationResult result = session.Complete();
            (drafter.Observing, drafter.Proposing) = (null, null);
            Assert.Equal((FinishReason.Cancelled, step * (Depth + 1)), (result.FinishReason, result.Tokens.Count));
            Assert.Equal(whole.Tokens.Take(result.Tokens.Count), result.Tokens);
            Assert.Equal(step, result.Statistics.Steps);
            Assert.Equal(other.Tokens, beside.Complete().Tokens);
            AssertEmpty(model);
        }

        GenerationResult again = model.Generate(prompt, Free(60)).Complete();
        Assert.Equal(whole.Tokens, again.Tokens);
        Assert.True(vocab > 0);
    }

    /// <summary>Callers that leave at any moment, from threads of their own, while others go on.</summary>
    [Fact]
    public void Cancellation_at_any_moment_leaves_the_beginning_of_the_answer_and_nothing_else()
    {
        int[][] prompts = [.. s_questions.Select(q => _plain.Encode(q))];
        GenerationResult[] whole = [.. prompts.Select(p => _plain.Generate(p, Free(60)).Complete())];
        (LanguageModel model, OracleDrafter oracle) = Load(Depth, 1, 1, acceptance: 0.7);
        using LanguageModel drafted = model;
        for (int i = 0; i < prompts.Length; i++) oracle.Record(prompts[i], Free(60).Sampling, whole[i].Tokens.ToArray());
        int cancelled = 0;
        for (int round = 0; round < 12; round++)
        {
            GenerationSession[] sessions = [.. prompts.Select(p => drafted.Generate(p, Free(60)))];
            int spins = round * 40_000;
            var leaves = new Thread(() =>
            {
                Thread.SpinWait(spins);
                sessions[1].Cancel();
            });
            leaves.Start();
            if (round == 0) leaves.Join();
            GenerationResult[] results = [.. sessions.Select(s => s.Complete())];
            leaves.Join();
            cancelled += results[1].FinishReason == FinishReason.Cancelled ? 1 : 0;
            Assert.Equal(whole[1].Tokens.Take(results[1].Tokens.Count), results[1].Tokens);
            Assert.Equal(whole[0].Tokens, results[0].Tokens);
            Assert.Equal(whole[2].Tokens, results[2].Tokens);
            AssertEmpty(drafted);
        }

        Assert.True(cancelled > 0);
    }

    private static void AssertEmpty(LanguageModel model)
    {
        model.Cache.ClearPrefixes();
        KvStatistics kv = model.Cache.Statistics;
        Assert.Equal((0, 0L, kv.PagesTotal), (kv.Sequences, (long)kv.PagesReserved, kv.PagesFree));
    }

    private static GenerationOptions Free(int tokens) =>
        new() { MaxTokens = tokens, IgnoreEndTokens = true, Sampling = new SamplingOptions { LogProbs = true } };

    private static LanguageModelOptions Options(IDrafter? drafter) =>
        new() { Threads = 2, MaxSequences = 3, ContextLength = 160, MaxRows = 256, PrefillChunk = 128, Drafter = drafter, KvType = KvType.F32 };

    private void AssertTokensPerStep(int depth, int siblings, int siblingDepth, double acceptance, int perStep)
    {
        GenerationOptions options = Free(perStep * Steps);
        int[][] prompts = [.. s_questions.Select(q => _plain.Encode(q))];
        GenerationResult[] alone = [.. prompts.Select(p => _plain.Generate(p, Free((depth + 1) * Steps)).Complete())];
        (LanguageModel model, OracleDrafter oracle) = Load(depth, siblings, siblingDepth, acceptance);
        using LanguageModel drafted = model;
        for (int i = 0; i < prompts.Length; i++) oracle.Record(prompts[i], options.Sampling, alone[i].Tokens.ToArray());
        GenerationSession[] sessions = [.. prompts.Select(p => drafted.Generate(p, options))];
        for (int i = 0; i < sessions.Length; i++)
        {
            GenerationResult result = sessions[i].Complete();
            Assert.Equal(alone[i].Tokens.Take(perStep * Steps), result.Tokens);
            Assert.Equal((0, Steps, Steps * (perStep - 1)), (result.Statistics.PrefillSteps, result.Statistics.Steps, result.Statistics.AcceptedTokens));
            int beyond = siblings * (siblingDepth - 1); // in the last step the recorded answer has no token behind the siblings
            if (acceptance == 1) Assert.Equal(Steps * oracle.MaxNodes - beyond, result.Statistics.DraftedTokens);
            else Assert.True(result.Statistics.DraftedTokens >= (Steps - depth - 1) * oracle.MaxNodes, $"{result.Statistics.DraftedTokens} drafts");
        }

        Assert.Equal(Steps, drafted.Engine.Steps); // all answers in every pass
        AssertEmpty(drafted);
    }

    private (LanguageModel Model, OracleDrafter Oracle) Load(int depth, int siblings, int siblingDepth, double acceptance)
    {
        (OracleDrafter oracle, _) = Oracle(depth, siblings, siblingDepth, acceptance);
        return (LanguageModel.Load(_directory, Options(oracle)), oracle);
    }

    private (OracleDrafter Oracle, int Vocab) Oracle(int depth, int siblings, int siblingDepth, double acceptance)
    {
        int vocab = _plain.Config.Shape.VocabSize;
        return (new OracleDrafter(new OracleOptions { VocabSize = vocab, Depth = depth, Siblings = siblings, SiblingDepth = siblingDepth, Acceptance = acceptance }), vocab);
    }
}
