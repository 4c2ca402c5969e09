using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Backends.Cuda.Kernels;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>Embedding, angles, residual and norm, SwiGLU against what their sources say, in double precision.</summary>
public sealed class ElementKernelTests
{
    [Theory]
    [InlineData(ActivationReference.BFloat16, 70, 1)]
    [InlineData(ActivationReference.Float, 300, 3)]
    [InlineData(ActivationReference.Int8, 130, 2)]
    public void Residual_norm_adds_pieces_normalises_and_writes_the_form(int form, int width, int pieces)
    {
        using var harness = new KernelHarness("norm");
        const int rows = 3, capacity = 5;
        int stride = width + 7, padded = ProductShape.PaddedLength(width);
        float[] hidden = KernelHarness.Random(capacity * width, 1), added = KernelHarness.Random(pieces * capacity * stride, 2);
        float[] bias = KernelHarness.Random(width, 3), gain = KernelHarness.Random(width, 4);
        DevicePointer<float> onDevice = harness.Upload(hidden), scales = harness.Allocate<float>(capacity * padded / 32);
        DevicePointer<byte> values = harness.Allocate<byte>(6L * capacity * padded);
        harness.Stream.Fill(values, 0, 6L * capacity * padded);
        harness.Stream.Fill(scales, 0, capacity * padded / 32);
        new ResidualNorm
        {
            Hidden = onDevice, Width = width, Pieces = harness.Upload(added), Count = pieces, Piece = capacity * stride, Stride = stride,
            Bias = harness.Upload(bias), Gain = harness.Upload(gain), Epsilon = 1e-5f, Gather = default, Rows = harness.Upload(rows), Form = form,
            Values = values, Scales = scales, Padded = padded, Part = (long)capacity * padded, Grid = capacity, Block = 256,
        }.Launch(harness.Stream);
        float[] after = harness.Download(onDevice, capacity * width);
        double[][] written = ActivationReference.Unpack(
            form, harness.Download(values, 6 * capacity * padded), harness.Download(scales, capacity * padded / 32), capacity, width);
        for (int r = 0; r < capacity; r++)
        {
            var expected = new float[width];
            double squares = 0;
            for (int f = 0; f < width; f++)
            {
                double x = hidden[r * width + f];
                for (int s = 0; s < pieces && r < rows; s++) x += added[(s * capacity + r) * stride + f];
                if (r < rows) x += bias[f];
                Assert.Equal(x, after[r * width + f], 1e-5);
                squares += x * x;
                expected[f] = (float)x;
            }

            if (r >= rows) continue;
            for (int f = 0; f < width; f++) expected[f] = (float)(expected[f] / Math.Sqrt(squares / width + 1e-5) * gain[f]);
            double tolerance = form == ActivationReference.Float ? 1e-5 : 0.03;
            for (int f = 0; f < width; f++) Assert.Equal(expected[f], written[r][f], tolerance);
        }
    }

    [Fact]
    public void Gathered_rows_are_normalised_without_being_changed()
    {
        using var harness = new KernelHarness("norm");
        const int width = 40, padded = 64;
        float[] hidden = KernelHarness.Random(4 * width, 1), added = KernelHarness.Random(4 * width, 2);
        DevicePointer<float> onDevice = harness.Upload(hidden);
        DevicePointer<byte> values = harness.Allocate<byte>(6 * 2 * padded);
        new ResidualNorm
        {
            Hidden = onDevice, Width = width, Pieces = harness.Upload(added), Count = 1, Piece = 0, Stride = width, Bias = default,
            Gain = harness.Upload([.. Enumerable.Repeat(1f, width)]), Epsilon = 0, Gather = harness.Upload(3, 1), Rows = harness.Upload(2),
            Form = ActivationReference.Float, Values = values, Scales = default, Padded = padded, Part = 2 * padded, Grid = 2, Block = 256,
        }.Launch(harness.Stream);
        Assert.Equal(hidden, harness.Download(onDevice, hidden.Length));
        double[][] written = ActivationReference.Unpack(ActivationReference.Float, harness.Download(values, 6 * 2 * padded), [], 2, width);
        foreach ((int at, int row) in new[] { (0, 3), (1, 1) })
        {
            double[] x = [.. Enumerable.Range(0, width).Select(f => (double)hidden[row * width + f] + added[row * width + f])];
            double norm = Math.Sqrt(x.Sum(v => v * v) / width);
            for (int f = 0; f < width; f++) Assert.Equal(x[f] / norm, written[at][f], 1e-5);
        }
    }

