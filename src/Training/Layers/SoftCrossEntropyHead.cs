using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>
/// Logits and the cross-entropy to a teacher's distribution in one go, in blocks of 256 rows: the loss of a row is −Σ teacher·log p, its gradient (p − teacher)·weight.
/// Less the teacher's entropy this is KL(teacher ‖ p). One instance per thread.
/// </summary>
internal sealed unsafe class SoftCrossEntropyHead : IDisposable
{
    private const int BlockRows = 256;
    private readonly FloatBuffer _logits; // [256, vocabulary]
    private readonly int _hidden, _vocabulary;

    public SoftCrossEntropyHead(int hidden, int vocabulary)
    {
        (_hidden, _vocabulary) = (hidden, vocabulary);
        _logits = new FloatBuffer((long)BlockRows * vocabulary);
    }

    /// <summary>
    /// Per row of h[rows, hidden] with teacher[rows, vocabulary]: losses[row] (unweighted) and best[row], the token of the greatest logit. When
    /// <paramref name="dh"/> is not null it receives the gradient of Σ weights·losses; <paramref name="dw"/> (null: frozen) accumulates that of w[vocabulary, hidden].
    /// </summary>
    public void Run(Gemm gemm, float* h, float* w, float* teacher, ReadOnlySpan<float> weights, Span<float> losses, Span<int> best, float* dh, float* dw)
    {
        for (int start = 0; start < weights.Length; start += BlockRows)
        {
            int count = Math.Min(BlockRows, weights.Length - start);
            float* block = h + (long)start * _hidden;
            gemm.Forward(block, w, _logits.Pointer, count, _hidden, _vocabulary);
            for (int row = 0; row < count; row++)
            {
                float* logits = _logits.Pointer + (long)row * _vocabulary;
                best[start + row] = LargestIndex(logits, _vocabulary);
                losses[start + row] = Gradient(logits, teacher + (long)(start + row) * _vocabulary, weights[start + row]);
            }

            if (dh == null) continue;
            gemm.BackwardInput(_logits.Pointer, w, dh + (long)start * _hidden, count, _hidden, _vocabulary, accumulate: false);
            if (dw != null) gemm.BackwardWeight(_logits.Pointer, block, dw, count, _hidden, _vocabulary);
        }
    }

    /// <summary>Softmax of a row in place; returns log Σ e^x.</summary>
    public static float Softmax(float* x, int count)
    {
        float maximum = x[LargestIndex(x, count)];
        Vector512<float> sums = default, offset = Vector512.Create(maximum);
        int i = 0;
        for (; i + 16 <= count; i += 16)
        {
            Vector512<float> e = RowMath.Exp(Vector512.Load(x + i) - offset);
            e.Store(x + i);
            sums += e;
        }

        float sum = Vector512.Sum(sums);
        for (; i < count; i++) sum += x[i] = MathF.Exp(x[i] - maximum);
        RowMath.Scale(x, 1f / sum, count);
        return maximum + MathF.Log(sum);
    }

    /// <summary>Index of the greatest element, the lowest among equals.</summary>
    public static int LargestIndex(float* x, int count)
    {
        int i = 0, best = 0;
        if (count >= 16)
        {
            Vector512<float> maxima = Vector512.Load(x);
            for (i = 16; i + 16 <= count; i += 16) maxima = Vector512.Max(maxima, Vector512.Load(x + i));
            float maximum = maxima[0];
            for (int lane = 1; lane < 16; lane++) maximum = MathF.Max(maximum, maxima[lane]);
            Vector512<float> wanted = Vector512.Create(maximum);
            for (int j = 0; j < i; j += 16)
            {
                ulong equal = Vector512.Equals(Vector512.Load(x + j), wanted).ExtractMostSignificantBits();
                if (equal == 0) continue;
                best = j + System.Numerics.BitOperations.TrailingZeroCount(equal);
                break;
            }
        }

        for (; i < count; i++)
            if (x[i] > x[best]) best = i;
        return best;
    }

    /// <summary>Replaces one row of logits by (softmax − teacher)·weight; returns the cross-entropy.</summary>
    private float Gradient(float* logits, float* teacher, float weight)
    {
        float dot = RowMath.Dot(logits, teacher, _vocabulary); // Σ teacher = 1
        float log = Softmax(logits, _vocabulary);
        RowMath.Scale(logits, weight, _vocabulary);
        RowMath.AddScaled(logits, teacher, -weight, _vocabulary);
        return log - dot;
    }

    public void Dispose() => _logits.Dispose();
}
