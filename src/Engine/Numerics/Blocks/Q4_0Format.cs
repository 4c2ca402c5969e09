namespace Foretoken.Numerics;

/// <summary>
/// 32 nibbles and one scale, 18 bytes: <c>f16 d, u8 q[16]</c>; byte j holds element j in its low nibble and element j + 16 in its high one; x = d · (q − 8).
/// Quantised so that the value of largest magnitude becomes q = 0, which reaches one step further than q = 15 does.
/// </summary>
public sealed class Q4_0Format() : BlockFormat(DType.Q4_0)
{
    private protected override void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block);
        for (int j = 0; j < 16; j++)
        {
            values[j] = d * ((block[2 + j] & 15) - 8);
            values[j + 16] = d * ((block[2 + j] >> 4) - 8);
        }
    }

    private protected override void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block)
    {
        float d = Extreme(values) / -8, inverse = BlockRounding.Inverse(ref d);
        WriteHalf(block, d);
        for (int j = 0; j < 16; j++)
        {
            int low = BlockRounding.Level(values[j], inverse, 8, 15), high = BlockRounding.Level(values[j + 16], inverse, 8, 15);
            block[2 + j] = (byte)(low | high << 4);
        }
    }
}

/// <summary>Roundings that the simple block types share.</summary>
internal static class BlockRounding
{
    /// <summary>1 / <paramref name="scale"/>; a scale too small to be inverted counts as zero.</summary>
    public static float Inverse(ref float scale)
    {
        float inverse = scale == 0 ? 0 : 1 / scale;
        if (float.IsInfinity(inverse)) (scale, inverse) = (0, 0);
        return inverse;
    }

    /// <summary>The level nearest to <paramref name="value"/> · <paramref name="inverse"/> + <paramref name="offset"/>, halves upwards.</summary>
    public static int Level(float value, float inverse, int offset, int maximum) => Math.Clamp((int)MathF.Floor(value * inverse + offset + 0.5f), 0, maximum);

    /// <summary>Least and largest value; both NaN where one is.</summary>
    public static (float Minimum, float Maximum) Range(ReadOnlySpan<float> values)
    {
        float minimum = values[0], maximum = values[0];
        foreach (float v in values) (minimum, maximum) = (MathF.Min(minimum, v), MathF.Max(maximum, v));
        return (minimum, maximum);
    }
}
