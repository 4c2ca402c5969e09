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
        _ => DotInt8(x, w),
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
        var values = new float[w.Length];
        for (int k = 0; k < w.Length; k += 32)
        {
            ReadOnlySpan<float> block = w.Slice(k, Math.Min(32, w.Length - k));
            sbyte[] q = Quantize(block, out float scale);
            for (int i = 0; i < block.Length; i++) values[k + i] = q[i] * (float)(Half)scale;
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

    private static float DotInt8(ReadOnlySpan<float> x, ReadOnlySpan<float> w)
    {
        float sum = 0f;
        for (int k = 0; k < x.Length; k += 32)
        {
            int length = Math.Min(32, x.Length - k);
            sbyte[] a = Quantize(x.Slice(k, length), out float activationScale), b = Quantize(w.Slice(k, length), out float weightScale);
            int dot = 0;
            for (int i = 0; i < length; i++) dot += a[i] * b[i];
            sum = MathF.FusedMultiplyAdd(dot, (float)(Half)weightScale * activationScale, sum);
        }

        return sum;
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
