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

    /// <summary>Bytes of 32 activations rounded to bfloat16, which have nothing beside them.</summary>
    public const int RoundedBytes = 64;

    /// <summary>Bytes of the largest block.</summary>
    public const int MaxBytes = RoundedBytes;

    public static int BytesOf(bool halves) => halves ? 44 : 40;

    /// <summary>Bytes of a step of activations in the form that a matrix takes.</summary>
    public static int BytesOf(WeightType type) => type switch
    {
        WeightType.BF16Rounded => RoundedBytes,
        _ when type.IsInteger() => BytesOf(PanelFormat.Of(type).HasHalves),
        _ => PanelMatrix.StepLength * sizeof(float),
    };

    /// <summary>Whether a matrix takes its activations from blocks: quantised or rounded.</summary>
    public static bool Serves(WeightType type) => type == WeightType.BF16Rounded || type.IsInteger();
}
