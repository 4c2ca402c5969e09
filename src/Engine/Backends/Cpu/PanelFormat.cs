namespace Foretoken.Backends.Cpu;

/// <summary>
/// How panels of one weight type lie in memory, and what their products need of the activations. In integer types a line of 64 bytes of 8-bit values is four
/// elements of K for 16 features; a step of 32 elements is eight such lines, unpacked or packed:
/// <code>
/// Int8      8 lines, u8 = w + 128                                             then 16 f16 scales per step
/// Int4      4 lines; line j: low nibbles = line j, high nibbles = line j + 4   then 16 f16 scales per step
/// Q4K       as Int4                      then per 8 steps 16 f16 d, 16 f16 dmin, 8 × {16 u8 scales, 16 u8 minimums}
/// Q6K       as Int4 for the low four bits, then 2 lines; line h: bits 2i, 2i+1 = upper two bits of line 4h + i
///                                        then per 8 steps 16 f16 d, 8 × {16 s8 scales of elements 0..15, 16 s8 of elements 16..31}
/// </code>
/// Scales stand behind all steps of a panel, so that lines of weights stay aligned.
/// </summary>
internal readonly record struct PanelFormat
{
    private PanelFormat(int stepBytes, int scaleBytes, int offset, bool halves = false, bool minimum = false)
    {
        StepBytes = stepBytes;
        ScaleBytes = scaleBytes;
        Offset = offset;
        HasHalves = halves;
        HasMinimum = minimum;
    }

    /// <summary>Bytes of the weights (without scales) of one step of one panel.</summary>
    public int StepBytes { get; }

    /// <summary>Bytes of the scales of one step of one panel, on average over eight steps.</summary>
    public int ScaleBytes { get; }

    /// <summary>What is added to weights to make them unsigned: products subtract it again by a correction that the activations carry.</summary>
    public int Offset { get; }

    /// <summary>Elements 0..15 and 16..31 of a step have scales of their own.</summary>
    public bool HasHalves { get; }

    /// <summary>A minimum per step is subtracted from its weights.</summary>
    public bool HasMinimum { get; }

    /// <summary>Steps of 32 elements that share one set of scales.</summary>
    public int StepsPerScales => HasHalves || HasMinimum ? 8 : 1;

    public static PanelFormat Of(WeightType type) => type switch
    {
        WeightType.F32 => new(32 * 16 * 4, 0, 0),
        WeightType.BF16 or WeightType.F16 or WeightType.BF16Rounded => new(32 * 16 * 2, 0, 0),
        WeightType.Int8 => new(512, 32, 128),
        WeightType.Int4 => new(256, 32, 8),
        WeightType.Q4K => new(256, 40, 0, minimum: true),
        WeightType.Q6K => new(384, 36, 32, halves: true),
        _ => throw new NotSupportedException($"The CPU backend has no panels of type {type}."),
    };
}
