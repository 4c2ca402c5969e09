using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Numerics;

/// <summary>
/// Scales of sub-blocks by search: candidates round the values on slightly different grids, a weighted least-squares fit gives the best scale for each
/// rounding, and the candidate of least weighted error wins. Large values weigh more, as they move the products more.
/// </summary>
internal static class BlockSearch
{
    /// <summary>Grids that are tried: the full range stretched by up to about a level to either side.</summary>
    private const int Grids = 8;

    private const float FirstGrid = -0.9f, GridStep = 0.25f;

    /// <summary>Ranges below this count as zero: their inverse would overflow.</summary>
    private const float Negligible = 1e-30f;

    /// <summary>Scale s ≥ 0 and minimum m ≥ 0 such that s·q − m with q = 0..<paramref name="maxLevel"/> comes near the values. // values [32]</summary>
    public static (float Scale, float Minimum) ScaleAndMinimum(ReadOnlySpan<float> values, int maxLevel)
    {
        (float low, float high) = BlockRounding.Range(values);
        if (!float.IsFinite(high - low)) return (float.NaN, float.NaN);
        low = MathF.Min(low, 0); // a minimum is subtracted, never added
        if (high - low < Negligible) return (0, -low);
        ReadOnlySpan<Vector256<float>> x = MemoryMarshal.Cast<float, Vector256<float>>(values); // [4]
        Span<Vector256<float>> weights = stackalloc Vector256<float>[4], weighted = stackalloc Vector256<float>[4];
        Vector256<float> squares = Vector256<float>.Zero;
        foreach (Vector256<float> v in x) squares += v * v;
        Vector256<float> deviation = Vector256.Create(MathF.Sqrt(Vector256.Sum(squares) / values.Length)), sumW = default, sumWx = default, sumWxx = default;
        for (int i = 0; i < 4; i++)
        {
            weights[i] = deviation + Vector256.Abs(x[i]);
            weighted[i] = weights[i] * x[i];
            sumW += weights[i];
            sumWx += weighted[i];
            sumWxx += weighted[i] * x[i];
        }

        double w = Vector256.Sum(sumW), wx = Vector256.Sum(sumWx), wxx = Vector256.Sum(sumWxx);
        (double Scale, double Minimum, double Error) best = ((high - low) / maxLevel, -low, double.PositiveInfinity);
        for (int grid = 0; grid < Grids; grid++)
        {
            (double wq, double wqq, double wxq) = Sums(x, weights, weighted, low, (maxLevel + FirstGrid + grid * GridStep) / (high - low), maxLevel);
            double determinant = w * wqq - wq * wq;
            if (determinant <= 0) continue;
            double scale = (w * wxq - wx * wq) / determinant, minimum = (wq * wxq - wqq * wx) / determinant;
            if (minimum < 0) (scale, minimum) = (wxq / wqq, 0);
            double error = wxx - 2 * scale * wxq + 2 * minimum * wx + scale * scale * wqq - 2 * scale * minimum * wq + minimum * minimum * w;
            if (scale > 0 && error < best.Error) best = (scale, minimum, error);
        }

        return ((float)best.Scale, (float)best.Minimum);
    }

    /// <summary>Scale s of either sign such that s·q with q in [<paramref name="lowest"/>, <paramref name="highest"/>] comes near the values. // values [16]</summary>
    public static float SignedScale(ReadOnlySpan<float> values, int lowest, int highest)
    {
        float extreme = 0;
        foreach (float v in values)
        {
            if (!float.IsFinite(v)) return float.NaN;
            if (MathF.Abs(v) > MathF.Abs(extreme)) extreme = v;
        }

        if (MathF.Abs(extreme) < Negligible) return 0;
        ReadOnlySpan<Vector256<float>> x = MemoryMarshal.Cast<float, Vector256<float>>(values); // [2]
        Vector256<float> unit = Vector256.Create(1 / extreme), minimum = Vector256.Create((float)lowest), maximum = Vector256.Create((float)highest);
        float best = extreme / lowest;
        double bestGain = double.NegativeInfinity;
        for (int grid = 0; grid < Grids; grid++)
        {
            Vector256<float> stretch = Vector256.Create(lowest + FirstGrid + grid * GridStep), sumXq = default, sumQq = default;
            foreach (Vector256<float> v in x)
            {
                Vector256<float> share = v * unit; // in [−1, 1], so that the weights cannot overflow
                Vector256<float> q = Vector256.Min(Vector256.Max(Vector256.Round(share * stretch), minimum), maximum), weighted = share * share * q;
                sumXq += weighted * share;
                sumQq += weighted * q;
            }

            double xq = Vector256.Sum(sumXq), qq = Vector256.Sum(sumQq);
            if (qq <= 0 || xq * xq <= bestGain * qq) continue; // the fit s = xq / qq lowers the squared error by xq² / qq
            (best, bestGain) = ((float)(xq / qq) * extreme, xq * xq / qq);
        }

        return best;
    }

    /// <summary>Rounds the values on one grid and sums up what the fit needs: Σwq, Σwq², Σwxq.</summary>
    private static (double Wq, double Wqq, double Wxq) Sums(
        ReadOnlySpan<Vector256<float>> x, ReadOnlySpan<Vector256<float>> weights, ReadOnlySpan<Vector256<float>> weighted, float low, float inverse, int maxLevel)
    {
        Vector256<float> offset = Vector256.Create(low), factor = Vector256.Create(inverse), maximum = Vector256.Create((float)maxLevel);
        Vector256<float> wq = default, wqq = default, wxq = default;
        for (int i = 0; i < 4; i++)
        {
            Vector256<float> q = Vector256.Min(Vector256.Max(Vector256.Round((x[i] - offset) * factor), Vector256<float>.Zero), maximum), product = weights[i] * q;
            wq += product;
            wqq += product * q;
            wxq += weighted[i] * q;
        }

        return (Vector256.Sum(wq), Vector256.Sum(wqq), Vector256.Sum(wxq));
    }
}
