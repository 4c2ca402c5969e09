using Foretoken.Backends;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Generation;

namespace Foretoken.Tests.Speculation;

/// <summary>What the Governor chooses among drafters whose rightness is set, over passes whose costs are: beside those, the time that the test itself takes is nothing.</summary>
public sealed class GovernorChoiceTests : IDisposable
{
    private const int Tokens = 2000, Depth = 6;
    private readonly LoopRig _rig = new(LoopRig.Options(maxSequences: 4));

    public GovernorChoiceTests()
    {
        for (int s = 0; s < 4; s++) Assert.Equal(s, _rig.Cache.TryAcquire());
    }

    public void Dispose() => _rig.Dispose();

    [Theory]
    [InlineData("wrong", false)]
    [InlineData("wrong", true)]
    [InlineData("every third step", false)]
    [InlineData("every third step", true)]
    [InlineData("every twentieth step", false)]
    [InlineData("every twentieth step", true)]
    [InlineData("first half", false)]
    [InlineData("first half", true)]
    public void Whatever_drafters_do_little_time_is_lost(string rightIn, bool costly)
    {
        var drafter = new SetDrafter { RunsModel = costly, Confidence = 0.97f };
        drafter.IsRight = (step, tokens) => rightIn switch
        {
            "wrong" => false,
            "every third step" => step % 3 == 0,
            "every twentieth step" => step / 20 % 2 == 0,
            _ => tokens < Tokens / 2,
        };
        Assert.InRange(Run(new Simulation(this, [drafter]) { PerRow = 0.8 }) / Tokens, 0, 1.03);
        Assert.True(drafter.Calls >= 4);
    }

    [Fact]
    public void Of_several_models_the_one_that_is_right_drafts_as_deep_as_pays_and_the_others_are_asked_seldom()
    {
        SetDrafter wrong = new() { RunsModel = true }, good = new() { RunsModel = true, IsRight = (step, _) => step % 4 > 0 }, best = new() { RunsModel = true, IsRight = (_, _) => true };
        double time = Run(new Simulation(this, [wrong, good, best]) { PerRow = 0.1 });
        double alone = Tokens / (1.0 + Depth) * (1 + 0.1 * Depth);
        Assert.InRange(time / alone, 1, 1.15);
        Assert.True(best.Calls > 8 * (wrong.Calls + good.Calls), $"{wrong.Calls}, {good.Calls} and {best.Calls} calls");
    }

    [Fact]
    public void Drafts_are_no_deeper_than_pays()
    {
        var drafter = new SetDrafter { RunsModel = true, RightTo = 2 };
        var simulation = new Simulation(this, [drafter]) { PerRow = 0.3 };
        double time = Run(simulation);
        Assert.InRange(time, Tokens / 3.0 * 1.6 * 0.99, Tokens / 3.0 * 1.6 * 1.06); // two drafts and the bonus of three rows
        Assert.InRange(drafter.Drafted / (double)drafter.Calls, 2, 2.6);
    }

    [Fact]
    public void Hidden_states_are_kept_while_somebody_reads_them_who_may_pay()
    {
        SetDrafter heads = new() { RunsModel = true }, model = new() { RunsModel = true, IsRight = (_, _) => true };
        var simulation = new Simulation(this, [heads, model], readHidden: [true, false]) { PerRow = 0.1 };
        Run(simulation);
        Assert.InRange(simulation.StepsWithHiddenStates, 4, simulation.Steps / 2);
        Assert.Equal(simulation.StepsWithHiddenStates, heads.CommittedCalls);
        Assert.Equal(simulation.Steps, model.CommittedCalls);

        (heads.IsRight, model.IsRight) = ((_, _) => true, (_, _) => false);
        simulation = new Simulation(this, [heads, model], readHidden: [true, false]) { PerRow = 0.1 };
        Run(simulation);
        Assert.True(simulation.StepsWithHiddenStates > 0.9 * simulation.Steps, $"{simulation.StepsWithHiddenStates} of {simulation.Steps} steps");
    }

    [Fact]
    public void Of_many_sequences_one_is_enough_to_find_out_that_a_drafter_does_not_pay()
    {
        var drafter = new SetDrafter { RunsModel = true };
        var simulation = new Simulation(this, [drafter], sequences: 4) { PerRow = 0.8 };
        Assert.InRange(Run(simulation) / Tokens, 0, 1.03);
        Assert.Equal(drafter.Calls, drafter.RequestsWithRoom);
        var right = new SetDrafter { RunsModel = true, IsRight = (_, _) => true };
        simulation = new Simulation(this, [right], sequences: 4) { PerRow = 0.1 };
        Run(simulation);
        Assert.True(right.RequestsWithRoom > 3.5 * right.Calls);
    }

    private static double Run(Simulation simulation)
    {
        while (simulation.Produced < Tokens) simulation.Step();
        return simulation.Time;
    }

