using Foretoken.Memory;

namespace Foretoken.Backends.Cuda;

/// <content>
/// One allocation for everything on the device. Its parts are announced (activations by <see cref="Prepare"/>, weights by <see cref="PlanMatrix"/> and
/// <see cref="PlanVector"/>, keys and values by the cache that is made with the store), and the first that needs memory makes it: what does not fit is
/// refused before a weight is copied or a kernel runs.
/// </content>
public sealed unsafe partial class CudaBackend
{
    private long _plannedWeights, _plannedKv;
    private DeviceArena? _arena;

    /// <inheritdoc/>
    public void PlanMatrix(WeightType type, int outFeatures, int inFeatures) => _plannedWeights += BytesOf(type, outFeatures, inFeatures);

    /// <inheritdoc/>
    public void PlanVector(int elements) => _plannedWeights += DeviceArena.Padded((long)elements * sizeof(float));

    /// <summary>What is free beside the weights and the activations, but for a tenth that the driver and others may need.</summary>
    public long KvMemoryBytes => Math.Max(0, _device.FreeBytes() - (_arena is null ? PlannedBytes : 0)) / 10 * 9;

    private long PlannedBytes => Buffers.Bytes + Pass.Bytes + _plannedWeights + _plannedKv;

    private static long BytesOf(WeightType type, int outFeatures, int inFeatures)
    {
        ProductShape shape = ProductShape.Of(outFeatures, inFeatures, type);
        long units = (long)shape.Strips * shape.Units, scales = type == WeightType.Int8 ? units * FragmentPacker.UnitScales * sizeof(ushort) : 0;
        return DeviceArena.Padded(units * ProductShape.UnitBytes) + DeviceArena.Padded(scales);
    }

    /// <summary>The arena of keys and values: part of the one allocation when the cache is made before the first weight is loaded.</summary>
    private DeviceArena ArenaForKv(long bytes)
    {
        if (_arena is null) _plannedKv = bytes;
        return ArenaFor("The KV cache", bytes);
    }

    /// <summary>The arena with everything that was announced, or one of its own for what was not.</summary>
    private DeviceArena ArenaFor(string name, long bytes)
    {
        MemoryPlan plan = _plan ?? throw new InvalidOperationException("Prepare comes first.");
        if (_arena is null) MakeArena(plan);
        return _arena!.Bytes - _arena.Used >= bytes ? _arena : DeviceArena.Allocate(_device, bytes, name, plan);
    }

    private void MakeArena(MemoryPlan plan)
    {
        string parts = FormattableString.Invariant($"weights {_plannedWeights:N0} bytes, KV cache {_plannedKv:N0}, activations {Buffers.Bytes + Pass.Bytes:N0}");
        _arena = DeviceArena.Allocate(_device, PlannedBytes, $"The model ({parts})", plan);
        Buffers.Take(_arena);
        Pass.Take(_arena);
        _stream.Fill(Buffers.PathLengths, 0, Buffers.MaxRows + 4L * Math.Max(1, Buffers.MaxLogitRows)); // they are copied to the host whole
        Loader.Upload<double>(Shape.RopeInverseFrequencies, Buffers.Frequencies);
    }
}
