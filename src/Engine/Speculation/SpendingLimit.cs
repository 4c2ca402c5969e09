namespace Foretoken.Speculation;

/// <summary>
/// Keeps speculation from losing time, whatever drafters do: an account of what steps with drafts took beside what their tokens take plainly. It fills by a share of the
/// time that passes and by what drafts save, up to a limit, and what they lose is drawn from it; while it is empty, steps are plain. So the loss of any stretch of
/// text is bounded by that share and the limit, without knowing why drafts fail (a baseline constraint, as of conservative bandits, Wu et al., 2016).
/// </summary>
/// <param name="share">Share of the time that may be lost.</param>
internal sealed class SpendingLimit(double share)
{
    private const double Most = 40, First = 10, Deepest = -6; // in plain steps: a drafter that has to read a prompt spends before it saves
    private const double Outlier = 2;                         // what took more times than expected was interrupted
    private const double Rate = 1.0 / 64;
    private const int Grace = 4;                              // steps that drafters have got to save again what reading cost them, once they may be asked
    private double _balance = First;                          // in plain steps of the moment
    private int _grace;
    private double _busy = 1;                                 // what plain steps take over what they were expected to: more on a busy machine

    /// <summary>Whether drafts may be tried.</summary>
    public bool Allows => _balance > 0 || _grace > 0;

    /// <summary>A plain step passed, nobody was asked.</summary>
    /// <param name="ticks">It took so long.</param>
    /// <param name="plain">It was expected to take so long.</param>
    public void Pass(double ticks, double plain)
    {
        _busy += (Math.Clamp(ticks / plain, 1, Outlier) - _busy) * Rate;
        bool empty = _balance <= 0;
        _balance = Math.Min(Most, _balance + share);
        if (empty && _balance > 0) _grace = Grace;
    }

    /// <summary>A step passed in which drafters were asked.</summary>
    /// <param name="draft">Drafting took so long, without interruptions.</param>
    /// <param name="ticks">The rest took so long.</param>
    /// <param name="expected">The rest was expected to take so long.</param>
    /// <param name="plain">A plain step of the batch was expected to take so long.</param>
    /// <param name="gained">Tokens that it brought over those of a plain step, per sequence.</param>
    public void Count(double draft, double ticks, double expected, double plain, double gained)
    {
        double steps = (draft + Math.Min(ticks, Outlier * expected)) / (plain * _busy);
        if (_grace > 0) _grace--;
        _balance = Math.Clamp(_balance + 1 + gained - steps + share * steps, Deepest, Most);
    }
}