    [Theory]
    [InlineData(ActivationReference.BFloat16, 100)]
    [InlineData(ActivationReference.Float, 300)]
    [InlineData(ActivationReference.Int8, 70)]
    public void Swiglu_gates_the_up_projection(int form, int inner)
    {
        using var harness = new KernelHarness("swiglu");
        const int rows = 2, pieces = 2;
        int stride = 2 * inner + 3, padded = ProductShape.PaddedLength(inner);
        float[] x = KernelHarness.Random(pieces * rows * stride, 5, 4);
        DevicePointer<byte> values = harness.Allocate<byte>(6L * rows * padded);
        DevicePointer<float> scales = harness.Allocate<float>(rows * padded / 32);
        harness.Stream.Fill(values, 0, 6L * rows * padded);
        harness.Stream.Fill(scales, 0, rows * padded / 32);
        new Swiglu
        {
            Pieces = harness.Upload(x), Count = pieces, Piece = rows * stride, Stride = stride, Inner = inner, Rows = harness.Upload(rows), Form = form,
            Values = values, Scales = scales, Padded = padded, Part = (long)rows * padded, Grid = ((padded + 255) / 256, rows), Block = 256,
        }.Launch(harness.Stream);
        double[][] written = ActivationReference.Unpack(
            form, harness.Download(values, 6 * rows * padded), harness.Download(scales, rows * padded / 32), rows, inner);
        for (int r = 0; r < rows; r++)
        {
            for (int f = 0; f < inner; f++)
            {
                double gate = x[r * stride + f] + (double)x[(rows + r) * stride + f], up = x[r * stride + inner + f] + (double)x[(rows + r) * stride + inner + f];
                double expected = gate / (1 + Math.Exp(-gate)) * up;
                Assert.Equal(expected, written[r][f], form == ActivationReference.Float ? 1e-4 : 0.3);
            }
        }
    }

    [Theory]
    [InlineData(WeightType.BF16)]
    [InlineData(WeightType.Int8)]
    public void Embedding_reads_rows_out_of_fragments(WeightType type)
    {
        using var test = new ProductTest(type, false, 45, 77);
        using var harness = new KernelHarness("embed");
        (DevicePointer<byte> table, DevicePointer<ushort> scales) = test.UploadTo(harness);
        int[] tokens = [44, 0, 17];
        DevicePointer<float> hidden = harness.Allocate<float>(3 * 77);
        DevicePointer<int> ids = harness.Upload(tokens), rows = harness.Upload(3);
        if (type == WeightType.BF16)
            new EmbedBf16 { Table = table.As<ushort>(), Units = test.Shape.Units, Tokens = ids, Rows = rows, Hidden = hidden, Width = 77, Grid = 4, Block = 64 }.Launch(harness.Stream);
        else
            new EmbedInt8 { Table = table, Scales = scales, Units = test.Shape.Units, Tokens = ids, Rows = rows, Hidden = hidden, Width = 77, Grid = 4, Block = 64 }.Launch(harness.Stream);
        float[] actual = harness.Download(hidden, 3 * 77);
        for (int r = 0; r < 3; r++)
        {
            double[] expected = test.KeptRow(tokens[r]);
            for (int k = 0; k < 77; k++) Assert.Equal(expected[k], actual[r * 77 + k], 1e-7);
        }
    }

    [Fact]
    public void Angles_are_those_of_double_precision()
    {
        using var harness = new KernelHarness("embed");
        double[] frequencies = [.. Enumerable.Range(0, 20).Select(i => Math.Pow(500_000, -i / 20.0))];
        int[] positions = [0, 1, 7, 1023, 131_071];
        DevicePointer<float> angles = harness.Allocate<float>(positions.Length * 40);
        new RopeAngles
        {
            Frequencies = harness.Upload(frequencies), Positions = harness.Upload(positions), Rows = harness.Upload(positions.Length), Angles = angles, Half = 20,
            Factor = 1.25f, Grid = 8, Block = 32,
        }.Launch(harness.Stream);
        float[] actual = harness.Download(angles, positions.Length * 40);
        for (int r = 0; r < positions.Length; r++)
        {
            for (int i = 0; i < 20; i++)
            {
                (double sine, double cosine) = Math.SinCos(positions[r] * frequencies[i]);
                Assert.Equal(cosine * 1.25, actual[r * 40 + i], 1.2e-7);
                Assert.Equal(sine * 1.25, actual[r * 40 + 20 + i], 1.2e-7);
            }
        }
    }
}
