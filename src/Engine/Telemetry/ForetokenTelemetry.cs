using System.Diagnostics;
using System.Diagnostics.Metrics;
using Foretoken.Generation;
using Foretoken.Speculation;

namespace Foretoken.Telemetry;

/// <summary>
/// The engine's one <see cref="System.Diagnostics.Metrics.Meter"/> and one <see cref="System.Diagnostics.ActivitySource"/>, both named
/// <c>Foretoken</c>. What is recorded inside a step has no tags and allocates nothing.
/// </summary>
public static class ForetokenTelemetry
{
    public const string Name = "Foretoken";

    public static Meter Meter { get; } = new(Name);

    public static ActivitySource ActivitySource { get; } = new(Name);

    private static readonly Counter<long> Requests = Meter.CreateCounter<long>("foretoken.requests", "{request}", "Requests submitted.");
    private static readonly Counter<long> Failures = Meter.CreateCounter<long>("foretoken.requests.failed", "{request}", "Requests that ended with an error.");
    private static readonly Counter<long> PromptTokens = Meter.CreateCounter<long>("foretoken.tokens.prompt", "{token}", "Prompt tokens submitted.");
    private static readonly Counter<long> Tokens = Meter.CreateCounter<long>("foretoken.tokens.generated", "{token}", "Tokens generated.");
    private static readonly Counter<long> Accepted = Meter.CreateCounter<long>("foretoken.tokens.accepted", "{token}", "Drafted tokens accepted.");
    private static readonly Histogram<double> Prefill = Meter.CreateHistogram<double>("foretoken.request.prefill", "ms", "First pass to first token.");
    private static readonly Histogram<double> Decode = Meter.CreateHistogram<double>("foretoken.request.decode", "ms", "First token to last.");

    internal static void Submitted(Sequence sequence)
    {
        Requests.Add(1);
        PromptTokens.Add(sequence.History.PromptCount);
    }

    internal static void Stepped(in Acceptance acceptance)
    {
        Tokens.Add(acceptance.NewTokens);
        Accepted.Add(acceptance.AcceptedRows - 1);
    }

    internal static void Ended(Sequence sequence)
    {
        if (sequence.FinishReason == FinishReason.Error) Failures.Add(1);
        Prefill.Record(sequence.Statistics.PrefillMilliseconds);
        Decode.Record(sequence.Statistics.DecodeMilliseconds);
    }
}
