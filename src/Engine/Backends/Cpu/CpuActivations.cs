using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Memory;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Every activation buffer of a pass, allocated once for the most rows. Rows are padded with zeros to whole steps of 32 elements, which kernels may read;
/// strides are an odd number of cache lines, so that the rows of a tile do not compete for the same cache sets.
/// </summary>
internal sealed unsafe class CpuActivations : IDisposable
{
    private readonly List<NativeBuffer> _owned = [];
    private readonly float*[] _splitGains = new float*[2];
    private readonly int _headDim;

    public CpuActivations(TransformerShape shape, int maxRows, int maxLogitRows, int threads, MemoryPlan plan)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxRows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLogitRows, 1);
        if (shape.HeadDim % 2 != 0 || shape.RopeInverseFrequencies.Length != shape.HeadDim / 2)
            throw new ArgumentException($"A head of {shape.HeadDim} elements needs {shape.HeadDim / 2.0} rotation frequencies, not {shape.RopeInverseFrequencies.Length}.");
        MaxRows = maxRows;
        MaxLogitRows = maxLogitRows;
        _headDim = shape.HeadDim;
        int attentionWidth = shape.HeadCount * shape.HeadDim;
        int widest = Math.Max(Math.Max(shape.HiddenSize, shape.IntermediateSize), attentionWidth);
        HiddenStride = Stride(shape.HiddenSize);
        GatedStride = Stride(shape.IntermediateSize);
        FloatStride = Stride(Math.Max(shape.HiddenSize, attentionWidth));
        QkvStride = (shape.HeadCount + 2 * shape.KvHeadCount) * shape.HeadDim;
        LogitStride = RoundUp(shape.VocabSize, PanelMatrix.PanelRows);
        HalfStride = (int)RoundUp(shape.HeadDim / 2, 16);
        BlockStride = OddLines(RoundUp(widest, PanelMatrix.StepLength) / PanelMatrix.StepLength * ActivationBlock.MaxBytes);

        Hidden = Floats32(plan, "hidden", maxRows, HiddenStride);
        Floats = Floats32(plan, "normalised or padded input", maxRows, FloatStride);
        Qkv = Floats32(plan, "qkv", maxRows, QkvStride);
        Attention = Floats32(plan, "attention", maxRows, attentionWidth);
        Gated = Floats32(plan, "gated", maxRows, GatedStride);
        DecisionStride = (int)RoundUp(shape.KvHeadCount, PanelMatrix.PanelRows);
        Decisions = Floats32(plan, "eviction logits", maxRows, DecisionStride);
        Angles = Floats32(plan, "rotation cos and sin", maxRows, 2 * HalfStride);
        Logits = Floats32(plan, "logits", maxLogitRows, LogitStride);
        Blocks = Allocate(plan, "8-bit input", $"[rows {maxRows}, {BlockStride} bytes]", maxRows * BlockStride);
        ProductScratch = (float*)Allocate(plan, "product scratch", $"[threads {threads}, {CpuKernels.ProductScratchBytes} bytes]", (long)threads * CpuKernels.ProductScratchBytes);
        if (HalfStride * 2 == shape.HeadDim) return;
        for (int i = 0; i < 2; i++) _splitGains[i] = Floats32(plan, "padded head gain", 2, HalfStride);
    }

    public int MaxRows { get; }

    public int MaxLogitRows { get; }

    /// <summary>The residual stream. // [rows, HiddenStride]</summary>
    public float* Hidden { get; }

    public long HiddenStride { get; }

    /// <summary>Normalised or padded rows, input of a product. // [rows, FloatStride]</summary>
    public float* Floats { get; }

    public long FloatStride { get; }

    /// <summary>Quantised rows, input of a product. // [rows, BlockStride bytes]</summary>
    public byte* Blocks { get; }

    public long BlockStride { get; }

    /// <summary>Queries, keys, values. // [rows, QkvStride = (heads + 2·kvHeads)·headDim]</summary>
    public float* Qkv { get; }

    public long QkvStride { get; }

    /// <summary>Attention output. // [rows, heads·headDim]</summary>
    public float* Attention { get; }

    /// <summary>silu(gate) ⊙ up. // [rows, GatedStride]</summary>
    public float* Gated { get; }

    public long GatedStride { get; }

    /// <summary>Eviction logits of each KV head before scale and offset. // [rows, DecisionStride]</summary>
    public float* Decisions { get; }

    public int DecisionStride { get; }

    /// <summary>cos and sin of each row. // [rows, 2, HalfStride]</summary>
    public float* Angles { get; }

    /// <summary>Half a head rounded up to a multiple of 16.</summary>
    public int HalfStride { get; }

    /// <summary>[logit rows, LogitStride]</summary>
    public float* Logits { get; }

    public long LogitStride { get; }

    public float* ProductScratch { get; }

    public static long RoundUp(long value, int multiple) => (value + multiple - 1) / multiple * multiple;

    /// <summary>A head's gain as two halves padded with zeros: the vector itself where no padding is needed. // [2, HalfStride]</summary>
    public float* SplitGain(float* gain, int slot)
    {
        if (gain is null || HalfStride * 2 == _headDim) return gain;
        int half = _headDim / 2;
        new ReadOnlySpan<float>(gain, half).CopyTo(new Span<float>(_splitGains[slot], half));
        new ReadOnlySpan<float>(gain + half, half).CopyTo(new Span<float>(_splitGains[slot] + HalfStride, half));
        return _splitGains[slot];
    }

    public void Dispose()
    {
        foreach (NativeBuffer buffer in _owned) buffer.Dispose();
    }

    private static long Stride(int width) => OddLines(RoundUp(width, PanelMatrix.StepLength) * sizeof(float)) / sizeof(float);

    /// <summary>Rounds up to an odd number of cache lines.</summary>
    private static long OddLines(long bytes) => ((bytes + 63) / 64 | 1) * 64;

    private float* Floats32(MemoryPlan plan, string name, int rows, long stride) =>
        (float*)Allocate(plan, name, $"[{rows}, {stride}] f32", rows * stride * sizeof(float));

    private byte* Allocate(MemoryPlan plan, string name, string shape, long bytes)
    {
        NativeBuffer buffer = plan.Allocate("activations", name, shape, bytes);
        _owned.Add(buffer);
        return buffer.Pointer;
    }
}
