using Foretoken.KvCache;

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

    /// <summary>What <see cref="KeysRead"/> counts for one sequence of a pass, before it is committed. The first head stands for all.</summary>
    /// <param name="cache">Holds the sequence.</param>
    /// <param name="sequence">Its index in the cache.</param>
    /// <param name="rows">Rows that it brings, at least 1.</param>
    public static double KeysOf(PagedKvCache cache, int sequence, int rows) => cache.LiveTokens(sequence, 0, 0) * (1 + FurtherRow * (rows - 1));
}
