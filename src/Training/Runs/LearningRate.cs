namespace Foretoken.Training;

/// <summary>The factor on the learning rates at each step; steps count from 0.</summary>
internal static class LearningRate
{
    /// <summary>Warm-up, plateau, then linear to the final factor between the decay's first and last step (none while it is unknown).</summary>
    public static double Trapezoid(RecipeSchedule schedule, int step, int? decayStart, int? decaySteps)
    {
        double factor = WarmUp(schedule, step);
        if (decayStart is not { } start || decaySteps is not { } steps || step < start) return factor;
        double done = Math.Min(1, (step - start + 1) / (double)steps);
        return factor * (1 + (schedule.FinalFactor - 1) * done);
    }

    /// <summary>Warm-up, then half a cosine down to the final factor.</summary>
    public static double Cosine(RecipeSchedule schedule, int step)
    {
        int total = schedule.TotalSteps!.Value;
        double done = Math.Clamp((step - schedule.WarmupSteps) / (double)Math.Max(1, total - schedule.WarmupSteps), 0, 1);
        return WarmUp(schedule, step) * (schedule.FinalFactor + (1 - schedule.FinalFactor) * 0.5 * (1 + Math.Cos(Math.PI * done)));
    }

    /// <summary>Warm-up, then straight lines between the points; the last point ends the run.</summary>
    public static double Piecewise(RecipeSchedule schedule, int step, long trainedTokens)
    {
        List<RecipePoint> points = schedule.Points;
        int next = points.FindIndex(point => point.Tokens > trainedTokens);
        if (next < 0) return WarmUp(schedule, step) * points[^1].Factor;
        RecipePoint from = points[next - 1], to = points[next];
        double done = (trainedTokens - from.Tokens) / (double)(to.Tokens - from.Tokens);
        return WarmUp(schedule, step) * (from.Factor + (to.Factor - from.Factor) * done);
    }

    private static double WarmUp(RecipeSchedule schedule, int step) => Math.Min(1, (step + 1) / (double)Math.Max(1, schedule.WarmupSteps));
}
