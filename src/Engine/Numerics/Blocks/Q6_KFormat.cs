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
        Span<sbyte> levels = stackalloc sbyte[256];
        for (int half = 0; half < 2; half++)
        {
            ReadOnlySpan<byte> low = block.Slice(half * 64, 64), high = block.Slice(HighAt + half * 32, 32);
            for (int i = 0; i < 32; i++)
            {
                int h = high[i], e = half * 128 + i;
                levels[e] = (sbyte)((low[i] & 15 | (h & 3) << 4) + LowestLevel);
                levels[e + 32] = (sbyte)((low[i + 32] & 15 | (h >> 2 & 3) << 4) + LowestLevel);
                levels[e + 64] = (sbyte)((low[i] >> 4 | (h >> 4 & 3) << 4) + LowestLevel);
                levels[e + 96] = (sbyte)((low[i + 32] >> 4 | h >> 6 << 4) + LowestLevel);
            }
        }

        float d = ReadHalf(block[ScaleAt..]);
        for (int b = 0; b < SubBlocks; b++)
        {
            float scale = d * (sbyte)block[ScalesAt + b];
            for (int e = b * SubLength; e < (b + 1) * SubLength; e++) values[e] = scale * levels[e];
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

        float d = WriteHalf(block[ScaleAt..], Extreme(scales) / -128); // the scale of largest magnitude becomes −128
        Span<byte> levels = stackalloc byte[256]; // q
        for (int b = 0; b < SubBlocks; b++)
        {
            var scale = (sbyte)(d == 0 ? 0 : Math.Clamp((int)MathF.Round(scales[b] / d), sbyte.MinValue, sbyte.MaxValue));
            block[ScalesAt + b] = (byte)scale;
            float inverse = BlockRounding.Inverse(d * scale);
            BlockRounding.Levels(values.Slice(b * SubLength, SubLength), inverse, -LowestLevel, HighestLevel - LowestLevel, levels.Slice(b * SubLength, SubLength));
        }

        for (int half = 0; half < 2; half++)
        {
            Span<byte> low = block.Slice(half * 64, 64), high = block.Slice(HighAt + half * 32, 32), q = levels.Slice(half * 128, 128);
            for (int i = 0; i < 32; i++)
            {
                low[i] = (byte)(q[i] & 15 | q[i + 64] << 4);
                low[i + 32] = (byte)(q[i + 32] & 15 | q[i + 96] << 4);
                high[i] = (byte)(q[i] >> 4 | q[i + 32] >> 4 << 2 | q[i + 64] >> 4 << 4 | q[i + 96] >> 4 << 6);
            }
        }
    }
}
