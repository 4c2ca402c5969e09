namespace Foretoken.Speculation.Trained;

/// <summary>
/// How many drafts of a step pay, by the passes of this very run. A step brings E tokens in T ticks; with λ, the tokens per tick of late, drafts are worth having if what
/// they bring is more than λ times what they cost, and so λ rises to the best that can be had (Dinkelbach's method for ratios). What a row of a pass costs is the slope
/// of the passes of late over their rows; sizes that would not be chosen are tried in the beginning and now and then, so that there is a slope and it does not age.
/// <para>For a drafter that is asked alone; several at a time are the <see cref="Governor"/>'s task.</para>
/// </summary>
internal sealed class PayingDrafts
{
    private const double Forget = 0.98;    // what a step counts beside the one after it
    private const int TriedSizes = 24;     // steps in the beginning that try trees of 1, 2, 4, … nodes
    private const int ProbeInterval = 16;  // afterwards one step in so many takes one node, or twice those that it would, in turn
    private const double Outlier = 2;      // a pass that was interrupted counts as so many of its kind at most
    private const double LeastSpread = 1;  // variance of the rows from which on their slope is known
    private double _weight, _rows, _squares, _verify, _products; // sums over passes: 1, n, n², t, n·t
    private double _tokens, _ticks, _level, _row;
    private long _steps;

    /// <summary>Whether thresholds are known.</summary>
    public bool Ready => _steps >= TriedSizes;

    /// <summary>Tells what a step brought and took.</summary>
    /// <param name="cost">Its cost; prompts are left out.</param>
    /// <param name="tokens">New tokens of all sequences.</param>
    public void Observe(in StepCost cost, int tokens)
    {
        if (cost.PromptRows > 0 || tokens == 0) return;
        if (++_steps == TriedSizes / 2) (_weight, _rows, _squares, _verify, _products, _tokens, _ticks) = (0, 0, 0, 0, 0, 0, 0); // code is compiled by then
        double n = cost.Rows, verify = Ready ? Math.Min(cost.VerifyTicks, Outlier * (_verify / _weight + _row * (n - _rows / _weight))) : cost.VerifyTicks;
        (_weight, _rows, _squares) = (Forget * _weight + 1, Forget * _rows + n, Forget * _squares + n * n);
        (_verify, _products) = (Forget * _verify + verify, Forget * _products + n * verify);
        (_tokens, _ticks) = (Forget * _tokens + tokens, Forget * _ticks + cost.DraftTicks + verify);
        double spread = _squares / _weight - _rows / _weight * (_rows / _weight);
        if (spread >= LeastSpread) _row = Math.Max(0, (_products / _weight - _rows / _weight * (_verify / _weight)) / spread);
    }

    /// <summary>Tells what one more level of drafting took, in ticks.</summary>
    public void ObserveLevel(long ticks) => _level = _level == 0 ? ticks : _level + 0.05 * (Math.Min(ticks, 2 * _level) - _level);

    /// <summary>Probability that a level must have of bringing a token, for each of <paramref name="sequences"/> sequences that it is drafted for together.</summary>
    public double LeastOfLevel(int sequences) => Ready ? _tokens / _ticks * (_level / sequences + _row) : 0;

    /// <summary>Of paths that are right with these probabilities, the likeliest first, how many are worth a row each.</summary>
    public int Count(ReadOnlySpan<float> paths)
    {
        if (!Ready) return Math.Min(paths.Length, 1 << (int)(_steps % 6));
        double least = _tokens / _ticks * _row;
        int count = 0;
        while (count < paths.Length && paths[count] > least) count++;
        if (_steps % ProbeInterval != 0) return count;
        return Math.Min(paths.Length, _steps / ProbeInterval % 2 == 0 ? 1 : 2 * count + 1);
    }
}
