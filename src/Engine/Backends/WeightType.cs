namespace Foretoken.Backends;

/// <summary>How a weight matrix is held by the backend. Each type has one accumulation contract (reduction order), whatever the row count.</summary>
public enum WeightType
{
    /// <summary>32-bit floats.</summary>
    F32,

    /// <summary>bfloat16 weights, f32 activations and accumulation.</summary>
    BF16,

    /// <summary>IEEE half weights, f32 activations and accumulation.</summary>
    F16,

    /// <summary>
    /// bfloat16 weights and activations rounded to bfloat16, f32 accumulation: twice the speed of <see cref="BF16"/> in prompts where the processor
    /// multiplies bfloat16 pairs, at the precision of engines that compute in bfloat16. Never chosen unless asked for.
    /// </summary>
    BF16Rounded,

    /// <summary>
    /// Signed 8-bit weights, one f16 scale per 32 weights along K (Q8_0); activations quantised per row and per 32-element block along K, as for all
    /// integer types.
    /// </summary>
    Int8,

    /// <summary>4-bit weights w = scale · (q − 8), q = 0..15, one f16 scale per 32 weights along K (Q4_0).</summary>
    Int4,

    /// <summary>
    /// 4-bit weights w = d · s · q − dmin · m: per 32 weights along K a 6-bit scale s and a 6-bit minimum m, per 256 the f16 factors d and dmin (Q4_K).
    /// </summary>
    Q4K,

    /// <summary>6-bit weights w = d · s · (q − 32): per 16 weights along K a signed 8-bit scale s, per 256 the f16 factor d (Q6_K).</summary>
    Q6K,
}

/// <summary>Facts about <see cref="WeightType"/>.</summary>
public static class WeightTypes
{
    /// <summary>True for the types whose activations are quantised.</summary>
    public static bool IsInteger(this WeightType type) => type >= WeightType.Int8;

    /// <summary>The columns of a matrix must be a multiple of this; 1 where padding with zeros is possible.</summary>
    public static int ColumnMultiple(this WeightType type) => type is WeightType.Q4K or WeightType.Q6K ? 256 : 1;

    /// <summary>Bits of memory per weight, scales included.</summary>
    public static double BitsPerWeight(this WeightType type) => type switch
    {
        WeightType.F32 => 32,
        WeightType.BF16 or WeightType.F16 or WeightType.BF16Rounded => 16,
        WeightType.Int8 => 8.5,
        WeightType.Int4 => 4.5,
        WeightType.Q4K => 4.625,
        WeightType.Q6K => 6.5625,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Not a weight type."),
    };
}
