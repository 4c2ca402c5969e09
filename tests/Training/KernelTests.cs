using Foretoken.Numerics;
using Foretoken.Training;

namespace Foretoken.Tests.Training;

public unsafe class KernelTests
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(13, 33, 5)]
    [InlineData(25, 600, 259)]
    [InlineData(300, 24, 12)]
    public void Products_match_double_precision(int rows, int inputs, int outputs)
    {
        var random = new SeededRandom(3);
        using FloatBuffer x = Random(random, rows * inputs), w = Random(random, outputs * inputs), dy = Random(random, rows * outputs);
        using var y = new FloatBuffer(rows * outputs);
        using FloatBuffer dx = Random(random, rows * inputs), dw = Random(random, outputs * inputs);
        float[] dxBefore = dx.Span.ToArray(), dwBefore = dw.Span.ToArray();
        using var gemm = new Gemm();
        gemm.Forward(x.Pointer, w.Pointer, y.Pointer, rows, inputs, outputs);
        gemm.BackwardInput(dy.Pointer, w.Pointer, dx.Pointer, rows, inputs, outputs, accumulate: true);
        gemm.BackwardWeight(dy.Pointer, x.Pointer, dw.Pointer, rows, inputs, outputs);

        double worst = 0;
        for (int r = 0; r < rows; r++)
            for (int o = 0; o < outputs; o++)
                worst = Math.Max(worst, Math.Abs(y.Span[r * outputs + o] - Sum(inputs, i => x.Span[r * inputs + i] * (double)w.Span[o * inputs + i])));
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < inputs; i++)
                worst = Math.Max(worst, Math.Abs(dx.Span[r * inputs + i] - dxBefore[r * inputs + i] - Sum(outputs, o => dy.Span[r * outputs + o] * (double)w.Span[o * inputs + i])));
        for (int o = 0; o < outputs; o++)
            for (int i = 0; i < inputs; i++)
                worst = Math.Max(worst, Math.Abs(dw.Span[o * inputs + i] - dwBefore[o * inputs + i] - Sum(rows, r => dy.Span[r * outputs + o] * (double)x.Span[r * inputs + i])));
        Assert.InRange(worst, 0, 1e-4);
    }

    [Fact]
    public void Exponential_is_within_its_documented_error()
    {
        double worst = 0;
        for (float x = -87f; x < 88f; x += 0.00731f)
        {
            float got = RowMath.Exp(System.Runtime.Intrinsics.Vector512.Create(x))[3];
            worst = Math.Max(worst, Math.Abs(got / Math.Exp(x) - 1));
        }
        Assert.InRange(worst, 0, 3e-7);
    }

    private static double Sum(int count, Func<int, double> term)
    {
        double total = 0;
        for (int i = 0; i < count; i++) total += term(i);
        return total;
    }

    private static FloatBuffer Random(SeededRandom random, int count)
    {
        var buffer = new FloatBuffer(count);
        foreach (ref float value in buffer.Span) value = (float)random.NextGaussian();
        return buffer;
    }
}