    /// <summary>Steps of a loop whose model always says the next number, and whose passes take what they are set to.</summary>
    private sealed class Simulation
    {
        private const double PlainTicks = 1e9;
        private readonly Governor _governor;
        private readonly FeatureTaps _taps;
        private readonly TokenHistory[] _paths;
        private readonly RowBatch _rows = new(4);
        private readonly TokenForest _forest;
        private readonly DraftRequest[] _requests;

        public Simulation(GovernorChoiceTests test, SetDrafter[] drafters, bool[]? readHidden = null, int sequences = 1)
        {
            var plan = new MemoryPlan();
            _taps = new FeatureTaps(test._rig.Model.Shape, 64, plan);
            var context = new DrafterContext { Target = test._rig.Model, TargetCache = test._rig.Cache, Plan = plan, MaxSequences = 4, ContextLength = 64, Taps = _taps };
            _governor = new Governor(new GovernorOptions(drafters.Select(_ => new NgramOptions()).ToArray()), context, drafters, readHidden ?? new bool[drafters.Length]);
            _paths = [.. Enumerable.Range(0, sequences).Select(_ => new TokenHistory([0], 2 * Tokens))];
            _requests = new DraftRequest[sequences];
            _forest = new TokenForest(sequences, sequences * (1 + _governor.MaxNodes));
        }

        /// <summary>Cost of a further row, in passes of one.</summary>
        public double PerRow { get; init; }

        public int Steps { get; private set; }

        public int StepsWithHiddenStates { get; private set; }

        /// <summary>Tokens of each sequence.</summary>
        public double Produced => _paths.Average(p => p.GeneratedCount);

        /// <summary>Time so far, in passes of as many rows as there are sequences.</summary>
        public double Time { get; private set; }

        public void Step()
        {
            int sequences = _paths.Length;
            _forest.Clear();
            for (int s = 0; s < sequences; s++)
            {
                _forest.AddTree(_paths[s].Last, _governor.MaxNodes);
                _requests[s] = new DraftRequest(s, s, _paths[s], SamplingOptions.Greedy, _governor.MaxNodes, 30);
            }

            _governor.Propose(_requests, _forest);
            StepsWithHiddenStates += _taps.Paused ? 0 : 1;
            var acceptances = new Acceptance[sequences];
            for (int s = 0; s < sequences; s++)
            {
                int node = _forest.Root(s), accepted = 0;
                while (_forest.FindChild(node, _paths[s].Last + 1) is var next and >= 0)
                {
                    _paths[s].Append(_paths[s].Last + 1);
                    (node, accepted) = (next, accepted + 1);
                }

                _paths[s].Append(_paths[s].Last + 1);
                acceptances[s] = new Acceptance(s, s, 1 + accepted, 1 + accepted, AcceptanceEnd.Tree);
            }

            double cost = (1 + PerRow * (_forest.Count - 1)) / (1 + PerRow * (sequences - 1));
            _governor.Committed(0, _paths[0], _rows, [0]);
            _governor.Observe(_requests, acceptances, _forest);
            _governor.Measured(new StepCost(_forest.Count, 0, 0, 0, (long)(PlainTicks * cost)));
            Time += cost;
            Steps++;
        }
    }

    /// <summary>Drafts the numbers that follow, or others.</summary>
    private sealed class SetDrafter : IDrafter
    {
        private int _steps, _tokens;

        /// <summary>Whether it is right, by the steps and tokens that have passed.</summary>
        public Func<int, int, bool> IsRight { get; set; } = (_, _) => false;

        /// <summary>Drafts of this many tokens are right in any case.</summary>
        public int RightTo { get; init; }

        public float Confidence { get; init; } = 0.9f;

        public int Calls { get; private set; }

        public int Drafted { get; private set; }

        public int RequestsWithRoom { get; private set; }

        public int CommittedCalls { get; private set; }

        public string Name => "set";

        public int MaxNodes => GovernorChoiceTests.Depth;

        public bool RunsModel { get; init; }

        public void Propose(ReadOnlySpan<DraftRequest> requests, TokenForest forest)
        {
            Calls++;
            bool right = IsRight(_steps, _tokens);
            foreach (DraftRequest r in requests)
            {
                int node = forest.Root(r.Tree), limit = Math.Min(r.MaxNodes, r.MaxDepth);
                RequestsWithRoom += limit > 0 ? 1 : 0;
                for (int d = 1; d <= Math.Min(limit, GovernorChoiceTests.Depth); d++, Drafted++) node = forest.Add(node, right || d <= RightTo ? r.Path.Last + d : -d, Confidence);
            }
        }

        public void Committed(int sequence, TokenHistory path, RowBatch rows, ReadOnlySpan<int> accepted)
        {
            CommittedCalls++;
            _tokens = path.GeneratedCount;
        }

        public void Observe(ReadOnlySpan<DraftRequest> requests, ReadOnlySpan<Acceptance> acceptances, TokenForest forest)
        {
        }

        public void Measured(in StepCost cost)
        {
            _steps++;
        }

        public void Release(int sequence)
        {
        }

        public void Dispose()
        {
        }
    }
}
