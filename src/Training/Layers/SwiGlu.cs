using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>y = silu(gate) · up, with gate and up side by side: gateUp[rows, 2·width] = gate | up (Shazeer, 2020).</summary>
internal static unsafe class SwiGlu
{
    /// <summary>Writes y[rows, width].</summary>
    public static void Forward(float* gateUp, float* y, int rows, int width)
    {
        for (int row = 0; row < rows; row++, gateUp += 2 * width, y += width)
        {
            for (int i = 0; i < width; i += 16)
            {
                int count = Math.Min(16, width - i);
                Vector512<float> gate = RowMath.LoadPart(gateUp + i, count), up = RowMath.LoadPart(gateUp + width + i, count);
                RowMath.StorePart(gate * RowMath.Sigmoid(gate) * up, y + i, count);
            }
        }
    }

    /// <summary>Replaces gateUp[rows, 2·width] by its gradient, given dy[rows, width].</summary>
    public static void BackwardInPlace(float* dy, float* gateUp, int rows, int width)
    {
        for (int row = 0; row < rows; row++, gateUp += 2 * width, dy += width)
        {
            for (int i = 0; i < width; i += 16)
            {
                int count = Math.Min(16, width - i);
                Vector512<float> gate = RowMath.LoadPart(gateUp + i, count), up = RowMath.LoadPart(gateUp + width + i, count);
                Vector512<float> gradient = RowMath.LoadPart(dy + i, count);
                Vector512<float> sigmoid = RowMath.Sigmoid(gate), silu = gate * sigmoid;
                // d silu = σ + silu · (1 − σ)
                Vector512<float> slope = Vector512.FusedMultiplyAdd(silu, Vector512<float>.One - sigmoid, sigmoid);
                RowMath.StorePart(gradient * up * slope, gateUp + i, count);
                RowMath.StorePart(gradient * silu, gateUp + width + i, count);
            }
        }
    }
}
