using Foretoken.Backends;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>The accumulation contracts of matrix products, one scalar operation after the other: what every kernel must equal bit for bit.</summary>
internal static class ScalarProduct
{
    /// <summary>x · w for one row and one output feature.</summary>
    public static float Dot(WeightType type, ReadOnlySpan<float> x, ReadOnlySpan<float> w) => type switch
    {
        WeightType.F32 => DotFloats(x, w),
        WeightType.BF16 => DotFloats(x, RoundToBFloat16(w)),
        WeightType.F16 => DotFloats(x, RoundToHalf(w)),
        WeightType.BF16Rounded => DotPairs(RoundToFactors(x), RoundToFactors(w)),
        WeightType.Int8 => DotInt8(x, w),
        _ => DotBlocks(type, x, w),
    };

    /// <summary>The same in double precision, with weights as they are stored and activations as they are.</summary>
    public static double Exact(WeightType type, ReadOnlySpan<float> x, ReadOnlySpan<float> w)
    {
        float[] stored = Stored(type, w);
        double sum = 0;
        for (int k = 0; k < x.Length; k++) sum += (double)x[k] * stored[k];
        return sum;
    }

    /// <summary>The weights that the type can hold.</summary>
    public static float[] Stored(WeightType type, ReadOnlySpan<float> w)
    {
        if (type == WeightType.F32) return w.ToArray();
        if (type == WeightType.BF16) return RoundToBFloat16(w);
        if (type == WeightType.F16) return RoundToHalf(w);
        if (type == WeightType.BF16Rounded) return RoundToFactors(w);
        if (type != WeightType.Int8) return Dequantized(type, w);
        var values = new float[w.Length];
        for (int k = 0; k < w.Length; k += 32)
        {
            ReadOnlySpan<float> block = w.Slice(k, Math.Min(32, w.Length - k));
            sbyte[] q = Quantize(block, out float scale);
            for (int i = 0; i < block.Length; i++) values[k + i] = q[i] * (float)(System.Half)scale;
        }

        return values;
    }

    // Even elements onto the running sum, odd ones beside it, joined every 2048 elements and at the end.
    private static float DotFloats(ReadOnlySpan<float> x, ReadOnlySpan<float> w)
    {
        float sum = 0f;
        for (int start = 0; start < x.Length; start += 2048)
        {
            int end = Math.Min(start + 2048, x.Length);
            float odd = 0f;
            for (int k = start; k < end; k += 2)
            {
                sum = MathF.FusedMultiplyAdd(w[k], x[k], sum);
                if (k + 1 < end) odd = MathF.FusedMultiplyAdd(w[k + 1], x[k + 1], odd);
            }

            sum += odd;
        }

        return sum;
    }

    // Of each pair the odd element before the even one; every other pair onto the running sum, the rest beside it, joined every 2048 elements and at the end.
    private static float DotPairs(ReadOnlySpan<float> x, ReadOnlySpan<float> w)
    {
        var sums = new float[2];
        for (int k = 0; k < x.Length; k += 2)
        {
            ref float sum = ref sums[k / 2 % 2];
            if (k + 1 < x.Length) sum = MathF.FusedMultiplyAdd(w[k + 1], x[k + 1], sum);
            sum = MathF.FusedMultiplyAdd(w[k], x[k], sum);
            if ((k + 2) % 2048 == 0) (sums[0], sums[1]) = (sums[0] + sums[1], 0f);
        }

        return sums[0] + sums[1];
    }

    /// <summary>bfloat16, with nothing below 2^−50.</summary>
    private static float[] RoundToFactors(ReadOnlySpan<float> values)
    {
        float[] rounded = RoundToBFloat16(values);
        for (int i = 0; i < rounded.Length; i++) rounded[i] = MathF.Abs(rounded[i]) < MathF.ScaleB(1f, -50) ? 0f : rounded[i];
        return rounded;
    }

    private static float DotInt8(ReadOnlySpan<float> x, ReadOnlySpan<float> w)
    {
        float sum = 0f;
        for (int k = 0; k < x.Length; k += 32)
        {
            int length = Math.Min(32, x.Length - k);
            sbyte[] a = Quantize(x.Slice(k, length), out float activationScale), b = Quantize(w.Slice(k, length), out float weightScale);
            int dot = 0;
            for (int i = 0; i < length; i++) dot += a[i] * b[i];
            sum = MathF.FusedMultiplyAdd(dot, (float)(System.Half)weightScale * activationScale, sum);
        }

        return sum;
    }

