using Foretoken.Backends.Cpu;
using Foretoken.Memory;

namespace Foretoken.Backends;

/// <summary>Records in a plan the weights that the processor's backend will be given later, as it will record them itself.</summary>
internal static class PlannedWeights
{
    private const int Line = 64; // bytes that panels are padded to

    /// <summary>A matrix; of <paramref name="parts"/> stacked ones.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="name">The weight.</param>
    /// <param name="type">How it will be held.</param>
    /// <param name="parts">Rows of each part. Two of the same height meet in paired panels, each padded by itself.</param>
    /// <param name="inFeatures">Columns.</param>
    public static void AddMatrix(this MemoryPlan plan, string name, WeightType type, ReadOnlySpan<int> parts, int inFeatures)
    {
        int outFeatures = 0;
        foreach (int rows in parts) outFeatures += rows;
        bool paired = parts.Length == 2 && parts[0] == parts[1];
        long panels = (paired ? 2 * RoundUp(parts[0], PanelMatrix.PanelRows) : RoundUp(outFeatures, PanelMatrix.PanelRows)) / PanelMatrix.PanelRows;
        long panelBytes = (long)(PanelMatrix.PanelRows * RoundUp(inFeatures, PanelMatrix.StepLength) * type.BitsPerWeight() / 8);
        plan.Add("weights", name, $"[{outFeatures}, {inFeatures}] {type}", panels * RoundUp(panelBytes, Line));
    }

    /// <summary>A vector of f32, whose end is padded.</summary>
    public static void AddVector(this MemoryPlan plan, string name, int elements) =>
        plan.Add("weights", name, $"[{elements}] F32", (RoundUp(elements, PanelMatrix.PanelRows) + PanelMatrix.PanelRows) * sizeof(float));

    private static long RoundUp(long value, int multiple) => (value + multiple - 1) / multiple * multiple;
}
