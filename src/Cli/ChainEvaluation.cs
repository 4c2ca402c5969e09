using Foretoken.Generation;
using Foretoken.Sampling;
using Foretoken.Training.Evaluation;

namespace Foretoken.Cli;

/// <summary>Accuracy of the majority among some chains of one question, and what they read.</summary>
/// <param name="Name">The cache's policy.</param>
/// <param name="Chains">Chains that vote.</param>
/// <param name="Accuracy">Right majorities per question, 0..1.</param>
/// <param name="MegabytesRead">Keys and values read per question, the prompt's among them.</param>
internal sealed record ChainPoint(string Name, int Chains, double Accuracy, double MegabytesRead);

/// <summary>
/// Draws chains of reasoning for every question and lets 1, 2, 4, … of them vote. Fewer chains are parts of all: their accuracy is the mean over the parts,
/// what they read that of the first part, whose first chain has read the prompt.
/// </summary>
internal static class ChainEvaluation
{
    /// <summary>Chains of several questions that run together.</summary>
    public const int Together = 64;

    /// <param name="model">Loaded for <see cref="Together"/> sequences.</param>
    /// <param name="items">Questions.</param>
    /// <param name="chains">Most chains of a question.</param>
    /// <param name="options">Sampling at a temperature, and the longest answer.</param>
    /// <param name="host">Interrupts.</param>
    /// <param name="progress">Receives questions done and all.</param>
    public static IReadOnlyList<ChainPoint> Run(
        ChatModel model, IReadOnlyList<EvaluationItem> items, int chains, GenerationOptions options, CliHost host, Action<int, int> progress)
    {
        int[] counts = [.. Enumerable.Range(0, 32).Select(i => 1 << i).TakeWhile(n => n < chains), chains];
        var right = new double[counts.Length];
        var read = new double[counts.Length];
        int group = Math.Max(1, Together / chains), asked = 0;
        for (int start = 0; start < items.Count; start += group)
        {
            EvaluationItem[] batch = [.. items.Skip(start).Take(group)];
            ParallelSamples?[] running = [.. batch.Select((item, i) => Start(model, item, start + i, chains, options))];
            try
            {
                for (int i = 0; i < batch.Length; i++)
                {
                    host.Interrupt.ThrowIfCancellationRequested();
                    if (running[i] is not { } samples) continue;
                    GenerationResult[] results = samples.Complete();
                    Score(results, batch[i].Answer.Trim(), counts, right, read);
                    asked++;
                }
            }
            finally
            {
                foreach (ParallelSamples? samples in running) samples?.Dispose();
            }

            progress(Math.Min(start + group, items.Count), items.Count);
        }

        string name = model.Language.Cache.Options.Policy.Name;
        return [.. counts.Select((n, i) => new ChainPoint(name, n, right[i] / Math.Max(1, asked), read[i] / 1e6 / Math.Max(1, asked)))];
    }

    private static ParallelSamples? Start(ChatModel model, EvaluationItem item, int number, int chains, GenerationOptions options)
    {
        int[] prompt = model.Encode(item.Question, raw: false);
        if (prompt.Length >= model.Language.ContextLength) return null;
        SamplingOptions sampling = options.Sampling with { Seed = options.Sampling.Seed + (ulong)number * 1000 };
        return model.Language.GenerateSamples(prompt, options with { Samples = chains, Sampling = sampling });
    }

    private static void Score(GenerationResult[] results, string expected, int[] counts, double[] right, double[] read)
    {
        string?[] answers = [.. results.Select(r => AnswerScorer.Extract(r.Text))];
        for (int c = 0; c < counts.Length; c++)
        {
            int parts = answers.Length / counts[c], correct = 0;
            for (int part = 0; part < parts; part++) correct += MajorityVote.Of(answers.AsSpan(part * counts[c], counts[c])).Answer == expected ? 1 : 0;
            right[c] += (double)correct / parts;
            read[c] += results.Take(counts[c]).Sum(r => (double)r.Statistics.KvBytesRead);
        }
    }
}
