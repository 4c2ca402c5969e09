using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>
/// Logits and weighted softmax cross-entropy in one go, in blocks of 256 rows so that logits [256, vocabulary] never leave the cache: the loss is
/// Σ weight·(−log p(target)), its gradient (p − onehot)·weight goes straight back through the output matrix. One instance per thread.
/// </summary>
public sealed unsafe class CrossEntropyHead : IDisposable
{
    private const int BlockRows = 256;
    private readonly FloatBuffer _logits; // [256, vocabulary]
    private readonly int _hidden, _vocabulary;

    /// <summary>A head from <paramref name="hidden"/> features to <paramref name="vocabulary"/> logits.</summary>
    public CrossEntropyHead(int hidden, int vocabulary)
    {
        (_hidden, _vocabulary) = (hidden, vocabulary);
        _logits = new FloatBuffer((long)BlockRows * vocabulary);
    }

    /// <summary>
    /// Per row of h[rows, hidden]: losses[row] = −log p(targets[row]) (unweighted) and correct[row] = the target has the greatest logit. When
    /// <paramref name="dh"/> is not null it receives the gradient of Σ weights·losses; <paramref name="dw"/> (null: frozen) accumulates the
    /// gradient of w[vocabulary, hidden].
    /// </summary>
    public void Run(
        Gemm gemm, float* h, float* w, ReadOnlySpan<int> targets, ReadOnlySpan<float> weights, Span<float> losses, Span<bool> correct, float* dh, float* dw)
    {
        int rows = targets.Length;
        for (int start = 0; start < rows; start += BlockRows)
        {
            int count = Math.Min(BlockRows, rows - start);
            float* block = h + (long)start * _hidden;
            gemm.Forward(block, w, _logits.Pointer, count, _hidden, _vocabulary);
            for (int row = 0; row < count; row++)
            {
                (losses[start + row], correct[start + row]) =
                    SoftmaxGradient(_logits.Pointer + (long)row * _vocabulary, targets[start + row], weights[start + row]);
            }
            if (dh == null) continue;
            gemm.BackwardInput(_logits.Pointer, w, dh + (long)start * _hidden, count, _hidden, _vocabulary, accumulate: false);
            if (dw != null) gemm.BackwardWeight(_logits.Pointer, block, dw, count, _hidden, _vocabulary);
        }
    }

    /// <summary>Replaces one row of logits by (softmax − onehot)·weight.</summary>
    private (float Loss, bool Correct) SoftmaxGradient(float* logits, int target, float weight)
    {
        Vector512<float> maxima = Vector512.Create(float.NegativeInfinity);
        int i = 0;
        for (; i + 16 <= _vocabulary; i += 16) maxima = Vector512.Max(maxima, Vector512.Load(logits + i));
        float maximum = float.NegativeInfinity;
        for (int lane = 0; lane < 16; lane++) maximum = MathF.Max(maximum, maxima[lane]);
        for (; i < _vocabulary; i++) maximum = MathF.Max(maximum, logits[i]);
        float targetLogit = logits[target];

        Vector512<float> sums = default, offset = Vector512.Create(maximum);
        for (i = 0; i + 16 <= _vocabulary; i += 16)
        {
            Vector512<float> e = RowMath.Exp(Vector512.Load(logits + i) - offset);
            e.Store(logits + i);
            sums += e;
        }
        float sum = Vector512.Sum(sums);
        for (; i < _vocabulary; i++) sum += logits[i] = MathF.Exp(logits[i] - maximum);
        RowMath.Scale(logits, weight / sum, _vocabulary);
        logits[target] -= weight;
        return (maximum + MathF.Log(sum) - targetLogit, targetLogit >= maximum);
    }

    /// <inheritdoc/>
    public void Dispose() => _logits.Dispose();
}
