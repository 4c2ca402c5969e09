using Foretoken.Backends;
using Foretoken.Backends.Cuda;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cuda.Kernels;

/// <summary>The weight-streaming products against exact sums, on shapes that fit nothing.</summary>
public sealed class ProductKernelTests
{
    public static TheoryData<WeightType, bool, int, int, int> Shapes()
    {
        var data = new TheoryData<WeightType, bool, int, int, int>();
        foreach ((WeightType type, bool floats) in new[] { (WeightType.BF16, false), (WeightType.BF16, true), (WeightType.Int8, false) })
        {
            data.Add(type, floats, 40, 70, 1);
            data.Add(type, floats, 33, 1100, 3);
            data.Add(type, floats, 64, 512, 8);
            data.Add(type, floats, 37, 99, 13);
            data.Add(type, floats, 96, 200, 70);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Product_equals_the_exact_sums(WeightType type, bool floats, int features, int width, int rows)
    {
        using var test = new ProductTest(type, floats, features, width);
        float[][] x = Rows(rows, width, 7);
        float[][] actual = test.Run(x);
        double[][] expected = test.Exact(x);
        double largest = expected.SelectMany(r => r).Max(Math.Abs);
        for (int r = 0; r < rows; r++)
        {
            for (int f = 0; f < features; f++)
                Assert.True(Math.Abs(expected[r][f] - actual[r][f]) < 2e-6 * largest * Math.Sqrt(width), $"row {r}, feature {f}: {actual[r][f]} instead of {expected[r][f]}");
        }
    }

    [Theory]
    [InlineData(WeightType.BF16, false)]
    [InlineData(WeightType.BF16, true)]
    [InlineData(WeightType.Int8, false)]
    public void A_row_has_the_same_bits_alone_and_among_others(WeightType type, bool floats)
    {
        const int width = 580, features = 70;
        using var test = new ProductTest(type, floats, features, width);
        float[][] x = Rows(67, width, 3);
        float[][] alone = [.. x.Take(3).Select(row => test.Run([row])[0])];
        foreach (int rows in new[] { 3, 12, 30, 67 })
        {
            float[][] among = test.Run([.. x.Skip(x.Length - rows + 3), .. x.Take(3)]); // at other columns too
            for (int r = 0; r < 3; r++) Assert.Equal(alone[r], among[rows - 3 + r]);
        }
    }

    [Fact]
    public void Pieces_of_K_add_up_and_depend_on_the_weight_only()
    {
        ProductShape shape = ProductShape.Of(64, 2048, WeightType.BF16);
        Assert.Equal(new ProductShape(2, 64, 2, 8), shape);
        using var test = new ProductTest(WeightType.BF16, true, 64, 2048);
        float[][] x = Rows(2, 2048, 9);
        double[][] expected = test.Exact(x);
        float[][] actual = test.Run(x);
        for (int f = 0; f < 64; f++) Assert.Equal(expected[1][f], actual[1][f], 1e-3);
    }

    internal static float[][] Rows(int rows, int width, ulong seed) =>
        [.. Enumerable.Range(0, rows).Select(r => KernelHarness.Random(width, seed + 100 * (ulong)r, 1 + r % 3))];
}

/// <summary>One matrix on the machine.</summary>
internal sealed class ProductTest : IDisposable, IRowSource
{
    private readonly WeightType _type;
    private readonly int _form;
    private readonly float[][] _weights; // [features][width]
    private readonly FragmentPacker _packer;
    private readonly byte[] _bytes;
    private readonly ushort[] _halves;
    private readonly DevicePointer<byte> _data;
    private readonly DevicePointer<ushort> _scales;

    public ProductTest(WeightType type, bool floats, int features, int width, Foretoken.Ptx.PtxMachineOptions? options = null)
    {
        (_type, OutFeatures, InFeatures) = (type, features, width);
        _form = type == WeightType.Int8 ? ActivationReference.Int8 : floats ? ActivationReference.Float : ActivationReference.BFloat16;
        _weights = [.. Enumerable.Range(0, features).Select(f => KernelHarness.Random(width, 1000 + (ulong)f))];
        Harness = new KernelHarness(options, "product", "product_int8");
        _packer = new FragmentPacker("test", type, [this]);
        var data = new byte[_packer.Shape.Strips * _packer.StripBytes];
        var scales = new ushort[_packer.Shape.Strips * _packer.StripScales];
        for (int s = 0; s < _packer.Shape.Strips; s++)
            _packer.Pack(s, data.AsSpan(s * _packer.StripBytes, _packer.StripBytes), scales.AsSpan(s * _packer.StripScales, _packer.StripScales));
        (_bytes, _halves) = (data, scales);
        (_data, _scales) = UploadTo(Harness);
    }

    public (DevicePointer<byte> Data, DevicePointer<ushort> Scales) UploadTo(KernelHarness harness) => (harness.Upload(_bytes), harness.Upload(_halves));

    /// <summary>A row of weights as its type keeps it. // [width]</summary>
    public double[] KeptRow(int feature) => KeptWeights(_weights[feature]);

    public KernelHarness Harness { get; }

    public string Name => "test";

    public int OutFeatures { get; }

    public int InFeatures { get; }

    public ProductShape Shape => _packer.Shape;

    public void ReadRow(int row, Span<float> destination) => _weights[row].CopyTo(destination);

    /// <summary>Runs the product and adds the pieces. // [rows][features]</summary>
    public float[][] Run(float[][] x)
    {
        int rows = x.Length, stride = Shape.Strips * ProductShape.StripFeatures;
        long piece = (long)rows * stride;
        (byte[] values, float[] scales) = ActivationReference.Pack(_form, x);
        DevicePointer<byte> input = Harness.Upload(values);
        DevicePointer<float> inputScales = Harness.Upload(scales), output = Harness.Allocate<float>(Shape.Pieces * piece);
        DevicePointer<int> count = Harness.Upload(rows);
        var matrix = new CudaMatrix
        {
            Name = Name, Type = _type, OutFeatures = OutFeatures, InFeatures = InFeatures, Shape = Shape, Data = _data, Scales = _scales,
        };
        new CudaProduct
        {
            Matrix = matrix, Form = (ActivationForm)_form, Input = input, InputScales = inputScales, RowCapacity = rows, Rows = count, Output = output,
            OutputCapacity = rows,
        }.Launch(Harness.Stream, rows);
        Harness.Stream.Synchronize();
        float[] all = Harness.Download(output, (int)(Shape.Pieces * piece));
        var result = new float[rows][];
        for (int r = 0; r < rows; r++)
        {
            result[r] = new float[OutFeatures];
            for (int f = 0; f < OutFeatures; f++)
            {
                result[r][f] = all[r * stride + f];
                for (int s = 1; s < Shape.Pieces; s++) result[r][f] += all[s * piece + r * stride + f];
            }
        }

        return result;
    }

    /// <summary>The same with exact sums of what the types keep. // [rows][features]</summary>
    public double[][] Exact(float[][] x)
    {
        double[][] kept = [.. x.Select(row => ActivationReference.Kept(_form, row))];
        double[][] weights = [.. _weights.Select(KeptWeights)];
        return [.. kept.Select(row => weights.Select(w => w.Zip(row, (a, b) => a * b).Sum()).ToArray())];
    }

    public void Dispose() => Harness.Dispose();

    private double[] KeptWeights(float[] row)
    {
        if (_type == WeightType.BF16) return [.. row.Select(w => (double)BFloat16Bits.ToSingle(BFloat16Bits.FromSingle(w)))];
        var kept = new double[row.Length];
        for (int k = 0; k < row.Length; k++)
        {
            float largest = row.Skip(k / 32 * 32).Take(32).Max(MathF.Abs);
            kept[k] = Math.Round((double)(row[k] * (127f / largest)), MidpointRounding.ToEven) * (double)(Half)(largest / 127f);
        }

        return kept;
    }
}
