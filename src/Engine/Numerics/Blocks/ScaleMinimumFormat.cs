namespace Foretoken.Numerics;

/// <summary>
/// What <c>Q4_K</c> and <c>Q5_K</c> share: 256 elements in 8 sub-blocks of 32, each with a scale and a minimum of 6 bits, in units of two f16 numbers:
/// x = d·s[b] · q − dm·m[b]. A block begins with <c>f16 d, f16 dm, u8 packed[12]</c>:
/// <code>
/// s[b], b = 0..3: low 6 bits of packed[b]                 m[b]: low 6 bits of packed[b + 4]
/// s[b], b = 4..7: low nibble of packed[b + 4] | top 2 bits of packed[b − 4] &lt;&lt; 4     m[b]: high nibble of packed[b + 4] | top 2 bits of packed[b] &lt;&lt; 4
/// </code>
/// </summary>
public abstract class ScaleMinimumFormat : BlockFormat
{
    /// <summary>Bytes in front of the quants.</summary>
    private protected const int HeaderBytes = 16;

    private protected const int SubBlocks = 8, SubLength = 32, PackedAt = 4;
    private const int LargestUnit = 63; // scales and minima are 0..63 units

    private protected ScaleMinimumFormat(DType type)
        : base(type)
    {
    }

    /// <summary>Largest quant: 15 or 31.</summary>
    private protected abstract int MaxLevel { get; }

    /// <summary>Scale and minimum of a sub-block, in units.</summary>
    private protected static (int Scale, int Minimum) Unpack(ReadOnlySpan<byte> packed, int b) => b < 4
        ? (packed[b] & 63, packed[b + 4] & 63)
        : (packed[b + 4] & 15 | packed[b - 4] >> 6 << 4, packed[b + 4] >> 4 | packed[b] >> 6 << 4);

    private protected override void DequantizeBlock(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block), dm = ReadHalf(block[2..]);
        Span<byte> levels = stackalloc byte[SubLength];
        for (int b = 0; b < SubBlocks; b++)
        {
            (int scale, int minimum) = Unpack(block[PackedAt..], b);
            float s = d * scale, m = dm * minimum;
            ReadLevels(block, b, levels);
            for (int i = 0; i < SubLength; i++) values[b * SubLength + i] = s * levels[i] - m;
        }
    }

    private protected override void QuantizeBlock(ReadOnlySpan<float> values, Span<byte> block)
    {
        Span<float> scales = stackalloc float[SubBlocks], minima = stackalloc float[SubBlocks];
        float largestScale = 0, largestMinimum = 0;
        for (int b = 0; b < SubBlocks; b++)
        {
            (scales[b], minima[b]) = BlockSearch.ScaleAndMinimum(values.Slice(b * SubLength, SubLength), MaxLevel);
            if (!float.IsFinite(scales[b]) || !float.IsFinite(minima[b]))
                throw new ArgumentException($"A value is not finite or too large to be held as {Type.FileName()}.");
            largestScale = MathF.Max(largestScale, scales[b]);
            largestMinimum = MathF.Max(largestMinimum, minima[b]);
        }

        float d = WriteHalf(block, largestScale / LargestUnit), dm = WriteHalf(block[2..], largestMinimum / LargestUnit);
        Span<byte> levels = stackalloc byte[SubLength];
        block[PackedAt..].Clear();
        for (int b = 0; b < SubBlocks; b++)
        {
            int scale = Units(scales[b], d), minimum = Units(minima[b], dm);
            Pack(block[PackedAt..], b, scale, minimum);
            float inverse = BlockRounding.Inverse(d * scale);
            BlockRounding.Levels(values.Slice(b * SubLength, SubLength), inverse, dm * minimum * inverse, MaxLevel, levels);
            WriteLevels(block, b, levels);
        }
    }

    /// <summary>Quants of sub-block <paramref name="b"/>. // [32]</summary>
    private protected abstract void ReadLevels(ReadOnlySpan<byte> block, int b, Span<byte> levels);

    /// <summary>Sets the quants of sub-block <paramref name="b"/> in a block whose bytes behind the header were zero. // [32]</summary>
    private protected abstract void WriteLevels(Span<byte> block, int b, ReadOnlySpan<byte> levels);

    private static int Units(float value, float unit) => unit == 0 ? 0 : Math.Clamp((int)MathF.Round(value / unit), 0, LargestUnit);

    private static void Pack(Span<byte> packed, int b, int scale, int minimum)
    {
        if (b < 4)
        {
            packed[b] |= (byte)scale;
            packed[b + 4] |= (byte)minimum;
            return;
        }

        packed[b + 4] |= (byte)(scale & 15 | (minimum & 15) << 4);
        packed[b - 4] |= (byte)(scale >> 4 << 6);
        packed[b] |= (byte)(minimum >> 4 << 6);
    }
}
