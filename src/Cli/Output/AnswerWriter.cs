using System.Globalization;
using System.Text.Json;
using Foretoken.Generation;

namespace Foretoken.Cli.Output;

/// <summary>
/// Runs one session to its end: text piece by piece on stdout and statistics on stderr, or one JSON object on stdout. Ctrl-C ends the answer between
/// two steps; what came is printed.
/// </summary>
internal static class AnswerWriter
{
    /// <summary>Returns the exit code: success, or interrupted.</summary>
    public static int Write(GenerationSession session, ChatModel model, CliHost host, bool json)
    {
        using CancellationTokenRegistration registration = host.Interrupt.Register(session.Cancel);
        char last = '\n';
        while (session.MoveNext())
        {
            if (json || session.NewText is not { Length: > 0 } text) continue;
            host.Output.Write(text);
            host.Output.Flush();
            last = text[^1];
        }

        bool interrupted = session.FinishReason == FinishReason.Cancelled;
        if (json)
        {
            host.Output.WriteLine(JsonText.Object(w => WriteJson(w, session, model)));
        }
        else
        {
            if (last != '\n') host.Output.WriteLine();
            host.Output.Flush(); // before the statistics, where both go to one terminal
            host.Error.WriteLine(Describe(session, model));
        }

        host.Output.Flush();
        return interrupted ? ExitCode.Interrupted : ExitCode.Success;
    }

    private static string Describe(GenerationSession session, ChatModel model)
    {
        GenerationStatistics s = session.Statistics;
        return string.Create(
            CultureInfo.InvariantCulture,
            $"[{s.PromptTokens} prompt tokens in {s.PrefillMilliseconds:F0} ms, "
            + $"{s.GeneratedTokens} tokens in {s.DecodeMilliseconds:F0} ms ({s.TokensPerSecond:F0} tok/s), "
            + $"{Name(session.FinishReason)}; {model.Name} {Weights(model)}, {model.Language.BackendName}]");
    }

    private static void WriteJson(Utf8JsonWriter w, GenerationSession session, ChatModel model)
    {
        GenerationStatistics s = session.Statistics;
        w.WriteString("text", session.Text);
        w.WriteString("finish_reason", Name(session.FinishReason));
        w.WriteNumber("prompt_tokens", s.PromptTokens);
        w.WriteNumber("completion_tokens", s.GeneratedTokens);
        w.WriteNumber("steps", s.Steps);
        w.WriteNumber("drafted_tokens", s.DraftedTokens);
        w.WriteNumber("accepted_tokens", s.AcceptedTokens);
        w.WriteRounded("prefill_ms", s.PrefillMilliseconds, 3);
        w.WriteRounded("decode_ms", s.DecodeMilliseconds, 3);
        w.WriteRounded("tokens_per_second", s.TokensPerSecond, 2);
        w.WriteString("model", model.Name);
        w.WriteString("weights", Weights(model));
        w.WriteString("backend", model.Language.BackendName);
    }

    private static string Weights(ChatModel model) => model.Language.Loaded.WeightType.ToString().ToLowerInvariant();

    private static string Name(FinishReason reason) => reason switch
    {
        FinishReason.Stop => "stop",
        FinishReason.Length => "length",
        FinishReason.Cancelled => "interrupted",
        FinishReason.KvBudget => "kv_budget",
        _ => reason.ToString().ToLowerInvariant(),
    };
}
