using System.Globalization;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Training.Evaluation;

namespace Foretoken.Cli.Output;

/// <summary>Runs several chains of reasoning to their ends and writes the one whose final answer most of them share.</summary>
internal static class ChainWriter
{
    /// <summary>Returns the exit code: success, or interrupted.</summary>
    public static int Write(ParallelSamples chains, ChatModel model, CliHost host, bool json)
    {
        using CancellationTokenRegistration registration = host.Interrupt.Register(chains.Cancel);
        GenerationResult[] results = chains.Complete();
        model.WarnOfRetired(host);
        host.Interrupt.ThrowIfCancellationRequested(); // half of the chains is no vote
        string?[] answers = [.. results.Select(r => AnswerOf(r.Text))];
        (string? answer, int votes) = MajorityVote.Of(answers);
        GenerationResult winner = results[Math.Max(0, Array.IndexOf(answers, answer))];
        KvStatistics kv = model.Language.Cache.Statistics;
        long read = results.Sum(r => r.Statistics.KvBytesRead);
        if (json)
        {
            host.Output.WriteLine(JsonText.Object(w =>
            {
                w.WriteString("answer", answer);
                w.WriteNumber("votes", votes);
                w.WriteString("text", winner.Text);
                w.WriteStartArray("chains");
                for (int i = 0; i < results.Length; i++)
                {
                    w.WriteStartObject();
                    w.WriteString("answer", answers[i]);
                    w.WriteNumber("completion_tokens", results[i].Statistics.GeneratedTokens);
                    w.WriteNumber("kv_bytes_read", results[i].Statistics.KvBytesRead);
                    w.WriteEndObject();
                }

                w.WriteEndArray();
                w.WriteString("kv", kv.Policy);
                w.WriteNumber("kv_bytes_read", read);
                w.WriteNumber("kv_peak_bytes", kv.PeakBytes);
                w.WriteRounded("kv_compression", kv.EffectiveCompression, 3);
                w.WriteString("model", model.Name);
            }));
            return ExitCode.Success;
        }

        host.Output.Write(winner.Text);
        if (!winner.Text.EndsWith('\n')) host.Output.WriteLine();
        host.Output.Flush();
        IEnumerable<string> tally = answers.GroupBy(a => a).OrderByDescending(g => g.Count()).Select(g => $"{g.Count()} {(g.Key is null ? "give no answer" : $"say {g.Key}")}");
        host.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"[{results.Length} chains: {string.Join(", ", tally)}; {results.Sum(r => r.Statistics.GeneratedTokens)} tokens, {read / 1e6:F1} MB of keys and values read, "
            + $"{kv.Policy} cache of at most {kv.PeakBytes:N0} bytes; {model.Name} {model.Language.BackendName}]"));
        return ExitCode.Success;
    }

    /// <summary>What follows the answer mark; in texts without it, the last line.</summary>
    private static string? AnswerOf(string text) =>
        AnswerScorer.Extract(text) ?? text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).LastOrDefault();
}
