using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <content>One allocation for all weights.</content>
public sealed unsafe partial class CudaBackend
{
    private long _plannedWeightBytes;
    private DeviceArena? _weightArena;

    public void PlanMatrix(WeightType type, int outFeatures, int inFeatures) => _plannedWeightBytes += BytesOf(type, outFeatures, inFeatures);

    public void PlanVector(int elements) => _plannedWeightBytes += DeviceArena.Padded((long)elements * sizeof(float));

    private static long BytesOf(WeightType type, int outFeatures, int inFeatures)
    {
        ProductShape shape = ProductShape.Of(outFeatures, inFeatures, type);
        long units = (long)shape.Strips * shape.Units, scales = type == WeightType.Int8 ? units * FragmentPacker.UnitScales * sizeof(ushort) : 0;
        return DeviceArena.Padded(units * ProductShape.UnitBytes) + DeviceArena.Padded(scales);
    }

    /// <summary>Where a weight goes: to the arena of all that were announced, made with the first of them, or to one of its own when none were.</summary>
    private DeviceArena ArenaFor(string name, long bytes)
    {
        MemoryPlan plan = _plan ?? throw new InvalidOperationException("Prepare comes first.");
        return _plannedWeightBytes == 0
            ? DeviceArena.Allocate(_device, bytes, $"The weight {name}", plan)
            : _weightArena ??= DeviceArena.Allocate(_device, _plannedWeightBytes, "All weights", plan);
    }
}
