namespace Foretoken.Speculation;

/// <summary>
/// Keeps speculation from losing time, whatever drafters do: an account of what steps with drafts took beside what their tokens take plainly, in the time that one token
/// takes plainly, so that it means the same for one request and for many at a time. It fills by a share of the time that passes and by what drafts save, up to a limit;
/// what they lose is drawn from it, and no step may risk more than it holds, but for prompts that a drafter has to read. So beside what was saved before, any stretch of T tokens loses
/// little more than the account held without savings and that share of T, without knowing why drafts fail (a baseline constraint, as of conservative bandits, Wu et al., 2016).
/// </summary>
/// <param name="share">Share of the time that may be lost.</param>
internal sealed class SpendingLimit(double share)
{
    private const double Most = 30;          // tokens that it opens with and that time fills it to: with 1.2 % of the time, 2,000 tokens lose 54, less than 3 %
    private const double MostOfSequence = 4; // tokens of a sequence that savings fill it to: a step of many sequences that all draft deep risks as much
    private const double Least = -16;        // so that one bad step does not end speculation for thousands of tokens
    private const double Spare = 8, Credible = 16;
    private const double Reserve = 2, Working = 14; // tokens that reading leaves of an account that lends: for one sequence, for all

    private double _debt;                           // tokens that reading took beyond what it lends from: paid by savings, and by half of what time brings

    /// <summary>What may be risked, in tokens' plain time.</summary>
    public double Balance { get; private set; } = Most;

    /// <summary>Whether drafts may be tried.</summary>
    public bool Allows => Balance > 0;

    /// <summary>Whether it holds enough to find out what drafters are worth, and to leave something to those that pay.</summary>
    public bool Spares => Balance >= Spare;

    /// <summary>Whether a prompt may be read on credit, however long it is: what that takes is owed, and nothing is lent until no more is than the account can do without.</summary>
    public bool Lends => Balance - _debt >= Credible;

    /// <summary>A step passed in which nobody was asked.</summary>
    /// <param name="tokens">That it brought.</param>
    public void Pass(double tokens) => Balance = Math.Max(Balance, Math.Min(Most, Balance + Fill(tokens)));

    /// <summary>A step passed in which drafters were asked.</summary>
    /// <param name="time">It took as long as so many tokens take plainly.</param>
    /// <param name="reading">That a drafter spent before it to read what it had missed, in the same unit.</param>
    /// <param name="tokens">That it brought.</param>
    /// <param name="sequences">That took part.</param>
    /// <param name="invests">Several sequences were read, as drafts for all are expected to pay well.</param>
    public void Count(double time, double reading, double tokens, int sequences, bool invests)
    {
        double least = invests ? Working : Reserve, most = Math.Max(Most, MostOfSequence * sequences);
        if (Lends && Balance - reading < least) (_debt, Balance) = (_debt + least - (Balance - reading), least);
        else Balance -= reading;
        Balance += tokens - time + Fill(time);
        _debt = Math.Max(0, _debt - Math.Max(0, Balance - most));
        Balance = Math.Clamp(Balance, Least, most);
    }

    /// <summary>What so much time brings: a share of it, of which a debt takes half.</summary>
    private double Fill(double time)
    {
        double fill = share * time, paid = Math.Min(_debt, fill / 2);
        _debt -= paid;
        return fill - paid;
    }
}
