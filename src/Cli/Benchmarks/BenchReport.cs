using System.Globalization;
using System.Text.Json;
using Foretoken.Cli.Output;

namespace Foretoken.Cli.Benchmarks;

/// <summary>What was measured on.</summary>
internal sealed record BenchSubject(string Model, string Weights, string Kv, string Backend, int Threads, double WeightBytes, int Repeats);

/// <summary>Writes results as text, Markdown, CSV or JSON.</summary>
internal static class BenchReport
{
    public static void WriteTable(TextWriter output, TableFormat format, BenchSubject subject, IReadOnlyList<BenchResult> results)
    {
        var table = new Table("test", "model", "weights", "kv", "threads", "tok/s", "ms/pass", "spread %", "GB/s", "probe GB/s", "% of probe", "Gop/s", "probe Gop/s",
            "% of roofline", "plain steps", "matrices %", "attention %", "p99/p50");
        foreach (BenchResult r in results)
        {
            table.Add(
                r.Case.Name, subject.Model, subject.Weights, Kv(subject, r), subject.Threads.ToString(CultureInfo.InvariantCulture),
                r.Case.WholeModel ? Text(r.TokensPerSecond, 2) : "",
                Text(r.MillisecondsPerPass, 3), Text(100 * r.Spread, 1), Text(r.GigabytesPerSecond, 2),
                Text(r.ProbeGigabytesPerSecond, 2), Text(100 * r.ShareOfProbe, 1),
                r.ProbeGigaops == 0 ? "" : Text(r.Gigaops, 1), r.ProbeGigaops == 0 ? "" : Text(r.ProbeGigaops, 1), r.ProbeGigaops == 0 ? "" : Text(100 * r.ShareOfRoofline, 1),
                r.PlainSteps == 0 ? "" : Text(r.PlainSteps, 2),
                r.Passes is null ? "" : Text(100 * r.Passes.MatrixShare, 1), r.Passes is null ? "" : Text(100 * r.Passes.AttentionShare, 1),
                r.Passes is null ? "" : Text(r.Passes.SlowMilliseconds / r.Passes.MedianMilliseconds, 2));
        }

        table.Write(output, format);
    }

    public static string Json(BenchSubject subject, IReadOnlyList<BenchResult> results) => JsonText.Object(w =>
    {
        w.WriteString("model", subject.Model);
        w.WriteString("weights", subject.Weights);
        w.WriteString("kv", subject.Kv);
        w.WriteString("backend", subject.Backend);
        w.WriteNumber("threads", subject.Threads);
        w.WriteNumber("weight_bytes", subject.WeightBytes);
        w.WriteNumber("repeats", subject.Repeats);
        w.WriteStartArray("results");
        foreach (BenchResult r in results)
        {
            w.WriteStartObject();
            Write(w, subject, r);
            w.WriteEndObject();
        }

        w.WriteEndArray();
    });

    private static string Kv(BenchSubject subject, BenchResult r) => r.Case.Kv?.ToString().ToLowerInvariant() ?? subject.Kv;

    private static void Write(Utf8JsonWriter w, BenchSubject subject, BenchResult r)
    {
        w.WriteString("test", r.Case.Name);
        w.WriteString("kv", Kv(subject, r));
        w.WriteNumber("passes", r.Case.Passes);
        w.WriteNumber("tokens", r.Case.Tokens);
        if (r.Case.WholeModel) w.WriteRounded("tokens_per_second", r.TokensPerSecond, 3);
        w.WriteRounded("ms_per_pass", r.MillisecondsPerPass, 4);
        w.WriteRounded("gb_per_second", r.GigabytesPerSecond, 3);
        w.WriteRounded("probe_gb_per_second", r.ProbeGigabytesPerSecond, 3);
        w.WriteRounded("share_of_probe", r.ShareOfProbe, 4);
        if (r.ProbeGigaops > 0)
        {
            w.WriteRounded("gigaops_per_second", r.Gigaops, 2);
            w.WriteRounded("probe_gigaops_per_second", r.ProbeGigaops, 2);
            w.WriteRounded("share_of_roofline", r.ShareOfRoofline, 4);
        }

        if (r.PlainSteps > 0) w.WriteRounded("plain_steps", r.PlainSteps, 4);
        if (r.Passes is { } passes)
        {
            w.WriteRounded("matrix_share", passes.MatrixShare, 4);
            w.WriteRounded("attention_share", passes.AttentionShare, 4);
            w.WriteRounded("pass_ms_p50", passes.MedianMilliseconds, 4);
            w.WriteRounded("pass_ms_p99", passes.SlowMilliseconds, 4);
        }

        w.WriteStartArray("seconds");
        foreach (double s in r.Seconds) w.WriteNumberValue(Math.Round(s, 6));
        w.WriteEndArray();
    }

    private static string Text(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
