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
    /// <summary>What meter and source are subscribed by.</summary>
    public const string Name = "Foretoken";

    /// <summary>Counters and histograms of requests, steps and drafts.</summary>
    public static Meter Meter { get; } = new(Name);

    /// <summary>One activity per request, from submission to its end.</summary>
    public static ActivitySource ActivitySource { get; } = new(Name);

    private static readonly Counter<long> Requests = Meter.CreateCounter<long>("foretoken.requests", "{request}", "Requests submitted.");
    private static readonly Counter<long> Failures = Meter.CreateCounter<long>("foretoken.requests.failed", "{request}", "Requests that ended with an error.");
    private static readonly Counter<long> Rejections = Meter.CreateCounter<long>(
        "foretoken.requests.rejected", "{request}", "Requests turned away because the queue was full.");
    private static readonly Counter<long> Preemptions = Meter.CreateCounter<long>(
        "foretoken.requests.preempted", "{preemption}", "Times that a request gave up its place in the cache for another.");
    private static readonly Counter<long> PromptTokens = Meter.CreateCounter<long>("foretoken.tokens.prompt", "{token}", "Prompt tokens submitted.");
    private static readonly Counter<long> Tokens = Meter.CreateCounter<long>("foretoken.tokens.generated", "{token}", "Tokens generated.");
    private static readonly Counter<long> Drafted = Meter.CreateCounter<long>("foretoken.tokens.drafted", "{token}", "Tokens drafted and verified.");
    private static readonly Counter<long> Accepted = Meter.CreateCounter<long>("foretoken.tokens.accepted", "{token}", "Drafted tokens accepted.");
    private static readonly Counter<long> RetiredDrafters = Meter.CreateCounter<long>("foretoken.drafters.retired", "{drafter}", "Drafters whose weights could not be read when they were first wanted.");
    private static readonly Histogram<double> Prefill = Meter.CreateHistogram<double>("foretoken.request.prefill", "ms", "First pass to first token.");
    private static readonly Histogram<double> Decode = Meter.CreateHistogram<double>("foretoken.request.decode", "ms", "First token to last.");

    /// <summary>Counts a request and, if somebody listens, starts its activity as a child of the caller's.</summary>
    internal static Activity? Submitted(int promptTokens)
    {
        Requests.Add(1);
        PromptTokens.Add(promptTokens);
        Activity? current = Activity.Current;
        Activity? activity = ActivitySource.StartActivity("foretoken.request");
        Activity.Current = current; // the request ends in a later step: it must not become the parent of what the caller does meanwhile
        return activity;
    }

    internal static void Rejected() => Rejections.Add(1);

    internal static void Preempted() => Preemptions.Add(1);

    internal static void Retired() => RetiredDrafters.Add(1);

    internal static void Stepped(int drafted, in Acceptance acceptance)
    {
        Tokens.Add(acceptance.NewTokens);
        Drafted.Add(drafted);
        Accepted.Add(acceptance.AcceptedDrafts);
    }

    internal static void Ended(Sequence sequence, Activity? activity)
    {
        GenerationStatistics statistics = sequence.Statistics;
        if (sequence.FinishReason == FinishReason.Error) Failures.Add(1);
        Prefill.Record(statistics.PrefillMilliseconds);
        Decode.Record(statistics.DecodeMilliseconds);
        if (activity is null) return;
        activity.SetTag("foretoken.tokens.prompt", statistics.PromptTokens);
        activity.SetTag("foretoken.tokens.generated", statistics.GeneratedTokens);
        activity.SetTag("foretoken.finish_reason", sequence.FinishReason.ToString());
        if (sequence.Error is { } error) activity.SetStatus(ActivityStatusCode.Error, error);
        Activity? current = Activity.Current;
        activity.Dispose();
        Activity.Current = current;
    }
}
