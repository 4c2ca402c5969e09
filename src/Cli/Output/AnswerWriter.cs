using System.Globalization;
using System.Text;
using System.Text.Json;
using Foretoken.Generation;
using Foretoken.KvCache;

namespace Foretoken.Cli.Output;

/// <summary>
/// Runs one session to its end: text piece by piece on stdout and statistics on stderr, or one JSON object on stdout. Ctrl-C ends the answer between
/// two steps; what came is printed.
/// </summary>
internal static class AnswerWriter
{
    private const int AdvisedDrafts = 40; // fewer say little

    /// <summary>Returns the exit code: success, or interrupted.</summary>
    public static int Write(GenerationSession session, ChatModel model, CliHost host, bool json)
    {
        using CancellationTokenRegistration registration = host.Interrupt.Register(session.Cancel);
        DraftMarks? marks = json || model.Draft.Options is null || model.Drafts is not { } drafts ? null : new DraftMarks(drafts, model.Language.Tokenizer!, host.OutputColor);
        var aside = new StringBuilder(); // marked text where stdout takes only the answer
        char last = '\n';
        while (session.MoveNext())
        {
            string text = session.NewText, marked = marks?.Mark(text) ?? text;
            if (json) continue;
            if (!host.OutputIsTerminal) aside.Append(marked);
            host.Output.Write(host.OutputIsTerminal ? marked : text);
            host.Output.Flush();
            if (text.Length > 0) last = text[^1];
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
            if (model.Drafts is not null && session.Statistics.DraftedTokens == 0) host.Error.WriteLine("[nothing was drafted: every token is the model's own]");
            else if (marks is not null) host.Error.WriteLine(host.OutputIsTerminal ? marks.Legend : $"{marks.Legend}\n{aside.ToString().TrimEnd('\n')}");
            host.Error.WriteLine(Describe(session, model));
            if (marks is not null && model.Governor is { } governor) host.Error.WriteLine($"[auto: {governor.Report.Explain()}]");
            if (Advice(session.Statistics, model) is { } advice) host.Error.WriteLine(advice);
        }

        host.Output.Flush();
        model.WarnOfRetired(host);
        return interrupted ? ExitCode.Interrupted : ExitCode.Success;
    }

