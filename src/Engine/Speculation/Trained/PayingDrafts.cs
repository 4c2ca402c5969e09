namespace Foretoken.Speculation.Trained;

/// <summary>
/// How many drafts of a step pay, by the passes of this very run. A step brings E tokens in T ticks; with λ, the tokens per tick of late, drafts are worth having if what
/// they bring is more than λ times what they cost, and so λ rises to the best that can be had (Dinkelbach's method for ratios). What passes cost is learned per row count by
/// <see cref="StepCostModel"/>, which an interruption moves little; and everything is reckoned in costs as learned, never in what a step happened to take: on a machine that
/// others use as well, noise of a step would otherwise be taken for a price. Sizes that would not be chosen are tried in the beginning, and now and then while the fitted tree drafts.
/// <para>What paths are said to be worth and what rows cost may both be wrong. So a small tree of a set size stands beside the fitted one: each drafts now and then, and the one
/// that brought more tokens per tick, by the clock, drafts otherwise.</para>
/// <para>For a drafter that is asked alone; several at a time are the <see cref="Governor"/>'s task.</para>
/// </summary>
/// <param name="maxRows">Most rows of a pass that are told apart.</param>
/// <param name="maxLevelRows">Most rows of a level of drafting.</param>
/// <param name="small">Nodes of the small tree.</param>
/// <param name="priorPerKey"><see cref="StepCostModel.PriorPerKey"/> of the target.</param>
internal sealed class PayingDrafts(int maxRows, int maxLevelRows, int small, double priorPerKey)
{
    private const double Forget = 0.98;       // what a step counts beside the one after it
    private const int TriedSizes = 24;        // steps in the beginning that try trees of 1, 2, 4, … nodes
    private const int ProbeInterval = 16;     // afterwards one step in so many takes one node, or twice those that it would, in turn
    private const int Trials = 32, Challenge = 8; // steps in which the small and the fitted tree take turns; afterwards one in so many is the other's
    private const double Slow = 4;            // what took more times than usual was interrupted for a reason that is not its own
    private const int RowSpan = 8;            // rows over which the price of one is taken where it is not known how many there will be
    private const double Outlier = 1.3;       // what took more times than usual was interrupted
    private const double Rate = 1.0 / 16;
    private const int MostRows = 512;
    private readonly StepCostModel _passes = new(maxRows) { PriorPerKey = priorPerKey };
    private readonly StepCostModel _levels = new(maxLevelRows);
    private readonly (double Tokens, double Ticks)[] _brought = new (double, double)[2]; // of late, by the clock: the small tree, the fitted one
    private int _turn = 1;                    // whose step it is
    private double _tokens, _ticks;           // of late
    private double _rest;                     // usual ticks of drafting outside levels
    private double _usualLevels;              // of the step, as they usually take
    private long _levelTicks, _steps, _rests;
    private int _rows;                        // of the step's pass so far

    /// <param name="context">The target.</param>
    /// <param name="nodes">Most nodes of a tree.</param>
    /// <param name="width">Most rows of a level for one sequence.</param>
    /// <param name="small">Nodes of the small tree.</param>
    public static PayingDrafts For(DrafterContext context, int nodes, int width, int small) => new(
        Math.Min(context.MaxSequences * (1 + nodes), MostRows), context.MaxSequences * width, small, StepCostModel.PriorFor(context.Target.Shape, context.TargetCache.Options.Layout));

    /// <summary>Whether thresholds are known.</summary>
    public bool Ready => _steps >= TriedSizes;

    /// <summary>Probability that a path must have for its end to be worth a row of the target's pass, so also for what comes behind it.</summary>
    public float LeastOfRow => Ready ? (float)(PerTick * RowTicks) : 0;

    private double PerTick => _tokens / _ticks;

    /// <summary>Ticks of a further row.</summary>
    private double RowTicks => Math.Max(0, (_passes.Fixed(_rows + RowSpan) - _passes.Fixed(_rows)) / RowSpan);

    /// <summary>A step begins.</summary>
    /// <param name="roots">Rows that its pass has anyway.</param>
    public void BeginStep(int roots)
    {
        (_rows, _usualLevels, _levelTicks) = (Math.Max(1, roots), 0, 0);
        if (!Ready) return;
        int better = _brought[1].Tokens * _brought[0].Ticks > _brought[0].Tokens * _brought[1].Ticks ? 1 : 0;
        _turn = _steps < TriedSizes + Trials ? (int)(_steps & 1) : _steps % Challenge == 0 ? 1 - better : better;
    }

    /// <summary>Tells what a step brought and took.</summary>
    /// <param name="cost">Its cost; prompts are left out.</param>
    /// <param name="tokens">New tokens of all sequences.</param>
    public void Observe(in StepCost cost, int tokens)
    {
        if (cost.PromptRows > 0 || tokens == 0) return;
        _passes.Observe(cost);
        bool wasReady = Ready;
        double rest = Math.Max(1, cost.DraftTicks - _levelTicks);
        _rest = ++_rests <= TriedSizes / 3 ? (_rests == 1 ? rest : Math.Min(_rest, rest)) : _rest + Rate * (Math.Min(rest, Outlier * _rest) - _rest);
        if (++_steps == TriedSizes / 2) (_tokens, _ticks) = (0, 0); // code is compiled by then
        double usual = _rest + _usualLevels + _passes.Predict(cost.Rows, cost.KeysRead);
        (_tokens, _ticks) = (Forget * _tokens + tokens, Forget * _ticks + usual);
        if (!wasReady) return;
        ref (double Tokens, double Ticks) brought = ref _brought[_turn];
        brought = (Forget * brought.Tokens + tokens, Forget * brought.Ticks + Math.Min(cost.DraftTicks + cost.VerifyTicks, Slow * usual));
    }

    /// <summary>Tells what one more level of drafting took.</summary>
    public void ObserveLevel(int rows, long ticks)
    {
        _levels.Observe(new StepCost(rows, 0, 0, 0, ticks));
        _levelTicks += ticks;
        _usualLevels += _levels.Fixed(rows);
    }

    /// <summary>Probability that a level must have of bringing a token, for each of <paramref name="sequences"/> sequences that it is drafted for together.</summary>
    /// <param name="sequences">Sequences.</param>
    /// <param name="rows">Rows of the level.</param>
    public double LeastOfLevel(int sequences, int rows) => Ready ? PerTick * (_levels.Fixed(rows) / sequences + RowTicks) : 0;

    /// <summary>Of paths that are right with these probabilities, the likeliest first, how many are worth a row each. Called once per tree of a step.</summary>
    public int Count(ReadOnlySpan<float> paths)
    {
        int count = !Ready ? Math.Min(paths.Length, 1 << (int)(_steps % 6)) : _turn == 0 ? Math.Min(paths.Length, small) : Best(paths);
        if (Ready && _turn == 1 && _steps % ProbeInterval == 1) count = Math.Min(paths.Length, _steps / ProbeInterval % 2 == 0 ? 1 : 2 * count + 1);
        _rows += count;
        return count;
    }

    /// <summary>The number that brings most beyond its price; row counts have prices of their own, so that two more may pay where one does not.</summary>
    private int Best(ReadOnlySpan<float> paths)
    {
        int best = 0;
        double sum = 0, most = 0, start = _passes.Fixed(_rows);
        for (int i = 0; i < paths.Length; i++)
        {
            sum += paths[i];
            double gain = sum - PerTick * (_passes.Fixed(_rows + i + 1) - start);
            if (gain > most) (best, most) = (i + 1, gain);
        }

        return best;
    }
}
