namespace Foretoken.Generation;

/// <summary>
/// Whom the <see cref="Scheduler"/> takes pages from and how many rows a sequence brings: its rules, apart from its books. Tests put wrong ones in their
/// place, to see that wrong rules are noticed.
/// </summary>
internal class SchedulingRules
{
    public static SchedulingRules Default { get; } = new();

    /// <summary>Who gives way: the last in rank.</summary>
    /// <param name="candidates">Running sequences that may have to, in rank order.</param>
    /// <param name="taken">How many of them have been chosen already.</param>
    public virtual Sequence Victim(ReadOnlySpan<Sequence> candidates, int taken) => candidates[^(taken + 1)];

    /// <summary>Rows that a sequence brings to a pass: its newest token always, of a prompt what there is room for.</summary>
    /// <param name="sequence">A running sequence.</param>
    /// <param name="pending">Its tokens that are not in the cache.</param>
    /// <param name="room">Rows that prompts may take.</param>
    public virtual int Rows(Sequence sequence, int pending, int room) => pending == 1 ? 1 : Math.Min(pending, room);
}
