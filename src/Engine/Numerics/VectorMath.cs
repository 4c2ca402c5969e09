using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Numerics;

/// <summary>
/// Elementary functions on vectors. Every width runs the same operations in the same order, with fused multiply-adds, so that a value's bits do
/// not depend on the vector length or on the lane that it stands in.
/// </summary>
public static class VectorMath
{
    // exp(x) = 2^n · exp(r), n = round(x / ln 2), |r| ≤ ln 2 / 2. Adding 1.5 · 2^23 rounds to an integer that then stands in the low mantissa bits;
    // ln 2 is split so that n · Ln2High is exact. exp(r) = 1 + r + r² · q(r) with q fitted to the least maximal relative error (3.1e-9).
    internal const float Rounder = 12582912f;
    internal const float Log2E = 1.44269504f, Ln2High = 0.693145752f, Ln2Low = 1.42860682e-6f;
    internal const float Q0 = 0.499999933728f, Q1 = 0.166665196395f, Q2 = 0.0416683954148f, Q3 = 0.00836883835549f, Q4 = 0.00138147825258f;

    /// <summary>Smallest argument whose exponential is a normal number; below it the result is exactly 0.</summary>
    public const float ExpMinimum = -87.33654f;

    /// <summary>Largest argument whose exponential is finite; above it the result is +∞.</summary>
    public const float ExpMaximum = 88.72283f;

    /// <summary>
    /// e^x with a relative error below 1.2e-7 (one unit in the last place) from <see cref="ExpMinimum"/> to <see cref="ExpMaximum"/>; exactly 0 below
    /// (so −∞ gives 0 and no result is denormal), +∞ above, NaN for NaN, exactly 1 for 0.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp(Vector512<float> x) => Vector512.ConditionalSelect(
        Vector512.GreaterThan(x, Vector512.Create(ExpMaximum)), Vector512.Create(float.PositiveInfinity), ExpOfNonPositive(x));

    /// <summary>The same bits for x ≤ 0 and for NaN, with fewer instructions; wrong above <see cref="ExpMaximum"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ExpOfNonPositive(Vector512<float> x)
    {
        Vector512<float> shifted = Vector512.FusedMultiplyAdd(x, Vector512.Create(Log2E), Vector512.Create(Rounder));
        Vector512<float> n = shifted - Vector512.Create(Rounder);
        Vector512<float> r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-Ln2High), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-Ln2Low), r);
        Vector512<float> q = Vector512.FusedMultiplyAdd(Vector512.Create(Q4), r, Vector512.Create(Q3));
        q = Vector512.FusedMultiplyAdd(q, r, Vector512.Create(Q2));
        q = Vector512.FusedMultiplyAdd(q, r, Vector512.Create(Q1));
        q = Vector512.FusedMultiplyAdd(q, r, Vector512.Create(Q0));
        q = Vector512.FusedMultiplyAdd(q, r * r, r) + Vector512<float>.One;
        Vector512<float> result = (q.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
        result = Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512.Create(ExpMinimum)), Vector512<float>.Zero, result);
        return Vector512.ConditionalSelect(Vector512.Equals(x, x), result, x);
    }

    /// <inheritdoc cref="Exp(Vector512{float})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Exp(Vector256<float> x) => Vector256.ConditionalSelect(
        Vector256.GreaterThan(x, Vector256.Create(ExpMaximum)), Vector256.Create(float.PositiveInfinity), ExpOfNonPositive(x));

    /// <summary>The same bits for x ≤ 0 and for NaN, with fewer instructions; wrong above <see cref="ExpMaximum"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ExpOfNonPositive(Vector256<float> x)
    {
        Vector256<float> shifted = Vector256.FusedMultiplyAdd(x, Vector256.Create(Log2E), Vector256.Create(Rounder));
        Vector256<float> n = shifted - Vector256.Create(Rounder);
        Vector256<float> r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-Ln2High), x);
        r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-Ln2Low), r);
        Vector256<float> q = Vector256.FusedMultiplyAdd(Vector256.Create(Q4), r, Vector256.Create(Q3));
        q = Vector256.FusedMultiplyAdd(q, r, Vector256.Create(Q2));
        q = Vector256.FusedMultiplyAdd(q, r, Vector256.Create(Q1));
        q = Vector256.FusedMultiplyAdd(q, r, Vector256.Create(Q0));
        q = Vector256.FusedMultiplyAdd(q, r * r, r) + Vector256<float>.One;
        Vector256<float> result = (q.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
        result = Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256.Create(ExpMinimum)), Vector256<float>.Zero, result);
        return Vector256.ConditionalSelect(Vector256.Equals(x, x), result, x);
    }

    /// <inheritdoc cref="Exp(Vector512{float})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Exp(Vector128<float> x) => Vector128.ConditionalSelect(
        Vector128.GreaterThan(x, Vector128.Create(ExpMaximum)), Vector128.Create(float.PositiveInfinity), ExpOfNonPositive(x));

    /// <summary>The same bits for x ≤ 0 and for NaN, with fewer instructions; wrong above <see cref="ExpMaximum"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ExpOfNonPositive(Vector128<float> x)
    {
        Vector128<float> shifted = Vector128.FusedMultiplyAdd(x, Vector128.Create(Log2E), Vector128.Create(Rounder));
        Vector128<float> n = shifted - Vector128.Create(Rounder);
        Vector128<float> r = Vector128.FusedMultiplyAdd(n, Vector128.Create(-Ln2High), x);
        r = Vector128.FusedMultiplyAdd(n, Vector128.Create(-Ln2Low), r);
        Vector128<float> q = Vector128.FusedMultiplyAdd(Vector128.Create(Q4), r, Vector128.Create(Q3));
        q = Vector128.FusedMultiplyAdd(q, r, Vector128.Create(Q2));
        q = Vector128.FusedMultiplyAdd(q, r, Vector128.Create(Q1));
        q = Vector128.FusedMultiplyAdd(q, r, Vector128.Create(Q0));
        q = Vector128.FusedMultiplyAdd(q, r * r, r) + Vector128<float>.One;
        Vector128<float> result = (q.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
        result = Vector128.ConditionalSelect(Vector128.LessThan(x, Vector128.Create(ExpMinimum)), Vector128<float>.Zero, result);
        return Vector128.ConditionalSelect(Vector128.Equals(x, x), result, x);
    }

    /// <summary>The same function of one value, with the same bits.</summary>
    public static float Exp(float x) => Exp(Vector128.CreateScalar(x)).ToScalar();
}
