using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>Vector primitives of the trainer over raw f32 arrays; counts need not be multiples of the vector width.</summary>
internal static unsafe class RowMath
{
    /// <summary>
    /// e^x per lane with a relative error below 3e-7 for −87 ≤ x ≤ 88; x is clamped to that range. Range reduction by ln 2 in two parts and the
    /// degree-6 polynomial of the Cephes library (expf).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp(Vector512<float> x)
    {
        x = Vector512.Min(Vector512.Max(x, Vector512.Create(-87f)), Vector512.Create(88f));
        // Adding 1.5 · 2²³ rounds to the nearest integer and leaves it in the low bits.
        Vector512<float> magic = Vector512.Create(12582912f);
        Vector512<float> shifted = Vector512.FusedMultiplyAdd(x, Vector512.Create(1.44269504f), magic);
        Vector512<float> n = shifted - magic;
        Vector512<float> r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), r);
        Vector512<float> p = Vector512.Create(1.9875691500e-4f);
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.3981999507e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(8.3334519073e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(4.1665795894e-2f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.6666665459e-1f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(5.0000001201e-1f));
        p = Vector512.FusedMultiplyAdd(p, r * r, r + Vector512<float>.One);
        return (p.AsInt32() + Vector512.ShiftLeft(shifted.AsInt32(), 23)).AsSingle();
    }

    /// <summary>1 / (1 + e^−x) per lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Sigmoid(Vector512<float> x) => Vector512<float>.One / (Vector512<float>.One + Exp(-x));

    /// <summary>Loads the first <paramref name="count"/> (≤ 16) floats, the rest zero.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Vector512<float> LoadPart(float* source, int count)
    {
        if (count >= 16) return Vector512.Load(source);
        float* lanes = stackalloc float[16];
        Vector512<float>.Zero.Store(lanes);
        for (int i = 0; i < count; i++) lanes[i] = source[i];
        return Vector512.Load(lanes);
    }

    /// <summary>Stores the first <paramref name="count"/> (≤ 16) lanes.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void StorePart(Vector512<float> value, float* target, int count)
    {
        if (count >= 16)
        {
            value.Store(target);
            return;
        }
        for (int i = 0; i < count; i++) target[i] = value[i];
    }

    /// <summary>Σ a·b.</summary>
    public static float Dot(float* a, float* b, int count)
    {
        Vector512<float> sum = default;
        int i = 0;
        for (; i + 16 <= count; i += 16) sum = Vector512.FusedMultiplyAdd(Vector512.Load(a + i), Vector512.Load(b + i), sum);
        float total = Vector512.Sum(sum);
        for (; i < count; i++) total += a[i] * b[i];
        return total;
    }

    /// <summary>target += source.</summary>
    public static void Add(float* target, float* source, long count)
    {
        long i = 0;
        for (; i + 16 <= count; i += 16) (Vector512.Load(target + i) + Vector512.Load(source + i)).Store(target + i);
        for (; i < count; i++) target[i] += source[i];
    }

    /// <summary>target += factor · source.</summary>
    public static void AddScaled(float* target, float* source, float factor, long count)
    {
        Vector512<float> f = Vector512.Create(factor);
        long i = 0;
        for (; i + 16 <= count; i += 16) Vector512.FusedMultiplyAdd(f, Vector512.Load(source + i), Vector512.Load(target + i)).Store(target + i);
        for (; i < count; i++) target[i] += factor * source[i];
    }

    /// <summary>target = a + b.</summary>
    public static void Sum(float* target, float* a, float* b, long count)
    {
        long i = 0;
        for (; i + 16 <= count; i += 16) (Vector512.Load(a + i) + Vector512.Load(b + i)).Store(target + i);
        for (; i < count; i++) target[i] = a[i] + b[i];
    }

    /// <summary>target *= factor.</summary>
    public static void Scale(float* target, float factor, long count)
    {
        Vector512<float> f = Vector512.Create(factor);
        long i = 0;
        for (; i + 16 <= count; i += 16) (Vector512.Load(target + i) * f).Store(target + i);
        for (; i < count; i++) target[i] *= factor;
    }

    /// <summary>Σ x² in f64: 16 f32 lanes are widened every 4096 elements, so long arrays lose nothing.</summary>
    public static double SumOfSquares(float* source, long count)
    {
        double total = 0;
        for (long start = 0; start < count; start += 4096)
        {
            int length = (int)Math.Min(4096, count - start);
            total += Dot(source + start, source + start, length);
        }
        return total;
    }
}
