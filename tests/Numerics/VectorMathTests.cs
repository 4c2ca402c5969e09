using System.Runtime.Intrinsics;
using Foretoken.Numerics;

namespace Foretoken.Tests.Numerics;

public class VectorMathTests
{
    [Fact]
    public void Exp_is_within_its_documented_error()
    {
        double worst = 0;
        for (int i = 0; i <= 2_000_000; i++)
        {
            float x = -87.3f + i * (88.7f + 87.3f) / 2_000_000;
            double exact = Math.Exp(x);
            worst = Math.Max(worst, Math.Abs(VectorMath.Exp(x) - exact) / exact);
        }

        Assert.InRange(worst, 1e-9, 1.2e-7);
    }

    [Theory]
    [InlineData(0f, 1f)]
    [InlineData(float.NegativeInfinity, 0f)]
    [InlineData(-87.34f, 0f)]
    [InlineData(-1e30f, 0f)]
    [InlineData(88.73f, float.PositiveInfinity)]
    [InlineData(float.PositiveInfinity, float.PositiveInfinity)]
    [InlineData(float.NaN, float.NaN)]
    public void Exp_at_the_edges(float x, float expected) => Assert.Equal(expected, VectorMath.Exp(x));

    [Fact]
    public void Exp_reaches_both_ends_of_the_normal_range()
    {
        Assert.InRange(VectorMath.Exp(-87.33654f), 1.17549e-38f, 1.17551e-38f);
        Assert.InRange(VectorMath.Exp(88.72283f), 3.4027e38f, float.MaxValue);
    }

    [Fact]
    public void Exp_has_the_same_bits_at_every_width_and_lane()
    {
        var random = new SeededRandom(3);
        Span<float> x = stackalloc float[16];
        Span<float> y = stackalloc float[16];
        for (int round = 0; round < 2000; round++)
        {
            for (int i = 0; i < 16; i++) x[i] = (float)((random.NextDouble() - 0.5) * 200);
            VectorMath.Exp(Vector512.Create<float>(x)).CopyTo(y);
            for (int i = 0; i < 16; i++)
            {
                int bits = BitConverter.SingleToInt32Bits(VectorMath.Exp(x[i]));
                Assert.Equal(bits, BitConverter.SingleToInt32Bits(y[i]));
                Assert.Equal(bits, BitConverter.SingleToInt32Bits(VectorMath.Exp(Vector256.Create(x[i]))[i % 8]));
            }
        }
    }
}
