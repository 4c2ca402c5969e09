using System.Globalization;
using Foretoken.Speculation;
using Foretoken.Tests.Generation;
using Xunit.Abstractions;

namespace Foretoken.Tests.Speculation;

/// <summary>What the Governor chooses among drafters whose rightness is set, over passes whose costs are: beside those, the time that the test itself takes is nothing.</summary>
public sealed class GovernorChoiceTests : IDisposable
{
    private const int Tokens = 2000, Depth = SetDrafter.Depth, MaxSequences = 32;
    private readonly LoopRig _rig = new(LoopRig.Options(maxSequences: MaxSequences));

    private readonly ITestOutputHelper _output;

    public GovernorChoiceTests(ITestOutputHelper output)
    {
        _output = output;
        for (int s = 0; s < MaxSequences; s++) Assert.Equal(s, _rig.Cache.TryAcquire());
    }

    public void Dispose() => _rig.Dispose();

    /// <summary>
    /// Drafters that are wrong, change their minds or hardly pay, alone and for many requests at a time, over passes whose rows cost little and much, with code that is compiled
    /// in the first calls and interruptions. The account opens with a little more than 2,000 tokens may lose for good.
    /// </summary>
    [Theory]
    [MemberData(nameof(Hard))]
    public void Whatever_drafters_do_little_time_is_lost(string rightIn, bool costly, int sequences, double perRow)
    {
        foreach (bool oneOffs in new[] { false, true })
        {
            foreach ((int tokens, double most) in new[] { (Tokens, 1.05), (4 * Tokens, 1.03) })
            {
                SetDrafter drafter = Hardly(rightIn, costly, sequences, perRow, tokens, oneOffs);
                var simulation = new GovernorSimulation(_rig, [drafter], sequences: sequences, answers: 250, prompt: 100) { PerRow = perRow };
                Assert.InRange(simulation.Run(tokens).Slowdown, 0, most);
                Assert.True(drafter.Calls >= 1);
            }
        }
    }

    /// <summary>Reading a long prompt costs more than the account holds: what it took is owed until time has paid it.</summary>
    [Theory]
    [InlineData(1000)]
    [InlineData(4000)]
    public void A_draft_model_that_never_pays_is_not_made_to_read_long_prompts_often(int prompt)
    {
        SetDrafter drafter = Hardly("wrong", costly: true, 1, 0.25, Tokens);
        var simulation = new GovernorSimulation(_rig, [drafter], answers: 250, prompt: prompt) { PerRow = 0.25 };
        Assert.InRange(simulation.Run(8 * Tokens).Slowdown, 1, 1.03);
        Assert.InRange(drafter.Calls, 1, 100);
    }

    /// <summary>What compiling code takes in the first call is no loss, but it hides what reading takes: that is not to be thought so cheap that it is soon done again.</summary>
    [Fact]
    public void What_the_first_prompt_took_to_read_is_owed_where_reading_costs_more_than_was_thought()
    {
        SetDrafter drafter = Hardly("wrong", costly: true, 1, 0.8, Tokens);
        var simulation = new GovernorSimulation(_rig, [drafter], answers: 250, prompt: 1500) { PerRow = 0.8 };
        double once = 0.15 * 0.8 * 1500 / (4 * Tokens);
        Assert.InRange(simulation.Run(4 * Tokens).Slowdown, 1 + once, 1 + 1.3 * once);
    }

