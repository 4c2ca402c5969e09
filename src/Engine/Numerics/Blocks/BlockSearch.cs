namespace Foretoken.Numerics;

/// <summary>
/// Scales of sub-blocks by search: candidates round the values on slightly different grids, a weighted least-squares fit gives the best scale for each
/// rounding, and the candidate of least weighted error wins. Large weights count more, as they move the products more.
/// </summary>
internal static class BlockSearch
{
    /// <summary>Grids that are tried: the full range stretched by up to about a level to either side.</summary>
    private const int Grids = 8;

    /// <summary>Ranges below this count as zero: their inverse would overflow.</summary>
    private const float Negligible = 1e-30f;

    /// <summary>Scale s ≥ 0 and minimum m ≥ 0 such that s·q − m with q = 0..<paramref name="maxLevel"/> comes near the values. // values [32]</summary>
    public static (float Scale, float Minimum) ScaleAndMinimum(ReadOnlySpan<float> values, int maxLevel)
    {
        (float low, float high) = BlockRounding.Range(values);
        if (!float.IsFinite(high - low)) return (float.NaN, float.NaN);
        low = MathF.Min(low, 0); // a minimum is subtracted, never added
        if (high - low < Negligible) return (0, -low);
        Span<float> weights = stackalloc float[values.Length];
        Weigh(values, weights);
        float bestScale = (high - low) / maxLevel, bestMinimum = -low, bestError = float.PositiveInfinity;
        for (int grid = 0; grid < Grids; grid++)
        {
            float inverse = (maxLevel - 0.9f + grid * 0.25f) / (high - low);
            double w = 0, wq = 0, wqq = 0, wx = 0, wxq = 0;
            for (int i = 0; i < values.Length; i++)
            {
                float q = Math.Clamp(MathF.Round((values[i] - low) * inverse), 0, maxLevel);
                float weighted = weights[i] * q;
                w += weights[i];
                wq += weighted;
                wqq += weighted * q;
                wx += weights[i] * values[i];
                wxq += weighted * values[i];
            }

            double determinant = w * wqq - wq * wq;
            if (determinant <= 0) continue;
            double scale = (w * wxq - wx * wq) / determinant, minimum = (wq * wxq - wqq * wx) / determinant;
            if (minimum < 0) (scale, minimum) = (wqq > 0 ? wxq / wqq : 0, 0);
            if (!(scale > 0)) continue;
            float error = Error(values, weights, (float)scale, (float)minimum, maxLevel);
            if (error < bestError) (bestScale, bestMinimum, bestError) = ((float)scale, (float)minimum, error);
        }

        return (bestScale, bestMinimum);
    }

    /// <summary>Scale s of either sign such that s·q with q in [<paramref name="lowest"/>, <paramref name="highest"/>] comes near the values.</summary>
    public static float SignedScale(ReadOnlySpan<float> values, int lowest, int highest)
    {
        float extreme = 0;
        foreach (float v in values)
        {
            if (!float.IsFinite(v)) return float.NaN;
            if (MathF.Abs(v) > MathF.Abs(extreme)) extreme = v;
        }

        if (MathF.Abs(extreme) < Negligible) return 0;
        float best = extreme / lowest;
        double bestGain = double.NegativeInfinity;
        for (int grid = 0; grid < Grids; grid++)
        {
            float inverse = (lowest - 0.9f + grid * 0.25f) / extreme; // the extreme comes out near the lowest level, which reaches one further
            double xq = 0, qq = 0;
            foreach (float v in values)
            {
                float q = Math.Clamp(MathF.Round(v * inverse), lowest, highest), weight = v * v;
                xq += weight * v * q;
                qq += weight * q * q;
            }

            if (qq <= 0 || xq * xq <= bestGain * qq) continue; // the fit s = xq / qq lowers the squared error by xq² / qq
            (best, bestGain) = ((float)(xq / qq), xq * xq / qq);
        }

        return best;
    }

    private static void Weigh(ReadOnlySpan<float> values, Span<float> weights)
    {
        float squares = 0;
        foreach (float v in values) squares += v * v;
        float deviation = MathF.Sqrt(squares / values.Length);
        for (int i = 0; i < values.Length; i++) weights[i] = deviation + MathF.Abs(values[i]);
    }

    private static float Error(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, float scale, float minimum, int maxLevel)
    {
        float error = 0, inverse = 1 / scale;
        for (int i = 0; i < values.Length; i++)
        {
            float q = Math.Clamp(MathF.Round((values[i] + minimum) * inverse), 0, maxLevel), difference = scale * q - minimum - values[i];
            error += weights[i] * difference * difference;
        }

        return error;
    }
}
