using Foretoken.Numerics;

namespace Foretoken.Speculation;

/// <summary>
/// The random numbers of one round of one sequence: functions of (seed, position of the round's root, index). A round's root stands further on than any before
/// it, so no number is used twice, also where a position is drafted again.
/// </summary>
internal struct CounterDraws(ulong seed, int root, uint first) : IDraws<double>
{
    /// <summary>First index of a rule's decisions; index 0 is plain sampling's.</summary>
    public const uint RuleDraws = 1;

    /// <summary>First index of a drafter's draws.</summary>
    public const uint DraftDraws = 1 << 24;

    private uint _next = first;

    public bool Accept(double probability) => Uniform() < probability;

    public int Draw(ReadOnlySpan<double> weights, double total)
    {
        double target = Uniform() * total, sum = 0;
        int last = 0;
        for (int i = 0; i < weights.Length; i++)
        {
            if (weights[i] == 0) continue;
            sum += weights[i];
            last = i;
            if (sum > target) return i;
        }

        return last; // rounding kept the sum from passing the target
    }

    private double Uniform() => CounterRandom.Uniform(seed, (ulong)root, _next++);
}
