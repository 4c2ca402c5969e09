using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Foretoken.Training;

/// <summary>y = silu(gate) · up, with gate and up side by side: gateUp[rows, 2·width] = gate | up (Shazeer, 2020).</summary>
internal static unsafe class SwiGlu
{
    /// <summary>Writes y[rows, width].</summary>
    public static void Forward(float* gateUp, float* y, int rows, int width)
    {
        int whole = width & ~15, rest = width - whole;
        for (int row = 0; row < rows; row++, gateUp += 2 * width, y += width)
        {
            for (int i = 0; i < whole; i += 16) Value(Vector512.Load(gateUp + i), Vector512.Load(gateUp + width + i)).Store(y + i);
            if (rest > 0)
                RowMath.StorePart(Value(RowMath.LoadPart(gateUp + whole, rest), RowMath.LoadPart(gateUp + width + whole, rest)), y + whole, rest);
        }
    }

    /// <summary>Replaces gateUp[rows, 2·width] by its gradient, given dy[rows, width].</summary>
    public static void BackwardInPlace(float* dy, float* gateUp, int rows, int width)
    {
        int whole = width & ~15, rest = width - whole;
        for (int row = 0; row < rows; row++, gateUp += 2 * width, dy += width)
        {
            for (int i = 0; i < whole; i += 16)
            {
                (Vector512<float> gate, Vector512<float> up) = Slopes(Vector512.Load(gateUp + i), Vector512.Load(gateUp + width + i), Vector512.Load(dy + i));
                gate.Store(gateUp + i);
                up.Store(gateUp + width + i);
            }
            if (rest == 0) continue;
            (Vector512<float> lastGate, Vector512<float> lastUp) = Slopes(
                RowMath.LoadPart(gateUp + whole, rest), RowMath.LoadPart(gateUp + width + whole, rest), RowMath.LoadPart(dy + whole, rest));
            RowMath.StorePart(lastGate, gateUp + whole, rest);
            RowMath.StorePart(lastUp, gateUp + width + whole, rest);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Value(Vector512<float> gate, Vector512<float> up) => gate * RowMath.Sigmoid(gate) * up;

    /// <summary>Gradients of gate and up; d silu = σ + silu · (1 − σ).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector512<float> Gate, Vector512<float> Up) Slopes(Vector512<float> gate, Vector512<float> up, Vector512<float> gradient)
    {
        Vector512<float> sigmoid = RowMath.Sigmoid(gate), silu = gate * sigmoid;
        Vector512<float> slope = Vector512.FusedMultiplyAdd(silu, Vector512<float>.One - sigmoid, sigmoid);
        return (gradient * up * slope, gradient * silu);
    }
}
