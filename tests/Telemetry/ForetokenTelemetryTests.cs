using System.Diagnostics;
using System.Diagnostics.Metrics;
using Foretoken.Generation;
using Foretoken.Telemetry;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Telemetry;

[Collection("telemetry")]
public class ForetokenTelemetryTests
{
    [Fact]
    public void A_request_is_an_activity_below_its_callers_with_counts_as_tags()
    {
        var stopped = new List<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Foretoken",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = activity =>
            {
                lock (stopped) stopped.Add(activity);
            },
        };
        ActivitySource.AddActivityListener(listener);
        using Activity caller = new Activity("caller").Start();
        using var rig = new LoopRig(LoopRig.Options());
        rig.Loop.Submit(LoopRig.Sequence(LoopRig.Prompt(12, 1), 5));
        Assert.Same(caller, Activity.Current);
        rig.RunToEnd();
        Assert.Same(caller, Activity.Current);
        Activity request;
        lock (stopped) request = Assert.Single(stopped, a => a.ParentSpanId == caller.SpanId); // other tests run requests too
        Assert.Equal("foretoken.request", request.OperationName);
        Assert.Equal(
            (12, 5, "Length"),
            (request.GetTagItem("foretoken.tokens.prompt"), request.GetTagItem("foretoken.tokens.generated"), request.GetTagItem("foretoken.finish_reason")));
    }

    [Fact]
    public void Tokens_are_counted_on_the_one_meter()
    {
        long tokens = 0;
        int thread = Environment.CurrentManagedThreadId; // measurements arrive on the thread that steps
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (instrument.Meter == ForetokenTelemetry.Meter) l.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, _, _) =>
        {
            if (instrument.Name == "foretoken.tokens.generated" && Environment.CurrentManagedThreadId == thread) tokens += value;
        });
        listener.Start();
        using var rig = new LoopRig(LoopRig.Options());
        Sequence sequence = LoopRig.Sequence(LoopRig.Prompt(12, 1), 17);
        rig.Loop.Submit(sequence);
        rig.RunToEnd();
        Assert.Equal((17, FinishReason.Length), (tokens, sequence.FinishReason));
    }
}
