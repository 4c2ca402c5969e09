using System.Globalization;
using Foretoken.Cli.Options;
using Foretoken.Cli.Output;
using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Speculation;

namespace Foretoken.Cli.Benchmarks;

/// <summary>What drafts of a set acceptance brought, against what E / (cK + v(K + 1)) says.</summary>
/// <param name="Acceptance">Probability that a draft is right.</param>
/// <param name="Drafts">K, drafts of a step.</param>
/// <param name="Length">Tokens per pass as measured, the bonus included.</param>
/// <param name="DraftCost">c, per draft, in plain steps.</param>
/// <param name="VerifyCost">v(K + 1), in plain steps, measured on drafts of which none is right.</param>
/// <param name="SpeedUp">Measured, median of the repeats.</param>
internal sealed record Prediction(double Acceptance, int Drafts, double Length, double DraftCost, double VerifyCost, double SpeedUp)
{
    /// <summary>E: tokens per pass where every draft is right with the same probability, independently.</summary>
    public double Expected => Acceptance == 1 ? Drafts + 1 : (1 - Math.Pow(Acceptance, Drafts + 1)) / (1 - Acceptance);

    public double Predicted => Expected / (DraftCost * Drafts + VerifyCost);

    /// <summary>The same with the length that chance brought instead of E.</summary>
    public double PredictedOfLength => Length / (DraftCost * Drafts + VerifyCost);

    /// <summary>The approximation (1 + p(N − 1)) / (1 + (1 − p)N) that is met in texts on speculation, for comparison.</summary>
    public double Approximation => (1 + Acceptance * (Drafts - 1)) / (1 + (1 - Acceptance) * Drafts);
}

/// <summary>
/// Holds the economics of speculation to the clock: what drafts of known acceptance bring, predicted from the costs of a pass, against what they brought. The cost of
/// a pass is measured apart, with drafts that are all wrong, so that nothing of the prediction comes from the runs that it predicts.
/// </summary>
internal sealed class PredictionBench(LanguageModel model, IReadOnlyList<double> acceptances, int drafts, int tokens, CancellationToken cancel)
{
    private readonly SwitchedDrafter _drafters = (SwitchedDrafter)model.Drafter;

    /// <summary>Drafters of the bench: none right, then one per acceptance.</summary>
    public static SwitchedDrafts Drafters(IReadOnlyList<double> acceptances, int drafts) => new([.. acceptances.Prepend(0).Select(a => new OracleDraft(a, drafts))]);

    public IReadOnlyList<Prediction> Run(IReadOnlyList<SpecQuestion> questions, Action<string, double> report)
    {
        var verify = new List<double>();
        var draft = new List<double>();
        List<double>[] speedUps = [.. acceptances.Select(_ => new List<double>())];
        var (produced, steps) = (new long[acceptances.Count], new long[acceptances.Count]);
        Answer(-1, questions[0], record: null, Math.Min(tokens, 8));
        for (int i = 0; i < questions.Count; i++)
        {
            report($"prompt {i + 1} of {questions.Count}", (double)i / questions.Count);
            GenerationResult plain = Answer(-1, questions[i], record: null, tokens);
            double before = Step(Answer(0, questions[i], plain, tokens / 3).Statistics);
            var (milliseconds, decoded) = (new double[acceptances.Count], new long[acceptances.Count]); // what came along with the prompt took no time of decoding
            for (int a = 0; a < acceptances.Count; a++)
            {
                GenerationStatistics s = Answer(a + 1, questions[i], plain, tokens).Statistics;
                milliseconds[a] = s.DecodeMilliseconds;
                decoded[a] = s.GeneratedTokens - s.FirstTokens;
                produced[a] += s.GeneratedTokens;
                steps[a] += s.Steps;
            }

            GenerationStatistics wrong = Answer(0, questions[i], plain, tokens / 3).Statistics; // before and after: the machine's speed drifts
            double step = (Step(plain.Statistics) + Step(Answer(-1, questions[i], record: null, tokens / 2).Statistics)) / 2;
            draft.Add(wrong.DraftMilliseconds / (wrong.Steps - 1) / drafts / step);
            verify.Add((before + Step(wrong)) / 2 / step - draft[^1] * drafts);
            for (int a = 0; a < acceptances.Count; a++) speedUps[a].Add(step * decoded[a] / milliseconds[a]);
        }

        return [.. acceptances.Select((a, i) => new Prediction(
            a, drafts, (double)produced[i] / steps[i], BenchRunner.Median(draft), BenchRunner.Median(verify), BenchRunner.Median(speedUps[i])))];
    }

    public static void Write(string name, IReadOnlyList<Prediction> predictions, TableFormat? format, CliHost host)
    {
        if (format is not { } f)
        {
            host.Output.WriteLine(JsonText.Object(w =>
            {
                w.WriteString("model", name);
                w.WriteStartArray("predictions");
                foreach (Prediction p in predictions)
                {
                    w.WriteStartObject();
                    w.WriteNumber("acceptance", p.Acceptance);
                    w.WriteNumber("drafts", p.Drafts);
                    w.WriteRounded("expected_length", p.Expected, 4);
                    w.WriteRounded("measured_length", p.Length, 4);
                    w.WriteRounded("c", p.DraftCost, 5);
                    w.WriteRounded("v", p.VerifyCost, 4);
                    w.WriteRounded("predicted_speed_up", p.Predicted, 4);
                    w.WriteRounded("measured_speed_up", p.SpeedUp, 4);
                    w.WriteEndObject();
                }

                w.WriteEndArray();
            }));
            return;
        }

        var table = new Table("acceptance", "K", "E", "MAT", "c", "v(K+1)", "predicted", "by MAT", "measured", "off by", "off by MAT", "(1+p(N-1))/(1+(1-p)N)");
        foreach (Prediction p in predictions)
        {
            table.Add(
                Text(p.Acceptance, 2), Text(p.Drafts, 0), Text(p.Expected, 2), Text(p.Length, 2), Text(p.DraftCost, 4), Text(p.VerifyCost, 3), Text(p.Predicted, 2), Text(p.PredictedOfLength, 2),
                Text(p.SpeedUp, 2), Text(100 * (p.SpeedUp / p.Predicted - 1), 1) + " %", Text(100 * (p.SpeedUp / p.PredictedOfLength - 1), 1) + " %", Text(p.Approximation, 2));
        }

        table.Write(host.Output, f);
    }

    private static double Step(GenerationStatistics s) => s.DecodeMilliseconds / (s.Steps - 1);

    private GenerationResult Answer(int drafter, SpecQuestion question, GenerationResult? record, int length)
    {
        cancel.ThrowIfCancellationRequested();
        var options = new GenerationOptions { MaxTokens = length, IgnoreEndTokens = true, Sampling = new SamplingOptions() };
        if (record is not null) ((OracleDrafter)_drafters[drafter]).Record(question.Prompt, options.Sampling, [.. record.Tokens]);
        _drafters.Selected = drafter;
        using GenerationSession session = model.Generate(question.Prompt, options);
        return session.Complete();
    }

    private static string Text(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
