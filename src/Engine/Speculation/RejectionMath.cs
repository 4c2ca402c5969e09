using System.Numerics;

namespace Foretoken.Speculation;

/// <summary>The random decisions of an acceptance rule: the engine draws them from counters, tests enumerate them all.</summary>
internal interface IDraws<T>
{
    /// <summary>True with this probability; at 1 or more always.</summary>
    bool Accept(T probability);

    /// <summary>An index, drawn in proportion to the weights, whose sum is <paramref name="total"/>, above 0.</summary>
    int Draw(ReadOnlySpan<T> weights, T total);
}

/// <summary>
/// The lossless acceptance rules over distributions, in whatever numbers: the engine uses doubles, the tests exact fractions. Vectors are [vocab].
/// </summary>
internal static class RejectionMath<T, TDraws>
    where T : struct, IAdditionOperators<T, T, T>, ISubtractionOperators<T, T, T>, IMultiplyOperators<T, T, T>, IDivisionOperators<T, T, T>,
        IComparisonOperators<T, T, bool>, IAdditiveIdentity<T, T>, IMultiplicativeIdentity<T, T>
    where TDraws : IDraws<T>, allows ref struct
{
    private static T Zero => T.AdditiveIdentity;

    private static T One => T.MultiplicativeIdentity;

    /// <summary>
    /// Recursive rejection at one node: a child is accepted with min(1, p/q); the residual norm(max(p − q, 0)) judges the next child, and the last residual
    /// gives the token if all fail. Every child is a draw from q: one child is the chain rule (Leviathan et al., 2023); several with a fixed q are
    /// SpecInfer's multi-step sampling (Miao et al., 2023); several without replacement follow Jeon et al. (2024).
    /// </summary>
    /// <param name="p">The model's distribution; becomes the residual.</param>
    /// <param name="q">The drafter's distribution; empty for children that were chosen, not drawn: each counts as certain. Changed without replacement.</param>
    /// <param name="children">Tokens in the order in which they were drawn.</param>
    /// <param name="replacement">Whether a token that was drawn could be drawn again.</param>
    /// <param name="draws">Decides.</param>
    /// <param name="token">The accepted child's token, or the one drawn instead.</param>
    /// <returns>The index of the accepted child, or −1.</returns>
    public static int AcceptChild(Span<T> p, Span<T> q, ReadOnlySpan<int> children, bool replacement, scoped ref TDraws draws, out int token)
    {
        for (int c = 0; c < children.Length; c++)
        {
            token = children[c];
            T drawn = q.IsEmpty ? One : q[token];
            if (!(drawn > Zero)) break; // nothing was left to draw from
            if (draws.Accept(p[token] / drawn)) return c;
            if (!SubtractAndNormalise(p, q, token)) return c; // p and q were equal up to rounding
            if (!replacement && !q.IsEmpty && !Remove(q, token)) break;
        }

        token = draws.Draw(p, Sum(p));
        return -1;
    }

    /// <summary>
    /// One step of block verification (Sun et al., 2024): the probability ρ of having come so far, h of stopping here at the latest, and how both go on.
    /// </summary>
    /// <param name="rho">ρ up to this depth.</param>
    /// <param name="p">The model's distribution behind this depth.</param>
    /// <param name="q">The distribution that the next draft was drawn from; empty for a certain draft.</param>
    /// <param name="draft">The next draft.</param>
    /// <returns>h = Z / (Z + 1 − ρ) with Z = Σ max(ρ p − q, 0), and ρ of the next depth.</returns>
    public static (T Stop, T NextRho) BlockStep(T rho, ReadOnlySpan<T> p, ReadOnlySpan<T> q, int draft)
    {
        T z = Zero;
        for (int x = 0; x < p.Length; x++)
        {
            T left = rho * p[x] - Of(q, x, draft);
            if (left > Zero) z += left;
        }

        T whole = z + One - rho, drawn = Of(q, draft, draft), next = drawn > Zero ? rho * p[draft] / drawn : Zero;
        return (whole > Zero ? z / whole : One, next > One ? One : next);
    }

    /// <summary>The token behind an accepted block: from norm(max(ρ p − q, 0)).</summary>
    public static int BlockToken(T rho, Span<T> p, ReadOnlySpan<T> q, int draft, scoped ref TDraws draws)
    {
        T sum = Zero, before = Sum(p);
        for (int x = 0; x < p.Length; x++)
        {
            T left = rho * p[x] - Of(q, x, draft);
            if (left > Zero) sum += left;
        }

        if (!(sum > Zero)) return draws.Draw(p, before); // rounding left nothing
        for (int x = 0; x < p.Length; x++)
        {
            T left = rho * p[x] - Of(q, x, draft);
            p[x] = left > Zero ? left : Zero;
        }

        return draws.Draw(p, sum);
    }

    public static T Sum(ReadOnlySpan<T> values)
    {
        T sum = Zero;
        foreach (T value in values) sum += value;
        return sum;
    }

    private static T Of(ReadOnlySpan<T> q, int x, int draft) => q.IsEmpty ? (x == draft ? One : Zero) : q[x];

    /// <summary>p = norm(max(p − q, 0)).</summary>
    /// <returns>False, with p unchanged, if nothing is left.</returns>
    private static bool SubtractAndNormalise(Span<T> p, ReadOnlySpan<T> q, int draft)
    {
        T sum = Zero;
        for (int x = 0; x < p.Length; x++)
        {
            T left = p[x] - Of(q, x, draft);
            if (left > Zero) sum += left;
        }

        if (!(sum > Zero)) return false;
        for (int x = 0; x < p.Length; x++)
        {
            T left = p[x] - Of(q, x, draft);
            p[x] = left > Zero ? left / sum : Zero;
        }

        return true;
    }

    /// <summary>Takes a drawn token out of q.</summary>
    /// <returns>False if nothing is left to draw from.</returns>
    private static bool Remove(Span<T> q, int token)
    {
        q[token] = Zero;
        T sum = Sum(q);
        if (!(sum > Zero)) return false;
        for (int x = 0; x < q.Length; x++) q[x] /= sum;
        return true;
    }
}
