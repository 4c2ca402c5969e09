using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;

namespace Foretoken.Tests.Generation;

/// <summary>Samples of one request: forks that share what the prompt's keys and values take, and answer as alone.</summary>
public class SampleTests
{
    private static readonly SamplingOptions s_sampled = new() { Temperature = 0.9f, TopP = 0.95f, Seed = 3, LogProbs = true };

    [Fact]
    public void Samples_compute_their_prompt_once_and_answer_as_alone()
    {
        using var rig = new LoopRig(LoopRig.Options(chunk: 20));
        LoopRequest request = Request(50, 14);
        Sequence[] samples = Submit(rig, request, 5);
        while (samples.Any(s => s.History.GeneratedCount < 2)) rig.Loop.Step();
        Assert.Equal(49 + 2 * 5, rig.Backend.PassRows.Sum()); // the prompt but its last token, then two rows of each
        Assert.Equal(4, rig.Loop.Statistics.Forks);
        Assert.Equal([0, 49, 49, 49, 49], samples.Select(s => s.Statistics.SharedTokens));
        Assert.Equal((3 + 5, 3 + 5), (rig.Cache.Statistics.PagesHeld, rig.Cache.Statistics.PagesReserved)); // 48 tokens in common pages
        rig.RunToEnd();
        AssertAlone(request, samples);
        Assert.Equal(5, samples.Select(s => string.Join(' ', s.History.Generated.ToArray())).Distinct().Count());
        rig.AssertCacheEmpty();
    }

