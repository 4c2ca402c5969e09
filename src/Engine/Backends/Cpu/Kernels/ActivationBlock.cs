namespace Foretoken.Backends.Cpu.Kernels;

/// <summary>
/// 32 quantised activations of one row: 32 signed bytes, the f32 scale, then what undoes the offset of unsigned weights:
/// <code>
/// offset o, no halves   int32  −o · Σ bytes
/// offset o, halves      int32  −o · Σ bytes 0..15,  int32  −o · Σ bytes 16..31
/// minimums              f32    −scale · Σ bytes
/// </code>
/// </summary>
internal static class ActivationBlock
{
    public const int ScaleOffset = 32, CorrectionOffset = 36;

    /// <summary>Bytes of the largest block.</summary>
    public const int MaxBytes = 44;

    public static int BytesOf(bool halves) => halves ? MaxBytes : 40;

    public static int BytesOf(WeightType type) => BytesOf(PanelFormat.Of(type).HasHalves);
}
