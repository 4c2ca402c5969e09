using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Backends.Cpu.Lanes;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cpu;

public sealed unsafe class PanelProductTests : IDisposable
{
    private readonly ThreadTeam _team = new(2);

    /// <summary>Every set of kernels that this machine can run, the fallback without VNNI included.</summary>
    public static TheoryData<string, WeightType> KernelsAndTypes()
    {
        var data = new TheoryData<string, WeightType>();
        foreach (string kernels in KernelNames())
        {
            foreach (WeightType type in Enum.GetValues<WeightType>()) data.Add(kernels, type);
        }

        return data;
    }

    private static IEnumerable<string> KernelNames()
    {
        foreach (IsaLevel level in Enum.GetValues<IsaLevel>())
        {
            if (IsaLevels.IsSupported(level)) yield return level.ToString();
        }

        if (IsaLevels.IsSupported(IsaLevel.Avx2)) yield return "Avx2WithoutVnni";
    }

    private static CpuKernels Kernels(string name) =>
        name == "Avx2WithoutVnni" ? new CpuKernels<Lanes256, Int8Avx2Kernel>() : CpuKernels.For(Enum.Parse<IsaLevel>(name));

    [Theory]
    [MemberData(nameof(KernelsAndTypes))]
    public void Products_equal_the_scalar_contract_bit_for_bit(string kernels, WeightType type)
    {
        foreach ((int outFeatures, int inFeatures) in new[] { (16, 32), (1, 2), (37, 66), (50, 100), (129, 192), (20, 2080), (17, 4130) })
        {
            using PanelMatrix matrix = Matrix(type, outFeatures, inFeatures, out float[] weights);
            float[] x = Activations(9, inFeatures);
            float[] y = Multiply(Kernels(kernels), matrix, x, 9);
            for (int r = 0; r < 9; r += 4)
            {
                ReadOnlySpan<float> row = x.AsSpan(r * inFeatures, inFeatures);
                for (int n = 0; n < outFeatures; n++)
                {
                    ReadOnlySpan<float> w = weights.AsSpan(n * inFeatures, inFeatures);
                    Assert.Equal(ScalarProduct.Dot(type, row, w), y[r * outFeatures + n]);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(KernelsAndTypes))]
    public void Products_are_close_to_double_precision(string kernels, WeightType type)
    {
        using PanelMatrix matrix = Matrix(type, 33, 1056, out float[] weights);
        float[] x = Activations(3, 1056);
        float[] y = Multiply(Kernels(kernels), matrix, x, 3);
        double worst = 0;
        for (int r = 0; r < 3; r++)
        {
            for (int n = 0; n < 33; n++)
            {
                double exact = ScalarProduct.Exact(type, x.AsSpan(r * 1056, 1056), weights.AsSpan(n * 1056, 1056));
                worst = Math.Max(worst, Math.Abs(exact - y[r * 33 + n]));
            }
        }

        Assert.InRange(worst, 0, type == WeightType.Int8 ? 0.03 : 1e-5); // outputs are of order 1.6
    }

    [Theory]
    [MemberData(nameof(KernelsAndTypes))]
    public void Bits_of_a_row_do_not_depend_on_the_rows_beside_it(string kernels, WeightType type)
    {
        const int Width = 2112, Features = 40, Most = 70;
        using PanelMatrix matrix = Matrix(type, Features, Width, out _);
        float[] x = Activations(Most, Width);
        CpuKernels set = Kernels(kernels);
        var alone = new float[Most * Features];
        for (int r = 0; r < Most; r++) Multiply(set, matrix, x.AsSpan(r * Width, Width).ToArray(), 1).CopyTo(alone, r * Features);
        foreach (int rows in new[] { 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 33, 64, 70 })
        {
            int first = Most - rows;
            float[] together = Multiply(set, matrix, x.AsSpan(first * Width, rows * Width).ToArray(), rows);
            Assert.True(alone.AsSpan(first * Features).SequenceEqual(together), $"{rows} rows");
        }
    }

    [Theory]
    [InlineData(WeightType.F32)]
    [InlineData(WeightType.BF16)]
    [InlineData(WeightType.Int8)]
    public void Rows_are_read_back_as_they_are_stored(WeightType type)
    {
        foreach (bool paired in new[] { false, true })
        {
            const int Rows = 38, Width = 70;
            ArrayRowSource a = ArrayRowSource.Random("a", Rows, Width, 1), b = ArrayRowSource.Random("b", paired ? Rows : 5, Width, 2);
            using PanelMatrix matrix = PanelPacker.Pack("m", type, [a, b], _team, new MemoryPlan());
            Assert.Equal(paired, matrix.Paired);
            var row = new float[Width];
            for (int n = 0; n < matrix.OutFeatures; n++)
            {
                matrix.ReadRow(n, row);
                ArrayRowSource part = n < Rows ? a : b;
                Assert.Equal(ScalarProduct.Stored(type, part.Values.AsSpan(n % Rows * Width, Width)), row);
            }
        }
    }

    [Fact]
    public void Tiny_weights_keep_the_precision_of_their_scales()
    {
        const int Width = 64;
        ArrayRowSource source = ArrayRowSource.Random("tiny", 16, Width, 3);
        for (int i = 0; i < source.Values.Length; i++) source.Values[i] *= 1e-3f; // scales far below the smallest normal f16
        using PanelMatrix matrix = PanelPacker.Pack("tiny", WeightType.Int8, [source], _team, new MemoryPlan());
        float[] x = Activations(1, Width);
        float[] y = Multiply(CpuKernels.For(IsaLevels.Best), matrix, x, 1);
        for (int n = 0; n < 16; n++) Assert.Equal(ScalarProduct.Dot(WeightType.Int8, x, source.Values.AsSpan(n * Width, Width)), y[n]);
    }

    [Fact]
    public void Weights_that_8_bits_cannot_hold_are_refused()
    {
        foreach (float bad in new[] { float.NaN, float.PositiveInfinity, 1e8f })
        {
            var values = new float[64];
            values[40] = bad;
            ArgumentException e = Assert.Throws<ArgumentException>(
                () => PanelPacker.Pack("m", WeightType.Int8, [new ArrayRowSource("part", 2, 32, values)], _team, new MemoryPlan()));
            Assert.Contains("bf16", e.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_product_allocates_nothing()
    {
        using PanelMatrix matrix = Matrix(WeightType.Int8, 1024, 1024, out _);
        using var buffers = new Buffers(matrix, 4);
        CpuKernels kernels = CpuKernels.For(IsaLevels.Best);
        buffers.Run(kernels, _team);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 50; i++) buffers.Run(kernels, _team);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    public void Dispose() => _team.Dispose();

    private static float[] Activations(int rows, int width)
    {
        var random = new SeededRandom(17);
        var x = new float[rows * width];
        for (int i = 0; i < x.Length; i++) x[i] = i % width / 32 % 5 == 3 && i / width % 2 == 0 ? 0f : (float)random.NextGaussian();
        return x;
    }

    private PanelMatrix Matrix(WeightType type, int outFeatures, int inFeatures, out float[] weights)
    {
        ArrayRowSource source = ArrayRowSource.Random("w", outFeatures, inFeatures, 5);
        weights = source.Values;
        return PanelPacker.Pack("w", type, [source], _team, new MemoryPlan());
    }

    private float[] Multiply(CpuKernels kernels, PanelMatrix matrix, float[] x, int rows)
    {
        using var buffers = new Buffers(matrix, rows);
        x.CopyTo(buffers.Input);
        buffers.Run(kernels, _team);
        return buffers.Output.ToArray();
    }

    /// <summary>Input, scratch and output of one product; the output's stride is exact, so that padding which spills over would show.</summary>
    private sealed class Buffers(PanelMatrix matrix, int rows) : IDisposable
    {
        private readonly NativeBuffer _input = NativeBuffer.Allocate((long)rows * matrix.InFeatures * 4, "input");
        private readonly NativeBuffer _floats = NativeBuffer.Allocate((long)rows * matrix.Steps * 32 * 4, "padded");
        private readonly NativeBuffer _blocks = NativeBuffer.Allocate((long)rows * matrix.Steps * Int8Quantizer.ActivationBlockBytes, "blocks");
        private readonly NativeBuffer _output = NativeBuffer.Allocate((long)rows * matrix.OutFeatures * 4, "output");
        private readonly NativeBuffer _scratch = NativeBuffer.Allocate(4 * CpuKernels.ProductScratchBytes, "scratch");

        public Span<float> Input => _input.Span<float>(0, rows * matrix.InFeatures);

        public Span<float> Output => _output.Span<float>(0, rows * matrix.OutFeatures);

        public void Run(CpuKernels kernels, ThreadTeam team)
        {
            var product = new ProductArguments
            {
                Matrix = matrix,
                Rows = rows,
                Output = (float*)_output.Pointer,
                OutputStride = matrix.OutFeatures,
                Scratch = (float*)_scratch.Pointer,
                Threads = team.Threads,
            };
            kernels.PrepareInput(
                new RowInputArguments
                {
                    Matrix = matrix,
                    Source = (float*)_input.Pointer,
                    SourceStride = matrix.InFeatures,
                    Width = matrix.InFeatures,
                    Rows = rows,
                    Floats = (float*)_floats.Pointer,
                    FloatStride = matrix.Steps * 32,
                    Blocks = _blocks.Pointer,
                    BlockStride = matrix.Steps * Int8Quantizer.ActivationBlockBytes,
                },
                ref product,
                team);
            kernels.Multiply(product, team);
        }

        public void Dispose()
        {
            _input.Dispose();
            _floats.Dispose();
            _blocks.Dispose();
            _output.Dispose();
            _scratch.Dispose();
        }
    }
}
