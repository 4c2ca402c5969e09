using System.Runtime.Intrinsics;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Backends.Cpu.Lanes;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>Blocks of activations, of all kinds of corrections, against a scalar one and among the widths.</summary>
public sealed unsafe class Int8QuantizerTests
{
    private const int MostSteps = 9;

    [Theory]
    [InlineData(WeightType.Int8)]
    [InlineData(WeightType.Q4K)]
    [InlineData(WeightType.Q6K)]
    public void Every_width_gives_the_blocks_of_the_scalar_rule(WeightType type)
    {
        PanelFormat format = PanelFormat.Of(type);
        int blockBytes = ActivationBlock.BytesOf(format.HasHalves);
        float[] row = Row();
        for (int steps = 1; steps <= MostSteps; steps++)
        {
            byte[] expected = Scalar(row, steps, 0.25f, format), portable = new byte[steps * blockBytes], middle = new byte[steps * blockBytes], wide = new byte[steps * blockBytes];
            fixed (float* x = row)
            fixed (byte* a = portable, b = middle, c = wide)
            {
                Int8Quantizer.QuantizeActivations<Lanes128>(x, steps, 0.25f, format, a);
                if (Vector256.IsHardwareAccelerated) Int8Quantizer.QuantizeActivations<Lanes256>(x, steps, 0.25f, format, b);
                if (Vector512.IsHardwareAccelerated) Int8Quantizer.QuantizeActivations<Lanes512>(x, steps, 0.25f, format, c);
            }

            Assert.Equal(expected, portable);
            if (Vector256.IsHardwareAccelerated) Assert.Equal(expected, middle);
            if (Vector512.IsHardwareAccelerated) Assert.Equal(expected, wide);
        }
    }

    /// <summary>Numbers of many magnitudes, ties, a block of zeros, one of numbers too small for a scale, one whose last number is the largest.</summary>
    private static float[] Row()
    {
        var random = new Random(5);
        var row = new float[MostSteps * 32];
        for (int i = 0; i < row.Length; i++) row[i] = (random.NextSingle() - 0.5f) * MathF.Pow(10, i / 32 % 4 - 2);
        Array.Clear(row, 32, 32);
        for (int i = 64; i < 96; i++) row[i] = (i - 80) * 1e-33f;
        row[127] = -5f;
        for (int i = 128; i < 160; i++) row[i] = i - 128 + 0.5f;
        row[128] = 127f;
        return row;
    }

    private static byte[] Scalar(float[] row, int steps, float factor, PanelFormat format)
    {
        var blocks = new byte[steps * ActivationBlock.BytesOf(format.HasHalves)];
        Span<int> sums = stackalloc int[2];
        for (int s = 0; s < steps; s++)
        {
            Span<byte> block = blocks.AsSpan(s * ActivationBlock.BytesOf(format.HasHalves));
            ReadOnlySpan<float> x = row.AsSpan(s * 32, 32);
            float largest = 0f;
            foreach (float v in x) largest = MathF.Max(largest, MathF.Abs(v));
            bool counts = largest >= Int8Quantizer.ZeroBelow;
            float inverse = counts ? 127f / largest : 0f, scale = counts ? largest / 127f * factor : 0f;
            sums.Clear();
            for (int i = 0; i < 32; i++)
            {
                int q = (int)MathF.Round(x[i] * inverse, MidpointRounding.ToEven);
                block[i] = (byte)(sbyte)q;
                sums[i / 16] += q;
            }

            BitConverter.TryWriteBytes(block[ActivationBlock.ScaleOffset..], scale);
            Span<byte> corrections = block[ActivationBlock.CorrectionOffset..];
            if (format.HasMinimum) BitConverter.TryWriteBytes(corrections, -(scale * (sums[0] + sums[1])));
            else BitConverter.TryWriteBytes(corrections, -format.Offset * (format.HasHalves ? sums[0] : sums[0] + sums[1]));
            if (format.HasHalves) BitConverter.TryWriteBytes(corrections[sizeof(int)..], -format.Offset * sums[1]);
        }

        return blocks;
    }
}