    /// <summary>Of 78 tokens each sample shares four pages of five with the others.</summary>
    [Theory]
    [InlineData(9, 5)]
    [InlineData(8, 4)]
    [InlineData(5, 1)]
    public void The_budget_counts_a_shared_prompt_once(int pages, int together)
    {
        using var rig = new LoopRig(LoopRig.Options(), kvTokens: pages * 16);
        LoopRequest request = Request(65, 14);
        Sequence[] samples = Submit(rig, request, 5);
        int most = 0;
        while (rig.Loop.Step()) most = Math.Max(most, rig.Loop.Statistics.Running);
        Assert.Equal(together, most);
        AssertAlone(request, samples);
        Assert.Equal((0L, 0L), (rig.Loop.Statistics.Preemptions, rig.Loop.Statistics.Stalls));
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void Others_pass_samples_that_wait_for_their_prompt_only_into_room_that_is_left_over()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 4, chunk: 8));
        LoopRequest request = Request(40, 12), other = Request(6, 12);
        Sequence[] samples = Submit(rig, request, 3);
        Sequence passes = other.Submit(rig), waits = other.Submit(rig);
        rig.Loop.Step();
        Assert.Equal([true, false, false, true, false], samples.Append(passes).Append(waits).Select(s => s.CacheIndex >= 0));
        while (samples[0].History.GeneratedCount == 0) rig.Loop.Step();
        Assert.Equal([true, true, true, true, false], samples.Append(passes).Append(waits).Select(s => s.CacheIndex >= 0 || s.Finished));
        rig.RunToEnd();
        AssertAlone(request, samples);
        other.RunAlone().AssertEqual(passes);
        other.RunAlone().AssertEqual(waits);
    }

    [Fact]
    public void Far_more_samples_than_places_are_all_answered_as_alone()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 5, chunk: 4));
        LoopRequest request = Request(20, 6);
        Sequence[] samples = Submit(rig, request, 200);
        Sequence behind = request.Submit(rig);
        while (!samples[0].Finished) rig.Loop.Step();
        Assert.Equal(0, behind.History.GeneratedCount); // places were kept for the samples
        rig.RunToEnd();
        foreach (int i in new[] { 0, 1, 99, 199 }) AssertAlone(request, [samples[i]], first: i);
        Assert.All(samples, s => Assert.Equal(FinishReason.Length, s.FinishReason));
        Assert.InRange(rig.Loop.Statistics.Forks, 200 * 4 / 5, 199);
        rig.AssertCacheEmpty();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(9)]
    public void The_next_sample_reads_on_where_the_first_is_cancelled(int passes)
    {
        using var rig = new LoopRig(LoopRig.Options(chunk: 8));
        LoopRequest request = Request(40, 20);
        Sequence[] samples = Submit(rig, request, 4);
        for (int i = 0; i < passes; i++) rig.Loop.Step();
        samples[0].Cancel();
        rig.RunToEnd();
        Assert.Equal(FinishReason.Cancelled, samples[0].FinishReason);
        request.RunAlone().AssertBegins(samples[0]);
        AssertAlone(request, samples[1..], first: 1);
        Assert.Equal(passes < 6 ? 2 : 3, rig.Loop.Statistics.Forks);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void Samples_are_queued_all_or_none()
    {
        using var rig = new LoopRig(LoopRig.Options() with { MaxWaiting = 3 });
        LoopRequest request = Request(8, 5);
        request.Submit(rig);
        QueueFullException full = Assert.Throws<QueueFullException>(() => Submit(rig, request, 3));
        Assert.Contains("no room for 3 samples", full.Message, StringComparison.Ordinal);
        Assert.Equal((1, 3L, 1L), (rig.Loop.Statistics.Waiting, rig.Loop.Statistics.Rejected, rig.Loop.Statistics.Submitted));
        Sequence[] samples = Submit(rig, request, 2);
        rig.RunToEnd();
        AssertAlone(request, samples);
        Assert.Throws<ArgumentException>(() => rig.Loop.Submit([Sample(request, 0), Sample(Request(9, 5), 1)]));
    }

    /// <summary>
    /// More samples than places: later ones begin as forks of those that run, as long as these still hold the whole prompt. With the window one of three comes when the
    /// sample before it, which read the prompt anew, has not had it reclaimed yet.
    /// </summary>
    [Theory]
    [InlineData("dense", 6)]
    [InlineData("window", 4)]
    public void Samples_that_come_late_share_what_is_still_there(string policy, int forks)
    {
        IEvictionPolicy evicts = policy == "dense" ? new DensePolicy() : new SlidingWindowPolicy(12);
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 4, chunk: 16), policy: evicts);
        LoopRequest[] requests = [.. Enumerable.Range(0, 7).Select(i => Request(40, 15 + 8 * i) with { Sampling = s_sampled.OfSample(i) })];
        Sequence[] samples = [.. requests.Select(r => LoopRig.Sequence(r.Prompt, r.MaxTokens, r.Sampling))];
        rig.Loop.Submit(samples);
        rig.RunToEnd();
        for (int i = 0; i < samples.Length; i++) requests[i].RunAlone(policy: evicts).AssertEqual(samples[i]);
        Assert.Equal(forks, rig.Loop.Statistics.Forks);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void A_preempted_sample_shares_the_prompt_again()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 3));
        LoopRequest request = Request(40, 30), urgent = Request(5, 4);
        Sequence[] samples = Submit(rig, request, 3);
        while (samples[2].History.GeneratedCount < 10) rig.Loop.Step();
        Sequence intruder = urgent.Submit(rig, priority: 1);
        rig.RunToEnd();
        AssertAlone(request, samples);
        urgent.RunAlone().AssertEqual(intruder);
        Assert.Equal((1, 39 + 40), (samples[2].Statistics.Preemptions, samples[2].Statistics.SharedTokens)); // the last token of the prompt too
        Assert.Equal(3, rig.Loop.Statistics.Forks);
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void A_preempted_answer_that_is_stored_as_a_whole_goes_before_a_fork()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 3), prefixes: 4);
        LoopRequest request = Request(40, 60), urgent = Request(5, 4);
        Sequence[] samples = Submit(rig, request, 3);
        while (samples[2].History.GeneratedCount < 30) rig.Loop.Step();
        urgent.Submit(rig, priority: 1);
        rig.RunToEnd();
        AssertAlone(request, samples);
        Assert.Equal((39, 64), (samples[2].Statistics.SharedTokens, samples[2].Statistics.ReusedTokens)); // of 69 tokens four whole pages
    }

    [Fact]
    public void A_prompt_of_one_token_has_nothing_to_share()
    {
        using var rig = new LoopRig(LoopRig.Options());
        LoopRequest request = Request(1, 10);
        Sequence[] samples = Submit(rig, request, 4);
        rig.Loop.Step();
        Assert.All(samples, s => Assert.Equal(1, s.History.GeneratedCount));
        rig.RunToEnd();
        AssertAlone(request, samples);
        Assert.Equal(0, rig.Loop.Statistics.Forks);
    }

    /// <summary>The pages of samples run out while they answer: the last gives way and comes back with the same bits.</summary>
    [Fact]
    public void Samples_that_outgrow_the_budget_are_preempted_and_answer_as_alone()
    {
        using var rig = new LoopRig(LoopRig.Options() with { KvAdmission = KvAdmission.Measured, ExpectedAnswerTokens = 1 }, kvTokens: 14 * 16);
        LoopRequest request = Request(64, 60);
        Sequence[] samples = Submit(rig, request, 4);
        rig.RunToEnd();
        AssertAlone(request, samples);
        Assert.True(rig.Loop.Statistics.Preemptions > 0);
        Assert.True(rig.Loop.Statistics.Forks > 3, "nobody shared the prompt again");
        rig.AssertCacheEmpty();
    }

    private static LoopRequest Request(int prompt, int maxTokens) => new(LoopRig.Prompt(prompt, (ulong)prompt), maxTokens, s_sampled);

    private static Sequence Sample(LoopRequest request, int sample) => LoopRig.Sequence(request.Prompt, request.MaxTokens, request.Sampling.OfSample(sample));

    private static Sequence[] Submit(LoopRig rig, LoopRequest request, int samples)
    {
        Sequence[] sequences = [.. Enumerable.Range(0, samples).Select(i => Sample(request, i))];
        rig.Loop.Submit(sequences);
        return sequences;
    }

    private static void AssertAlone(LoopRequest request, Sequence[] samples, int first = 0)
    {
        for (int i = 0; i < samples.Length; i++) (request with { Sampling = request.Sampling.OfSample(first + i) }).RunAlone().AssertEqual(samples[i]);
    }
}
