using System.Runtime.Intrinsics;

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

    /// <summary>1 / <paramref name="scale"/>, or 0 where that is no finite number.</summary>
    public static float Inverse(float scale) => Inverse(ref scale);

    /// <summary>The levels nearest to value · <paramref name="inverse"/> + <paramref name="offset"/>. // both [a multiple of 16]</summary>
    public static void Levels(ReadOnlySpan<float> values, float inverse, float offset, int maximum, Span<byte> levels)
    {
        Vector256<float> factor = Vector256.Create(inverse), shift = Vector256.Create(offset), highest = Vector256.Create((float)maximum);
        for (int i = 0; i < values.Length; i += 16)
        {
            Vector256<int> a = Rounded(Vector256.Create(values[i..])), b = Rounded(Vector256.Create(values[(i + 8)..]));
            Vector128.Narrow(Vector128.Narrow(a.GetLower(), a.GetUpper()), Vector128.Narrow(b.GetLower(), b.GetUpper())).AsByte().CopyTo(levels[i..]);
        }

        Vector256<int> Rounded(Vector256<float> v) =>
            Vector256.ConvertToInt32(Vector256.Min(Vector256.Max(Vector256.Round(v * factor + shift), Vector256<float>.Zero), highest));
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