    /// <summary>A machine that others use too, slower by up to half for stretches and stopped now and then, makes no drafter that never pays look better.</summary>
    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 1)]
    [InlineData(false, 8)]
    [InlineData(true, 8)]
    [InlineData(false, 32)]
    [InlineData(true, 32)]
    public void Little_time_is_lost_on_a_loaded_machine(bool costly, int sequences)
    {
        foreach (string rightIn in new[] { "wrong", "every third step" })
        {
            SetDrafter drafter = Hardly(rightIn, costly, sequences, 0.8, 4 * Tokens);
            Assert.InRange(new GovernorSimulation(_rig, [drafter], sequences: sequences, answers: 250, prompt: 100) { PerRow = 0.8, Loaded = true }.Run(4 * Tokens).Slowdown, 0, 1.03);
        }
    }

    /// <summary>Where interruptions make passes without drafts look dear, passes of more rows are not thought to take less: drafts that are always wrong would seem to pay.</summary>
    [Theory]
    [InlineData(1, 0.1)]
    [InlineData(1, 0.8)]
    [InlineData(8, 0.8)]
    [InlineData(32, 0.8)]
    public void Wrong_drafts_gain_nothing_on_a_loaded_machine(int sequences, double perRow)
    {
        for (ulong seed = 1; seed <= 16; seed++)
        {
            SetDrafter drafter = Hardly("wrong", costly: true, sequences, perRow, 4 * Tokens);
            Assert.InRange(new GovernorSimulation(_rig, [drafter], sequences: sequences, answers: 250, prompt: 100, seed: seed) { PerRow = perRow, Loaded = true }.Run(4 * Tokens).Slowdown, 1, 1.03);
        }
    }

    /// <summary>
    /// Interruptions in a row make the machine look so much slower that drafts seem to cost nothing; if those were then taken for what tells the pace, they would go on for ever.
    /// </summary>
    [Theory]
    [InlineData("every third step", 1)]
    [InlineData("always", 8)]
    public void Drafts_that_began_on_a_wrong_pace_do_not_last(string rightIn, int sequences)
    {
        for (ulong seed = 1; seed <= 24; seed++)
        {
            SetDrafter drafter = Hardly(rightIn, costly: true, sequences, 0.8, 4 * Tokens);
            Assert.InRange(new GovernorSimulation(_rig, [drafter], sequences: sequences, answers: 250, prompt: 100, seed: seed) { PerRow = 0.8, Loaded = true }.Run(4 * Tokens).Slowdown, 0, 1.1);
        }
    }

    /// <summary>
    /// Over 24 courses of such a machine: what is wrong is told from it, what is right over rows almost as dear as the first is harder to tell. docs/speculation.md has the figures.
    /// </summary>
    [Theory]
    [InlineData("wrong", 1, 1.03)]
    [InlineData("wrong", 8, 1.03)]
    [InlineData("wrong", 32, 1.03)]
    [InlineData("every third step", 1, 1.03)]
    [InlineData("always", 8, 1.09)]
    public void What_loaded_machines_cost_at_worst(string rightIn, int sequences, double most)
    {
        double worst = Enumerable.Range(1, 24).Max(seed => new GovernorSimulation(
            _rig, [Hardly(rightIn, costly: true, sequences, 0.8, 4 * Tokens)], sequences: sequences, answers: 250, prompt: 100, seed: (ulong)seed) { PerRow = 0.8, Loaded = true }.Run(4 * Tokens).Slowdown);
        _output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{rightIn}, {sequences} at a time: {worst:F3}"));
        Assert.InRange(worst, 0, most);
    }

    /// <summary>What good drafters save is not kept back: the time of plain decoding that they leave, whether or not first calls take long.</summary>
    [Theory]
    [InlineData(false, 1, 0.05, 0.20)]
    [InlineData(false, 1, 0.25, 0.38)]
    [InlineData(false, 8, 0.05, 0.43)]
    [InlineData(false, 8, 0.25, 0.80)]
    [InlineData(false, 32, 0.05, 0.76)]
    [InlineData(true, 1, 0.05, 0.34)]
    [InlineData(true, 1, 0.25, 0.53)]
    [InlineData(true, 2, 0.05, 0.39)]
    [InlineData(true, 2, 0.25, 0.68)]
    public void Good_drafters_are_found_soon(bool costly, int sequences, double perRow, double most)
    {
        foreach (bool oneOffs in new[] { false, true })
        {
            SetDrafter drafter = Hardly("always", costly, sequences, perRow, Tokens, oneOffs);
            Assert.InRange(new GovernorSimulation(_rig, [drafter], sequences: sequences, answers: 250, prompt: 100) { PerRow = perRow }.Run(Tokens).Slowdown, 0, most);
        }
    }

    /// <summary>The same where the machine is loaded, and what that takes is not to be read as loss.</summary>
    [Theory]
    [InlineData(false, 1, 0.25, 0.40)]
    [InlineData(true, 1, 0.25, 0.53)]
    [InlineData(true, 4, 0.05, 0.50)]
    public void Good_drafters_are_found_on_a_loaded_machine(bool costly, int sequences, double perRow, double most)
    {
        SetDrafter drafter = Hardly("always", costly, sequences, perRow, 4 * Tokens);
        Assert.InRange(new GovernorSimulation(_rig, [drafter], sequences: sequences, answers: 250, prompt: 100) { PerRow = perRow, Loaded = true }.Run(4 * Tokens).Slowdown, 0, most);
    }

    public static TheoryData<string, bool, int, double> Hard()
    {
        var cases = new TheoryData<string, bool, int, double>();
        foreach (int sequences in new[] { 1, 8, 32 })
        {
            foreach (double perRow in new[] { 0.25, 0.8 })
            {
                foreach (string rightIn in new[] { "wrong", "every third step", "twenty steps of forty", "first half", "second half", "half of them" })
                {
                    cases.Add(rightIn, false, sequences, perRow);
                    cases.Add(rightIn, true, sequences, perRow);
                }
            }
        }

        return cases;
    }

    /// <summary>A drafter that costs next to nothing, or a draft model: a depth takes 0.15 rows of a pass, and so does a token of a prompt.</summary>
    private static SetDrafter Hardly(string rightIn, bool costly, int sequences, double perRow, int tokens, bool oneOffs = false)
    {
        double row = 1 / (1 + perRow * (sequences - 1)); // a pass of one row, in plain steps
        return new SetDrafter
        {
            RunsModel = costly, Confidence = 0.95f, OneOffs = oneOffs, CallCost = costly ? 0 : 0.01 * row, DepthCost = costly ? 0.15 * row : 0, RowsCost = rows => 1 + perRow * (rows - 1),
            ReadCost = costly ? 0.15 * perRow * row : 0, Share = rightIn == "half of them" ? 0.5 : 0,
            IsRight = (step, done) => rightIn switch
            {
                "always" => true,
                "every third step" => step % 3 == 0,
                "twenty steps of forty" => step / 20 % 2 == 0,
                "first half" => done < tokens / 2,
                "second half" => done >= tokens / 2,
                _ => false,
            },
        };
    }

    [Fact]
    public void Of_several_models_the_one_that_is_right_drafts_as_deep_as_pays_and_the_others_are_asked_seldom()
    {
        SetDrafter wrong = new() { RunsModel = true }, good = new() { RunsModel = true, IsRight = (step, _) => step % 4 > 0 }, best = new() { RunsModel = true, IsRight = (_, _) => true };
        double time = new GovernorSimulation(_rig, [wrong, good, best]) { PerRow = 0.1 }.Run(Tokens).Time;
        double alone = Tokens / (1.0 + Depth) * (1 + 0.1 * Depth);
        Assert.InRange(time / alone, 1, 1.15);
        Assert.True(best.Calls > 8 * (wrong.Calls + good.Calls), $"{wrong.Calls}, {good.Calls} and {best.Calls} calls");
    }

    /// <summary>Of one that drafted it must be found out again, too, what it is worth: its text may come back.</summary>
    [Theory]
    [InlineData(false, 250)]
    [InlineData(true, 250)]
    [InlineData(true, 100_000)]
    public void A_model_that_drafted_is_asked_again_after_it_was_wrong_for_long(bool heads, int answers)
    {
        SetDrafter drafter = new() { RunsModel = true, IsRight = (_, done) => done is < Tokens or > 5 * Tokens, DepthCost = 0.1, ReadCost = heads ? 0 : 0.01, CarryCost = heads ? 0.02 : 0 };
        var simulation = new GovernorSimulation(_rig, [drafter], [heads], answers: answers, prompt: 100) { PerRow = 0.1 };
        Assert.InRange(simulation.Run(Tokens).Slowdown, 0, 0.5);
        simulation.Run(4 * Tokens + 1000);
        (double time, long produced) = (simulation.Time, simulation.Produced);
        simulation.Run(2 * Tokens);
        Assert.InRange((simulation.Time - time) / (simulation.Produced - produced), 0, 0.5);
    }

    [Fact]
    public void Drafts_are_no_deeper_than_pays()
    {
        var drafter = new SetDrafter { RunsModel = true, RightTo = 2 };
        var simulation = new GovernorSimulation(_rig, [drafter]) { PerRow = 0.3 };
        double time = simulation.Run(Tokens).Time;
        Assert.InRange(time, Tokens / 3.0 * 1.6 * 0.99, Tokens / 3.0 * 1.6 * 1.06); // two drafts and the bonus of three rows
        Assert.InRange(drafter.Drafted / (double)drafter.Calls, 2, 2.6);
    }

    [Fact]
    public void Hidden_states_are_kept_while_somebody_reads_them_who_may_pay()
    {
        SetDrafter heads = new() { RunsModel = true }, model = new() { RunsModel = true, IsRight = (_, _) => true };
        var simulation = new GovernorSimulation(_rig, [heads, model], readHidden: [true, false]) { PerRow = 0.1 };
        simulation.Run(Tokens);
        Assert.InRange(simulation.StepsWithHiddenStates, 4, simulation.Steps / 2);
        Assert.Equal(simulation.StepsWithHiddenStates, heads.CommittedCalls);
        Assert.Equal(simulation.Steps, model.CommittedCalls);

        (heads.IsRight, model.IsRight) = ((_, _) => true, (_, _) => false);
        simulation = new GovernorSimulation(_rig, [heads, model], readHidden: [true, false]) { PerRow = 0.1 };
        simulation.Run(Tokens);
        Assert.True(simulation.StepsWithHiddenStates > 0.9 * simulation.Steps, $"{simulation.StepsWithHiddenStates} of {simulation.Steps} steps");
    }

    /// <summary>
    /// Heads that would beat plain decoding, but not the model that drafts, whichever is listed first: whatever an answer's first steps take it for reading, states are handed
    /// on for a trial now and then and not in between.
    /// </summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Hidden_states_are_not_kept_for_heads_that_a_model_outdoes(bool headsFirst)
    {
        SetDrafter heads = new() { RunsModel = true, RightTo = 2, DepthCost = 0.05, CarryCost = 0.1 };
        SetDrafter model = new() { RunsModel = true, IsRight = (_, _) => true, DepthCost = 0.1, ReadCost = 0.01 };
        var simulation = new GovernorSimulation(_rig, headsFirst ? [heads, model] : [model, heads], [headsFirst, !headsFirst], answers: 120, prompt: 100) { PerRow = 0.1 };
        simulation.Run(Tokens);
        (int steps, int kept) = (simulation.Steps, simulation.StepsWithHiddenStates);
        simulation.Run(8 * Tokens);
        Assert.InRange((double)(simulation.StepsWithHiddenStates - kept) / (simulation.Steps - steps), 0.001, 0.1);
    }

    [Fact]
    public void Of_many_sequences_one_is_enough_to_find_out_that_a_drafter_does_not_pay()
    {
        var drafter = new SetDrafter { RunsModel = true };
        var simulation = new GovernorSimulation(_rig, [drafter], sequences: 4) { PerRow = 0.8 };
        Assert.InRange(simulation.Run(4 * Tokens).Slowdown, 0, 1.03);
        Assert.Equal(drafter.Calls, drafter.RequestsWithRoom);
        Assert.Equal(0, drafter.MeasuredCalls); // what four took says nothing of what it brought to one
        var right = new SetDrafter { RunsModel = true, IsRight = (_, _) => true };
        simulation = new GovernorSimulation(_rig, [right], sequences: 4) { PerRow = 0.1 };
        simulation.Run(4 * Tokens);
        Assert.True(right.RequestsWithRoom > 3.5 * right.Calls);
        Assert.Equal((right.RequestsWithRoom - right.Calls) / 3, right.MeasuredCalls); // calls are about one of the four or about all
    }

    /// <summary>Reading eight prompts costs more than the account holds: what one of them has shown makes it worth while.</summary>
    [Fact]
    public void A_draft_model_that_has_to_read_many_prompts_is_trusted_with_one_before_it_reads_all()
    {
        SetDrafter drafter = Hardly("always", costly: true, 8, 0.05, Tokens);
        var simulation = new GovernorSimulation(_rig, [drafter], sequences: 8, answers: 250, prompt: 100) { PerRow = 0.05 };
        simulation.Run(16 * 8);
        Assert.Equal(drafter.Calls, drafter.RequestsWithRoom);
        Assert.InRange(simulation.Run(4 * Tokens).Slowdown, 0, 0.7);
        Assert.True(drafter.RequestsWithRoom > 4 * drafter.Calls);
    }
}
