using Foretoken.Backends;
using Foretoken.Generation;
using Foretoken.Memory;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>Drafters that fail or reach their limits leave nothing behind, and drafters over drafters say what those are.</summary>
public sealed class DrafterFaultTests(TinyModelFixture fixture) : IClassFixture<TinyModelFixture>
{
    /// <summary>The draft's context ends while drafts that the target has rejected still lie in the draft's cache.</summary>
    [Fact]
    public void A_request_may_be_given_up_anywhere_around_the_end_of_the_drafts_context()
    {
        using var directory = new TempDirectory();
        new TinyModel { MaxPositions = 64, Seed = 5 }.Write(directory.Path);
        (int[] Prompt, GenerationOptions Options)[] requests = [(LoopRig.Prompt(44, 1), new GenerationOptions { MaxTokens = 60, IgnoreEndTokens = true })];
        var options = new LanguageModelOptions { Threads = 1, MaxSequences = 3, MaxPrefixes = 8 };
        GenerationResult[] alone = DraftCases.Alone(fixture.Load, options, requests);
        using LanguageModel model = fixture.Load(options with { Draft = new DraftModelOptions { Directory = directory.Path, Tokens = 6, MinProbability = 0 } });
        int drafted = 0, accepted = 0;
        for (int tokens = 10; tokens < 26; tokens++)
        {
            using GenerationSession session = model.Generate(requests[0].Prompt, requests[0].Options);
            while (session.Statistics.Steps + session.Statistics.AcceptedTokens < tokens) Assert.True(session.MoveNext());
            drafted += session.Statistics.DraftedTokens;
            accepted += session.Statistics.AcceptedTokens;
        }

        Assert.True(drafted > accepted + 100, $"{accepted} of {drafted} drafts were accepted");
        DraftCases.AssertSame(model, requests, alone);
    }

