using System.Runtime.Intrinsics;
using Foretoken.Numerics;

namespace Foretoken.Backends.Cpu;

/// <summary>
/// Softmax-weighted sums over some keys, for several columns: the largest score m, l = Σ exp(s − m) and o = Σ exp(s − m)·v. Two of them fold into one.
/// Columns are padded to whole blocks of four.
/// </summary>
internal readonly unsafe struct AttentionPartial(float* maximum, float* sum, float* output)
{
    /// <summary>m. // [columns]</summary>
    public readonly float* Maximum = maximum;

    /// <summary>l. // [columns]</summary>
    public readonly float* Sum = sum;

    /// <summary>o. // [columns, ValueDim]</summary>
    public readonly float* Output = output;

    /// <summary>Floats of <paramref name="columns"/> columns; whole cache lines, as threads write neighbours.</summary>
    public static long Floats(int columns, int valueDim) => ((long)columns * (valueDim + 2) + 15) / 16 * 16;

    /// <summary>The partial result that begins at <paramref name="memory"/>.</summary>
    public static AttentionPartial At(float* memory, int columns, int valueDim) =>
        new(memory + (long)columns * valueDim, memory + (long)columns * (valueDim + 1), memory);

    /// <summary>The part that begins at <paramref name="column"/>.</summary>
    public AttentionPartial From(int column, int valueDim) => new(Maximum + column, Sum + column, Output + (long)column * valueDim);

    /// <summary>Makes it the result over no key.</summary>
    public void Clear(int columns, int valueDim)
    {
        new Span<float>(Maximum, columns).Fill(float.NegativeInfinity);
        new Span<float>(Sum, columns).Clear();
        new Span<float>(Output, columns * valueDim).Clear();
    }

    /// <summary>
    /// Folds in <paramref name="next"/>, whose keys lie behind: m' = max(m, n.m), a = exp(m − m'), b = exp(n.m − m'), l = fma(n.l, b, l·a), and o likewise.
    /// A result over no key changes nothing, and the first one is taken over as it is.
    /// </summary>
    public void Fold(in AttentionPartial next, int columns, int valueDim)
    {
        for (int block = 0; block < columns; block += 4) // arrays are padded to whole blocks
        {
            Vector128<float> maximum = Vector128.Load(Maximum + block), nextMaximum = Vector128.Load(next.Maximum + block);
            Vector128<float> sum = Vector128.Load(Sum + block), nextSum = Vector128.Load(next.Sum + block);
            Vector128<float> largest = Vector128.Max(maximum, nextMaximum);
            Vector128<float> factor = VectorMath.Exp(maximum - largest), nextFactor = VectorMath.Exp(nextMaximum - largest);
            Vector128<float> empty = Vector128.Equals(nextSum, Vector128<float>.Zero); // a sum that is no number takes its way
            Vector128.ConditionalSelect(empty, maximum, largest).Store(Maximum + block);
            Vector128.ConditionalSelect(empty, sum, Vector128.FusedMultiplyAdd(nextSum, nextFactor, sum * factor)).Store(Sum + block);
            float* o = Output + (long)block * valueDim, n = next.Output + (long)block * valueDim;
            if (columns - block >= 4 && !Vector128.EqualsAny(nextSum, Vector128<float>.Zero))
            {
                AddScaled(o, factor, n, nextFactor, valueDim);
                continue;
            }

            for (int c = 0; c < Math.Min(columns - block, 4); c++, o += valueDim, n += valueDim)
            {
                if (nextSum[c] != 0f) AddScaled(o, factor[c], n, nextFactor[c], valueDim);
            }
        }
    }

    /// <summary>o = fma(n, b, o·a) for four columns, which wait for each other less.</summary>
    private static void AddScaled(float* o, Vector128<float> a, float* n, Vector128<float> b, int count)
    {
        Vector512<float> a0 = Vector512.Create(a[0]), a1 = Vector512.Create(a[1]), a2 = Vector512.Create(a[2]), a3 = Vector512.Create(a[3]);
        Vector512<float> b0 = Vector512.Create(b[0]), b1 = Vector512.Create(b[1]), b2 = Vector512.Create(b[2]), b3 = Vector512.Create(b[3]);
        float* o1 = o + count, o2 = o1 + count, o3 = o2 + count, n1 = n + count, n2 = n1 + count, n3 = n2 + count;
        for (int d = 0; d < count; d += 16)
        {
            Vector512.FusedMultiplyAdd(Vector512.Load(n + d), b0, Vector512.Load(o + d) * a0).Store(o + d);
            Vector512.FusedMultiplyAdd(Vector512.Load(n1 + d), b1, Vector512.Load(o1 + d) * a1).Store(o1 + d);
            Vector512.FusedMultiplyAdd(Vector512.Load(n2 + d), b2, Vector512.Load(o2 + d) * a2).Store(o2 + d);
            Vector512.FusedMultiplyAdd(Vector512.Load(n3 + d), b3, Vector512.Load(o3 + d) * a3).Store(o3 + d);
        }
    }

    /// <summary>The same for one column.</summary>
    private static void AddScaled(float* o, float a, float* n, float b, int count)
    {
        Vector512<float> factorA = Vector512.Create(a), factorB = Vector512.Create(b);
        for (int d = 0; d < count; d += 16) Vector512.FusedMultiplyAdd(Vector512.Load(n + d), factorB, Vector512.Load(o + d) * factorA).Store(o + d);
    }
}
