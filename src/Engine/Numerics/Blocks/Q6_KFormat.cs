namespace Foretoken.Numerics;

/// <summary>
/// 256 values of 6 bits in 16 sub-blocks of 16 with signed scales, 210 bytes: <c>u8 l[128], u8 h[64], i8 s[16], f16 d</c>; x = d · s[b] · (q − 32). Each half of 128
/// elements uses 64 bytes of l and 32 of h; with i = 0..31 in such a half:
/// <code>
/// element i        low nibble of l[i],      bits 0..1 of h[i]
/// element i + 32   low nibble of l[i + 32], bits 2..3 of h[i]
/// element i + 64   high nibble of l[i],     bits 4..5 of h[i]
/// element i + 96   high nibble of l[i + 32], bits 6..7 of h[i]
/// </code>
/// </summary>
public sealed class Q6_KFormat() : BlockFormat(DType.Q6_K)
{
    private const int HighAt = 128, ScalesAt = 192, ScaleAt = 208, SubBlocks = 16, SubLength = 16;
    private const int LowestLevel = -32, HighestLevel = 31;

    private protected override void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block[ScaleAt..]);
        for (int e = 0; e < 256; e++)
        {
            (int low, int high, int quarter) = Locate(e);
            int level = (block[low] >> (quarter >= 2 ? 4 : 0) & 15 | (block[high] >> 2 * quarter & 3) << 4) + LowestLevel;
            values[e] = d * (sbyte)block[ScalesAt + e / SubLength] * level;
        }
    }

    private protected override void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block)
    {
        Span<float> scales = stackalloc float[SubBlocks];
        for (int b = 0; b < SubBlocks; b++)
        {
            scales[b] = BlockSearch.SignedScale(values.Slice(b * SubLength, SubLength), LowestLevel, HighestLevel);
            if (!float.IsFinite(scales[b])) throw new ArgumentException($"A value is not finite or too large to be held as {Type.FileName()}.");
        }

        block.Clear();
        float d = WriteHalf(block[ScaleAt..], Extreme(scales) / -128); // the scale of largest magnitude becomes −128
        for (int b = 0; b < SubBlocks; b++)
        {
            var scale = (sbyte)(d == 0 ? 0 : Math.Clamp((int)MathF.Round(scales[b] / d), sbyte.MinValue, sbyte.MaxValue));
            block[ScalesAt + b] = (byte)scale;
            float inverse = d * scale == 0 ? 0 : 1 / (d * scale);
            for (int i = 0; i < SubLength; i++)
            {
                int e = b * SubLength + i;
                int level = Math.Clamp((int)MathF.Round(values[e] * inverse), LowestLevel, HighestLevel) - LowestLevel;
                (int low, int high, int quarter) = Locate(e);
                block[low] |= (byte)((level & 15) << (quarter >= 2 ? 4 : 0));
                block[high] |= (byte)(level >> 4 << 2 * quarter);
            }
        }
    }

    /// <summary>Byte of the low nibble, byte of the high bits and quarter of the half for element <paramref name="e"/>.</summary>
    private static (int Low, int High, int Quarter) Locate(int e)
    {
        int half = e / 128, quarter = e % 128 / 32, i = e % 32;
        return (half * 64 + quarter % 2 * 32 + i, HighAt + half * 32 + i, quarter);
    }
}
