using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Sampling;

/// <summary>Vector loops over rows of logits. Every element goes through the same operations wherever it stands in the row.</summary>
internal static class LogitMath
{
    /// <summary>The largest element; NaN if any element is NaN.</summary>
    public static float Max(ReadOnlySpan<float> values)
    {
        int lanes = Vector256<float>.Count, i = 0;
        float max = float.NegativeInfinity;
        if (values.Length >= lanes)
        {
            ref float first = ref MemoryMarshal.GetReference(values);
            Vector256<float> best = Vector256.LoadUnsafe(ref first);
            for (i = lanes; i <= values.Length - lanes; i += lanes) best = Vector256.Max(best, Vector256.LoadUnsafe(ref first, (nuint)i));
            for (int lane = 0; lane < lanes; lane++) max = MathF.Max(max, best[lane]); // both maxima propagate NaN
        }

        for (; i < values.Length; i++) max = MathF.Max(max, values[i]);
        return max;
    }

    /// <summary>The first index whose element equals <paramref name="value"/>, or −1.</summary>
    public static int IndexOf(ReadOnlySpan<float> values, float value)
    {
        int lanes = Vector256<float>.Count, i = 0;
        ref float first = ref MemoryMarshal.GetReference(values);
        Vector256<float> wanted = Vector256.Create(value);
        for (; i <= values.Length - lanes; i += lanes)
        {
            uint hits = Vector256.Equals(Vector256.LoadUnsafe(ref first, (nuint)i), wanted).ExtractMostSignificantBits();
            if (hits != 0) return i + BitOperations.TrailingZeroCount(hits);
        }

        for (; i < values.Length; i++)
        {
            if (values[i] == value) return i;
        }

        return -1;
    }

    /// <summary>destination[i] = (values[i] − shift) / divisor; may work in place.</summary>
    public static void ShiftDivide(ReadOnlySpan<float> values, float shift, float divisor, Span<float> destination)
    {
        int lanes = Vector256<float>.Count, i = 0;
        ref float from = ref MemoryMarshal.GetReference(values);
        ref float to = ref MemoryMarshal.GetReference(destination[..values.Length]);
        Vector256<float> s = Vector256.Create(shift), d = Vector256.Create(divisor);
        for (; i <= values.Length - lanes; i += lanes) ((Vector256.LoadUnsafe(ref from, (nuint)i) - s) / d).StoreUnsafe(ref to, (nuint)i);
        for (; i < values.Length; i++) destination[i] = (values[i] - shift) / divisor;
    }

    /// <summary>destination[i] = exp(values[i]).</summary>
    public static void Exp(ReadOnlySpan<float> values, Span<float> destination)
    {
        int lanes = Vector256<float>.Count, i = 0;
        ref float from = ref MemoryMarshal.GetReference(values);
        ref float to = ref MemoryMarshal.GetReference(destination[..values.Length]);
        for (; i <= values.Length - lanes; i += lanes) Vector256.Exp(Vector256.LoadUnsafe(ref from, (nuint)i)).StoreUnsafe(ref to, (nuint)i);
        for (; i < values.Length; i++) destination[i] = Vector256.Exp(Vector256.Create(values[i])).ToScalar(); // the tail through the same code
    }

    /// <summary>Σ exp(values[i] − shift), in double, in a fixed order.</summary>
    public static double SumExp(ReadOnlySpan<float> values, float shift)
    {
        int lanes = Vector256<float>.Count, i = 0;
        ref float first = ref MemoryMarshal.GetReference(values);
        Vector256<float> s = Vector256.Create(shift);
        Vector256<double> low = default, high = default;
        for (; i <= values.Length - lanes; i += lanes)
        {
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(Vector256.Exp(Vector256.LoadUnsafe(ref first, (nuint)i) - s));
            low += a;
            high += b;
        }

        double sum = Vector256.Sum(low + high);
        for (; i < values.Length; i++) sum += Vector256.Exp(Vector256.Create(values[i] - shift)).ToScalar();
        return sum;
    }

    /// <summary>Σ values[i], in double, in a fixed order.</summary>
    public static double Sum(ReadOnlySpan<float> values) => SumWhereAtLeast(values, values, float.NegativeInfinity);

    /// <summary>Σ values[i] over the i with keys[i] ≥ <paramref name="lowest"/>, in double, in a fixed order.</summary>
    public static double SumWhereAtLeast(ReadOnlySpan<float> values, ReadOnlySpan<float> keys, float lowest)
    {
        int lanes = Vector256<float>.Count, i = 0;
        ref float first = ref MemoryMarshal.GetReference(values);
        ref float key = ref MemoryMarshal.GetReference(keys[..values.Length]);
        Vector256<float> bound = Vector256.Create(lowest);
        Vector256<double> low = default, high = default;
        for (; i <= values.Length - lanes; i += lanes)
        {
            Vector256<float> kept = Vector256.GreaterThanOrEqual(Vector256.LoadUnsafe(ref key, (nuint)i), bound);
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(Vector256.LoadUnsafe(ref first, (nuint)i) & kept);
            low += a;
            high += b;
        }

        double sum = Vector256.Sum(low + high);
        for (; i < values.Length; i++) sum += keys[i] >= lowest ? values[i] : 0;
        return sum;
    }

    /// <summary>How many elements are at least <paramref name="lowest"/>.</summary>
    public static int CountAtLeast(ReadOnlySpan<float> values, float lowest)
    {
        int lanes = Vector256<float>.Count, i = 0;
        ref float first = ref MemoryMarshal.GetReference(values);
        Vector256<float> bound = Vector256.Create(lowest);
        Vector256<int> count = default;
        for (; i <= values.Length - lanes; i += lanes)
            count -= Vector256.GreaterThanOrEqual(Vector256.LoadUnsafe(ref first, (nuint)i), bound).AsInt32();
        int sum = Vector256.Sum(count);
        for (; i < values.Length; i++) sum += values[i] >= lowest ? 1 : 0;
        return sum;
    }

    /// <summary>Bit j: values[j] ≥ <paramref name="lowest"/>, for the eight elements from <paramref name="start"/> on.</summary>
    public static uint MaskAtLeast(ReadOnlySpan<float> values, int start, float lowest)
    {
        Vector256<float> eight = Vector256.LoadUnsafe(ref MemoryMarshal.GetReference(values), (nuint)start);
        return Vector256.GreaterThanOrEqual(eight, Vector256.Create(lowest)).ExtractMostSignificantBits();
    }
}
