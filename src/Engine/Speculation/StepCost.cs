namespace Foretoken.Speculation;

/// <summary>What one step took. Times are ticks of <see cref="System.Diagnostics.Stopwatch"/>.</summary>
/// <param name="Rows">Rows of the pass, prompts included.</param>
/// <param name="PromptRows">Those that are no node of a tree.</param>
/// <param name="KeysRead">Sum over rows of the live keys that each attended to, of one head.</param>
/// <param name="DraftTicks">Time of <see cref="IDrafter.Propose"/>.</param>
/// <param name="VerifyTicks">Time of the rest: forward pass, acceptance, commit.</param>
public readonly record struct StepCost(int Rows, int PromptRows, long KeysRead, long DraftTicks, long VerifyTicks);