    /// <summary>
    /// Per 16 elements (Q6K) or 32: c = Σ quants · activations, sum = fma(c, scale · activation scale, sum), and with minimums
    /// sum = fma(minimum, −(activation scale · Σ activations), sum).
    /// </summary>
    private static float DotBlocks(WeightType type, ReadOnlySpan<float> x, ReadOnlySpan<float> w)
    {
        byte[] blocks = Blocks(type, w, out DType blockType);
        int sub = type == WeightType.Q6K ? 16 : 32;
        float sum = 0f;
        for (int k = 0; k < x.Length; k += 32)
        {
            int length = Math.Min(32, x.Length - k);
            sbyte[] a = Quantize(x.Slice(k, length), out float activationScale);
            for (int first = 0; first < length; first += sub)
            {
                (float scale, float minimum) = Scales(type, blocks, k + first);
                int dot = 0, activations = 0;
                for (int i = first; i < Math.Min(first + sub, length); i++)
                {
                    dot += a[i] * Quant(type, blocks, k + i);
                    activations += a[i];
                }

                sum = MathF.FusedMultiplyAdd(dot, scale * activationScale, sum);
                if (type == WeightType.Q4K) sum = MathF.FusedMultiplyAdd(minimum, -(activationScale * activations), sum);
            }
        }

        return sum;
    }

    private static byte[] Blocks(WeightType type, ReadOnlySpan<float> w, out DType blockType)
    {
        blockType = type switch { WeightType.Int4 => DType.Q4_0, WeightType.Q4K => DType.Q4_K, _ => DType.Q6_K };
        int length = blockType.BlockLength(), padded = (w.Length + length - 1) / length * length;
        var values = new float[padded];
        w.CopyTo(values);
        var blocks = new byte[blockType.BytesOf(padded)];
        BlockFormat.Of(blockType).Quantize(values, blocks);
        return blocks;
    }

    private static float[] Dequantized(WeightType type, ReadOnlySpan<float> w)
    {
        byte[] blocks = Blocks(type, w, out DType blockType);
        var values = new float[blocks.Length / blockType.BlockBytes() * blockType.BlockLength()];
        BlockFormat.Of(blockType).Dequantize(blocks, values);
        return values[..w.Length];
    }

    /// <summary>The signed quant of an element.</summary>
    private static int Quant(WeightType type, byte[] blocks, int k)
    {
        int e = k % 256;
        switch (type)
        {
            case WeightType.Int4: return (blocks[k / 32 * 18 + 2 + k % 16] >> k % 32 / 16 * 4 & 15) - 8;
            case WeightType.Q4K: return blocks[k / 256 * 144 + 16 + e / 64 * 32 + e % 32] >> e / 32 % 2 * 4 & 15;
            default:
                int block = k / 256 * 210, quarter = e % 128 / 32;
                int low = blocks[block + e / 128 * 64 + quarter % 2 * 32 + e % 32] >> quarter / 2 * 4 & 15;
                return (low | (blocks[block + 128 + e / 128 * 32 + e % 32] >> 2 * quarter & 3) << 4) - 32;
        }
    }

    /// <summary>Scale and minimum of an element's sub-block.</summary>
    private static (float Scale, float Minimum) Scales(WeightType type, byte[] blocks, int k)
    {
        if (type == WeightType.Int4) return (Half(blocks, k / 32 * 18), 0);
        int b = k % 256 / 32;
        if (type == WeightType.Q6K) return (Half(blocks, k / 256 * 210 + 208) * (sbyte)blocks[k / 256 * 210 + 192 + k % 256 / 16], 0);
        ReadOnlySpan<byte> p = blocks.AsSpan(k / 256 * 144 + 4, 12);
        (int scale, int minimum) = b < 4
            ? (p[b] & 63, p[b + 4] & 63)
            : (p[b + 4] & 15 | p[b - 4] >> 6 << 4, p[b + 4] >> 4 | p[b] >> 6 << 4);
        return (Half(blocks, k / 256 * 144) * scale, Half(blocks, k / 256 * 144 + 2) * minimum);
    }

    private static float Half(byte[] bytes, int at) => (float)BitConverter.ToHalf(bytes, at);

    private static float[] RoundToHalf(ReadOnlySpan<float> w)
    {
        var values = new float[w.Length];
        for (int k = 0; k < w.Length; k++) values[k] = (float)(System.Half)w[k];
        return values;
    }

    private static sbyte[] Quantize(ReadOnlySpan<float> block, out float scale)
    {
        float largest = 0f;
        foreach (float v in block) largest = MathF.Max(largest, MathF.Abs(v));
        var q = new sbyte[block.Length];
        scale = largest / 127f;
        if (largest == 0f) return q;
        float inverse = 127f / largest;
        for (int i = 0; i < q.Length; i++) q[i] = (sbyte)MathF.Round(block[i] * inverse, MidpointRounding.ToEven);
        return q;
    }

    private static float[] RoundToBFloat16(ReadOnlySpan<float> w)
    {
        var values = new float[w.Length];
        for (int k = 0; k < w.Length; k++) values[k] = BFloat16Bits.ToSingle(BFloat16Bits.FromSingle(w[k]));
        return values;
    }
}