    /// <summary>
    /// Runs all samples to their ends: each answer on stdout behind a line with its number and seed, or one JSON object with all. Returns the exit code: success, or
    /// interrupted.
    /// </summary>
    public static int Write(ParallelSamples samples, ChatModel model, CliHost host, bool json)
    {
        using CancellationTokenRegistration registration = host.Interrupt.Register(samples.Cancel);
        if (json)
        {
            _ = samples.Complete();
            host.Output.WriteLine(JsonText.Object(w => WriteJson(w, samples, model)));
        }

        for (int i = 0; i < samples.Count && !json; i++)
        {
            string text = samples[i].Complete().Text;
            if (samples[i].FinishReason == FinishReason.Cancelled && samples[i].Statistics.GeneratedTokens == 0) continue; // it never began
            host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"[sample {i + 1} of {samples.Count}, seed {samples[i].Sampling.Seed}]"));
            host.Output.Write(text);
            if (!text.EndsWith('\n')) host.Output.WriteLine();
            host.Output.Flush();
            host.Error.WriteLine(Describe(samples[i], model));
        }

        host.Output.Flush();
        model.WarnOfRetired(host);
        return samples.Any(s => s.FinishReason == FinishReason.Cancelled) ? ExitCode.Interrupted : ExitCode.Success;
    }

    private static void WriteJson(Utf8JsonWriter w, ParallelSamples samples, ChatModel model)
    {
        w.WriteStartArray("samples");
        foreach (GenerationSession session in samples)
        {
            w.WriteStartObject();
            w.WriteNumber("seed", session.Sampling.Seed);
            w.WriteNumber("shared_prompt_tokens", session.Statistics.SharedTokens);
            WriteJson(w, session, model);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    }

    private static string Describe(GenerationSession session, ChatModel model)
    {
        GenerationStatistics s = session.Statistics;
        return string.Create(
            CultureInfo.InvariantCulture,
            $"[{s.PromptTokens} prompt tokens in {s.PrefillMilliseconds:F0} ms, "
            + $"{s.GeneratedTokens} tokens in {s.DecodeMilliseconds:F0} ms ({s.TokensPerSecond:F0} tok/s), "
            + $"{Drafts(s, model)}{Kept(model)}{Name(session.FinishReason)}; {model.Name} {Weights(model)}, {model.Language.BackendName}]");
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
        w.WriteRounded("mean_accepted_length", s.MeanAcceptedLength, 3);
        w.WriteRounded("draft_ms", s.DraftMilliseconds, 3);
        w.WriteRounded("verify_ms", s.VerifyMilliseconds, 3);
        w.WriteString("drafter", model.Language.Drafter.Name);
        w.WriteString("acceptance", model.Language.Acceptance.Name);
        w.WriteStartArray("accepted_at");
        for (int i = 0; i < s.DraftedAt.Length && s.DraftedAt[i] > 0; i++) w.WriteNumberValue(Math.Round((double)s.AcceptedAt[i] / s.DraftedAt[i], 4));
        w.WriteEndArray();
        WriteDrafters(w, s);
        WriteRetired(w, model);
        if (model.Drafts is { } drafts) WriteDrafts(w, drafts);
        KvStatistics kv = model.Language.Cache.Statistics;
        w.WriteString("kv", kv.Policy);
        w.WriteBoolean("lossy", model.Language.Cache.Options.Policy.IsLossy || model.Language.Acceptance.IsLossy);
        w.WriteRounded("kv_compression", kv.EffectiveCompression, 3);
        w.WriteNumber("kv_peak_bytes", kv.PeakBytes);
        w.WriteRounded("prefill_ms", s.PrefillMilliseconds, 3);
        w.WriteRounded("decode_ms", s.DecodeMilliseconds, 3);
        w.WriteRounded("tokens_per_second", s.TokensPerSecond, 2);
        w.WriteString("model", model.Name);
        w.WriteString("weights", Weights(model));
        w.WriteString("backend", model.Language.BackendName);
    }

    private static string Drafts(GenerationStatistics s, ChatModel model)
    {
        if (model.Draft.Options is null) return "";
        DrafterStatistics[] used = [.. s.Drafters.Where(d => d.Drafted > 0)];
        string by = s.Drafters.Count > 1 && used.Length > 0
            ? " (" + string.Join(", ", used.Select(d => string.Create(CultureInfo.InvariantCulture, $"{d.Name} {d.Accepted} of {d.Drafted}"))) + ")"
            : "";
        string lossy = model.Language.Acceptance.IsLossy ? $", {model.Language.Acceptance.Name} acceptance" : "";
        return string.Create(CultureInfo.InvariantCulture, $"{s.AcceptedTokens} of {s.DraftedTokens} drafts accepted{by}{lossy}, {s.MeanAcceptedLength:F2} tokens per step, ");
    }

    /// <summary>A warning where a fixed drafter's drafts are rejected too often to pay; the Governor needs none.</summary>
    private static string? Advice(GenerationStatistics s, ChatModel model)
    {
        if (model.Draft.Options is null || model.Governor is not null || s.DraftedTokens < AdvisedDrafts || s.Acceptance >= 0.6) return null;
        string remedy = s.Acceptance < 0.5 ? "use --draft auto, which drafts only where it pays, or --draft none" : "draft fewer tokens per step, or use --draft auto";
        return string.Create(CultureInfo.InvariantCulture, $"[warning: {s.Acceptance:P0} of drafted positions were accepted: {remedy}]");
    }

    private static string Kept(ChatModel model)
    {
        KvStatistics kv = model.Language.Cache.Statistics;
        return model.Language.Cache.Options.Policy.Evicts
            ? string.Create(CultureInfo.InvariantCulture, $"{kv.Policy} cache {kv.EffectiveCompression:F2} times smaller, at most {kv.PeakBytes:N0} bytes, ")
            : "";
    }

    private static void WriteDrafts(Utf8JsonWriter w, DraftTrace drafts)
    {
        w.WriteStartArray("drafts");
        foreach (DraftStep step in drafts.Steps)
        {
            w.WriteStartObject();
            WriteIds(w, "accepted", step.Accepted);
            WriteIds(w, "rejected", step.Rejected);
            WriteIds(w, "bonus", step.Bonus);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    }

    /// <summary>What each drafter contributed: under auto, who was chosen.</summary>
    private static void WriteDrafters(Utf8JsonWriter w, GenerationStatistics statistics)
    {
        w.WriteStartArray("drafters");
        foreach (DrafterStatistics d in statistics.Drafters)
        {
            w.WriteStartObject();
            w.WriteString("name", d.Name);
            w.WriteNumber("drafted", d.Drafted);
            w.WriteNumber("accepted", d.Accepted);
            WriteCounts(w, "drafted_at", d.DraftedAt);
            WriteCounts(w, "accepted_at", d.AcceptedAt);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    }

    /// <summary>Drafters whose weights could not be read, where there are any.</summary>
    private static void WriteRetired(Utf8JsonWriter w, ChatModel model)
    {
        Speculation.DrafterReport[] retired = [.. model.RetiredDrafters];
        if (retired.Length == 0) return;
        w.WriteStartArray("retired_drafters");
        foreach (Speculation.DrafterReport drafter in retired)
        {
            w.WriteStartObject();
            w.WriteString("name", drafter.Name);
            w.WriteString("problem", drafter.Problem);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    }

    /// <summary>Counts by position, up to the last that is not 0.</summary>
    private static void WriteCounts(Utf8JsonWriter w, string name, ReadOnlySpan<int> counts)
    {
        w.WriteStartArray(name);
        foreach (int count in counts[..(counts.LastIndexOfAnyExcept(0) + 1)]) w.WriteNumberValue(count);
        w.WriteEndArray();
    }

    private static void WriteIds(Utf8JsonWriter w, string name, int[] ids)
    {
        w.WriteStartArray(name);
        foreach (int id in ids) w.WriteNumberValue(id);
        w.WriteEndArray();
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
