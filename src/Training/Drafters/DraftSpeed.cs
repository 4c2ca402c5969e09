using Foretoken.Generation;
using Foretoken.Speculation;
using Foretoken.Speculation.Trained;
using Foretoken.Training.Evaluation;

namespace Foretoken.Training.Drafters;

/// <summary>How drafters are timed in the engine.</summary>
public sealed class MeasureSettings
{
    /// <summary>Held-out questions of every bucket.</summary>
    public int Questions { get; set; } = 3;

    /// <summary>Most tokens of an answer.</summary>
    public int MaxTokens { get; set; } = 200;

    /// <summary>Most drafts of a round, each measured by itself.</summary>
    public List<int> Drafts { get; set; } = [4, 8];
}

/// <summary>What a drafter of some length brought and cost in the engine.</summary>
/// <param name="TokensPerPass">With the target's own token.</param>
/// <param name="DraftCost">Time of drafting a round, in plain steps.</param>
/// <param name="VerifyCost">Time of a pass over the drafts, in plain steps.</param>
/// <param name="SpeedUp">Time of plain decoding over that with the drafter.</param>
internal readonly record struct DraftSpeed(double TokensPerPass, double DraftCost, double VerifyCost, double SpeedUp)
{
    private const ulong Seed = 4243; // not that of the published scores

    /// <summary>Answers held-out questions one at a time, plainly and with the drafter in turn; the first question warms up.</summary>
    public static DraftSpeed Measure(string target, string drafter, int drafts, MeasureSettings settings, int threads)
    {
        using LanguageModel plain = LanguageModel.Load(target, new LanguageModelOptions { MaxSequences = 1, Threads = threads });
        using LanguageModel drafted = LanguageModel.Load(target, new LanguageModelOptions { MaxSequences = 1, Threads = threads, Draft = Options(drafter, drafts) });
        var sums = (Plain: 0.0, Drafted: 0.0, Draft: 0.0, Verify: 0.0, Tokens: 0L, Steps: 0L, TimedSteps: 0L, PlainSteps: 0L); // timed: without the first of an answer, which reads the prompt
        bool warm = false;
        foreach (Tasks.TaskExample example in HeldOutSuite.Examples(settings.Questions, Seed))
        {
            int[] prompt = plain.ChatTemplate is null ? plain.Encode(example.Prompt) : plain.EncodeChat([new Tokenization.ChatMessage("user", example.Prompt)]);
            if (prompt.Length + 8 >= plain.ContextLength) continue;
            var request = new GenerationOptions { MaxTokens = settings.MaxTokens };
            for (int i = 0; i < (warm ? 1 : 3); i++)
            {
                GenerationStatistics p = plain.Generate(prompt, request).Complete().Statistics, d = drafted.Generate(prompt, request).Complete().Statistics;
                if (!warm) continue;
                sums = (sums.Plain + p.DecodeMilliseconds, sums.Drafted + d.DecodeMilliseconds, sums.Draft + d.DraftMilliseconds, sums.Verify + d.VerifyMilliseconds,
                    sums.Tokens + d.GeneratedTokens, sums.Steps + d.Steps, sums.TimedSteps + d.Steps - 1, sums.PlainSteps + p.Steps - 1);
            }

            warm = true;
        }

        double step = sums.Plain / Math.Max(1, sums.PlainSteps);
        return new DraftSpeed((double)sums.Tokens / sums.Steps, sums.Draft / sums.TimedSteps / step, sums.Verify / sums.TimedSteps / step, sums.Plain / sums.Drafted);
    }

    private static DrafterOptions Options(string directory, int drafts) => TrainedDrafters.Recognise(directory) switch
    {
        DraftModelOptions model => model with { Tokens = drafts, WeightType = Backends.WeightType.Int8 },
        EagleOptions eagle => eagle with { Depth = drafts, Width = 1, Nodes = drafts },
        MedusaOptions medusa => medusa with { Nodes = drafts },
        var other => other,
    };
}
