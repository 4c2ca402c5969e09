namespace Foretoken.Speculation;

/// <summary>What one step took. Times are ticks of <see cref="System.Diagnostics.Stopwatch"/>.</summary>
/// <param name="Rows">Rows of the pass, prompts included.</param>
/// <param name="PromptRows">Those that are no node of a tree.</param>
/// <param name="KeysRead">Live keys of one head that the rows attended to: all of a sequence for its first row, a quarter for each further one, which finds them in caches.</param>
/// <param name="DraftTicks">Time of <see cref="IDrafter.Propose"/>.</param>
/// <param name="VerifyTicks">Time of the rest: forward pass, acceptance, commit.</param>
public readonly record struct StepCost(int Rows, int PromptRows, long KeysRead, long DraftTicks, long VerifyTicks)
{
    /// <summary>Share of a sequence's keys that a further row of the same pass costs.</summary>
    public const double FurtherRow = 0.25;
}