    [Fact]
    public void A_drafter_that_fails_to_release_sequences_keeps_nobody_from_ending()
    {
        var drafter = new HookedDrafter(new OracleDrafter(new OracleOptions { VocabSize = LoopRig.Vocab, Depth = 3 }));
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 3), drafter);
        Sequence[] sequences = [.. Enumerable.Range(0, 5).Select(i => Request(i).Submit(rig))];
        rig.Loop.Step();
        drafter.Releasing = sequence => throw new InvalidOperationException($"no release of {sequence}");
        var error = Assert.Throws<AggregateException>(() => rig.Loop.Abort("stopped"));
        Assert.Equal(3, error.InnerExceptions.Count);
        Assert.All(sequences, s => Assert.Equal((FinishReason.Error, "stopped"), (s.FinishReason, s.Error)));
        Assert.Equal(0, rig.Loop.ActiveCount);
        rig.AssertCacheEmpty();

        drafter.Releasing = null;
        Sequence next = Request(9).Submit(rig);
        rig.RunToEnd();
        Request(9).RunAlone().AssertEqual(next);
    }

    [Fact]
    public void A_drafter_that_fails_while_a_sequence_is_preempted_keeps_nobody_from_ending()
    {
        var drafter = new HookedDrafter(new NoDrafter());
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 1), drafter);
        Sequence low = Request(1).Submit(rig);
        rig.Loop.Step();
        Sequence high = Request(2).Submit(rig, priority: 1);
        drafter.Releasing = _ => throw new InvalidOperationException("no release");
        Assert.Throws<InvalidOperationException>(() => rig.Loop.Step());
        rig.Loop.Abort("stopped");
        Assert.Equal((FinishReason.Error, FinishReason.Error, 0), (low.FinishReason, high.FinishReason, rig.Loop.ActiveCount));
        rig.AssertCacheEmpty();
    }

    [Fact]
    public void A_model_can_be_disposed_although_its_drafter_fails_to_release()
    {
        int disposed = 0;
        var drafter = new HookedDrafter(new NoDrafter()) { Releasing = _ => throw new InvalidOperationException("no release"), Disposing = () => disposed++ };
        LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, Drafter = drafter });
        GenerationSession session = model.Generate([1, 2, 3], new GenerationOptions { MaxTokens = 20, IgnoreEndTokens = true });
        session.MoveNext();
        Assert.Throws<AggregateException>(model.Dispose);
        Assert.Equal(1, disposed);
        Assert.Throws<GenerationException>(() => session.Complete());
    }

    [Fact]
    public void Memory_for_distributions_is_planned_only_for_drafters_that_draw()
    {
        Assert.True(PlansDistributions(AcceptanceKind.Rejection, "model"));
        Assert.True(PlansDistributions(AcceptanceKind.Rejection, "model+ngram"));
        Assert.False(PlansDistributions(AcceptanceKind.SampleAndMatch, "model"));
        Assert.False(PlansDistributions(AcceptanceKind.Rejection, "ngram+suffix+recycling"));
        Assert.False(PlansDistributions(AcceptanceKind.Rejection, "auto")); // whose choice among drafts leaves none that is drawn
    }

    [Fact]
    public void Distributions_that_no_machine_holds_are_refused()
    {
        var error = Assert.Throws<OutOfMemoryBudgetException>(() => new TokenForest(1, 1 << 20, distributionVocab: 1 << 20));
        Assert.Contains("distributions", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ngram+suffix+recycling", false)]
    [InlineData("model", true)]
    [InlineData("model+ngram", true)]
    [InlineData("auto", true)]
    public void Drafters_over_drafters_say_whether_a_model_runs(string name, bool runs)
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions { Threads = 1, Draft = DraftCases.Options(name, fixture.Directory) });
        Assert.Equal(runs, model.Drafter.RunsModel);
    }

    [Fact]
    public void A_governor_leaves_no_drafter_undisposed_when_it_cannot_be_made()
    {
        int disposed = 0;
        var bad = new ReadyDrafter(() => new HookedDrafter(new NoDrafter()) { MaxNodes = -9, Disposing = () => disposed++ });
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 2));
        Assert.ThrowsAny<ArgumentException>(() => new GovernorOptions(bad, bad).Create(Context(rig)));
        Assert.Equal(2, disposed);
    }

    /// <summary>Where logits stay on a device, the Governor leaves out drafters that read them all, unless it has no others.</summary>
    [Fact]
    public void A_governor_never_ends_without_drafters()
    {
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 2), logitsOnHost: false);
        var recycling = new RecyclingOptions();
        Assert.Equal(["recycling", "recycling"], Names(new GovernorOptions(recycling, recycling), rig));
        Assert.Equal(["ngram"], Names(new GovernorOptions(recycling, new NgramOptions()), rig));
        Assert.Equal(["recycling"], Names(new GovernorOptions(recycling), rig));
    }

    [Fact]
    public void Keys_are_counted_once_per_sequence_and_a_quarter_for_every_further_row()
    {
        var costs = new List<StepCost>();
        LoopRequest request = Request(3);
        var oracle = new OracleDrafter(new OracleOptions { VocabSize = LoopRig.Vocab, Depth = 4, Acceptance = 0 });
        oracle.Record(request.Prompt, request.Sampling, request.RunAlone().Tokens);
        using var rig = new LoopRig(LoopRig.Options(maxSequences: 2), new HookedDrafter(oracle) { Measuring = costs.Add });
        request.Submit(rig);
        Request(4).Submit(rig); // of which the oracle knows nothing
        rig.RunToEnd();
        Assert.Equal(0, costs[0].KeysRead);
        Assert.Equal((1 + 4 + 1, 10 * 2 + 10), (costs[1].Rows, costs[1].KeysRead)); // five rows over ten keys, one over ten others
    }

    private static string[] Names(GovernorOptions options, LoopRig rig)
    {
        using var governor = (Governor)options.Create(Context(rig));
        return [.. governor.Report.Drafters.Select(d => d.Name)];
    }

    private static DrafterContext Context(LoopRig rig) =>
        new() { Target = rig.Model, TargetCache = rig.Cache, Plan = new MemoryPlan(), MaxSequences = 2, ContextLength = 64 };

    private bool PlansDistributions(AcceptanceKind rule, string drafter)
    {
        using LanguageModel model = fixture.Load(new LanguageModelOptions
        {
            Threads = 1, MaxSequences = 2, Draft = DraftCases.Options(drafter, fixture.Directory), Acceptance = new AcceptanceOptions(rule),
        });
        return model.Plan.Entries.Any(e => e.Name == "draft distributions");
    }

    private static LoopRequest Request(int seed) => new(LoopRig.Prompt(10, (ulong)seed), 30, SamplingOptions.Greedy);
}
