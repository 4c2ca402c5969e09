using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>The block of Medusa's heads: y = x + silu(x·Wᵀ + b) (Cai et al., 2024).</summary>
internal static unsafe class ResidualSilu
{
    /// <summary>Writes y[rows, width] and z[rows, width] = x·Wᵀ + b, which the backward pass needs; w is [width, width].</summary>
    public static void Forward(Gemm gemm, float* x, float* w, float* bias, float* z, float* y, int rows, int width)
    {
        gemm.Forward(x, w, z, rows, width, width);
        int whole = width & ~15, rest = width - whole;
        for (int row = 0; row < rows; row++, x += width, y += width, z += width)
        {
            RowMath.Add(z, bias, width);
            for (int i = 0; i < whole; i += 16) Value(Vector512.Load(x + i), Vector512.Load(z + i)).Store(y + i);
            if (rest > 0) RowMath.StorePart(Value(RowMath.LoadPart(x + whole, rest), RowMath.LoadPart(z + whole, rest)), y + whole, rest);
        }
    }

    /// <summary>
    /// Given dy[rows, width]: dx = dy + dz·W with dz = dy·silu′(z), which replaces z; dw[width, width] and dbias[width] are added to. dx may be dy.
    /// </summary>
    public static void Backward(Gemm gemm, float* dy, float* x, float* z, float* w, float* dx, float* dw, float* dbias, int rows, int width)
    {
        int whole = width & ~15, rest = width - whole;
        float* gradient = dy, slope = z;
        for (int row = 0; row < rows; row++, gradient += width, slope += width)
        {
            for (int i = 0; i < whole; i += 16) (Vector512.Load(gradient + i) * Slope(Vector512.Load(slope + i))).Store(slope + i);
            if (rest > 0) RowMath.StorePart(RowMath.LoadPart(gradient + whole, rest) * Slope(RowMath.LoadPart(slope + whole, rest)), slope + whole, rest);
            RowMath.Add(dbias, slope, width);
        }

        gemm.BackwardWeight(z, x, dw, rows, width, width);
        if (dx != dy) new Span<float>(dy, rows * width).CopyTo(new Span<float>(dx, rows * width));
        gemm.BackwardInput(z, w, dx, rows, width, width, accumulate: true);
    }

    private static Vector512<float> Value(Vector512<float> x, Vector512<float> z) => Vector512.FusedMultiplyAdd(z, RowMath.Sigmoid(z), x);

    /// <summary>silu′ = σ + z·σ·(1 − σ).</summary>
    private static Vector512<float> Slope(Vector512<float> z)
    {
        Vector512<float> sigmoid = RowMath.Sigmoid(z);
        return Vector512.FusedMultiplyAdd(z * sigmoid, Vector512<float>.One - sigmoid, sigmoid);
    }
}
