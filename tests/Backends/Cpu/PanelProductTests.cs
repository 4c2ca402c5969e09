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

    public static TheoryData<WeightType> Types() => [.. Enum.GetValues<WeightType>()];

    private static IEnumerable<string> KernelNames()
    {
        foreach (IsaLevel level in Enum.GetValues<IsaLevel>())
        {
            if (IsaLevels.IsSupported(level)) yield return level.ToString();
        }

        if (IsaLevels.IsSupported(IsaLevel.Avx2)) yield return "Avx2WithoutVnni";
    }

    private static CpuKernels Kernels(string name) =>
        name == "Avx2WithoutVnni" ? new Avx2Kernels<Lanes256>() : CpuKernels.For(Enum.Parse<IsaLevel>(name));

    [Theory]
    [MemberData(nameof(KernelsAndTypes))]
    public void Products_equal_the_scalar_contract_bit_for_bit(string kernels, WeightType type)
    {
        foreach ((int outFeatures, int width) in new[] { (16, 32), (1, 2), (37, 66), (50, 100), (129, 192), (20, 2080), (17, 4130) })
        {
            int inFeatures = Width(type, width);
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
        int width = Width(type, 1056);
        using PanelMatrix matrix = Matrix(type, 33, width, out float[] weights);
        float[] x = Activations(3, width);
        float[] y = Multiply(Kernels(kernels), matrix, x, 3);
        double worst = 0;
        for (int r = 0; r < 3; r++)
        {
            for (int n = 0; n < 33; n++)
            {
                double exact = ScalarProduct.Exact(type, x.AsSpan(r * width, width), weights.AsSpan(n * width, width));
                worst = Math.Max(worst, Math.Abs(exact - y[r * 33 + n]));
            }
        }

        Assert.InRange(worst, 0, ActivationBlock.Serves(type) ? 0.03 : 1e-5); // outputs are of order 1.6
    }

    [Theory]
    [MemberData(nameof(KernelsAndTypes))]
    public void Bits_of_a_row_do_not_depend_on_the_rows_beside_it(string kernels, WeightType type)
    {
        const int Features = 40, Most = 70;
        int width = Width(type, 2112);
        using PanelMatrix matrix = Matrix(type, Features, width, out _);
        float[] x = Activations(Most, width);
        CpuKernels set = Kernels(kernels);
        var alone = new float[Most * Features];
        for (int r = 0; r < Most; r++) Multiply(set, matrix, x.AsSpan(r * width, width).ToArray(), 1).CopyTo(alone, r * Features);
        foreach (int rows in new[] { 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 33, 64, 70 })
        {
            int first = Most - rows;
            float[] together = Multiply(set, matrix, x.AsSpan(first * width, rows * width).ToArray(), rows);
            Assert.True(alone.AsSpan(first * Features).SequenceEqual(together), $"{rows} rows");
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Rows_are_read_back_as_they_are_stored(WeightType type)
    {
        foreach (bool paired in new[] { false, true })
        {
            const int Rows = 38;
            int width = Width(type, 70);
            ArrayRowSource a = ArrayRowSource.Random("a", Rows, width, 1), b = ArrayRowSource.Random("b", paired ? Rows : 5, width, 2);
            using PanelMatrix matrix = PanelPacker.Pack("m", type, [a, b], _team, new MemoryPlan());
            Assert.Equal(paired, matrix.Paired);
            var row = new float[width];
            for (int n = 0; n < matrix.OutFeatures; n++)
            {
                matrix.ReadRow(n, row);
                ArrayRowSource part = n < Rows ? a : b;
                Assert.Equal(ScalarProduct.Stored(type, part.Values.AsSpan(n % Rows * width, width)), row);
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

    /// <summary>Where products would be denormal, instructions that flush them would differ: such factors count as zero at every level.</summary>
    [Fact]
    public void Rounded_products_of_tiny_factors_have_the_same_bits_everywhere()
    {
        const int Features = 32, Width = 4096;
        var random = new SeededRandom(23);
        float Tiny() => MathF.ScaleB((float)random.NextGaussian(), -30 - random.Next(40)); // products down to 2^-140
        ArrayRowSource source = ArrayRowSource.Random("tiny", Features, Width, 3);
        for (int i = 0; i < source.Values.Length; i++) source.Values[i] = Tiny();
        var x = new float[5 * Width];
        for (int i = 0; i < x.Length; i++) x[i] = Tiny();
        using PanelMatrix matrix = PanelPacker.Pack("tiny", WeightType.BF16Rounded, [source], _team, new MemoryPlan());
        foreach (string kernels in KernelNames())
        {
            float[] y = Multiply(Kernels(kernels), matrix, x, 5);
            for (int i = 0; i < y.Length; i++)
            {
                float expected = ScalarProduct.Dot(
                    WeightType.BF16Rounded, x.AsSpan(i / Features * Width, Width), source.Values.AsSpan(i % Features * Width, Width));
                Assert.NotEqual(0f, expected);
                Assert.Equal(expected, y[i]);
            }
        }
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

    [Theory]
    [InlineData(WeightType.Int8)]
    [InlineData(WeightType.Int4)]
    [InlineData(WeightType.Q4K)]
    [InlineData(WeightType.Q6K)]
    public void Stored_blocks_are_taken_over_without_rounding(WeightType type)
    {
        const int Rows = 21, Width = 512;
        var source = new StoredBlocks(type, Rows, Width);
        using PanelMatrix matrix = PanelPacker.Pack("stored", type, [source], _team, new MemoryPlan());
        float[] expected = new float[Width], actual = new float[Width];
        for (int n = 0; n < Rows; n++)
        {
            source.ReadRow(n, expected);
            matrix.ReadRow(n, actual);
            Assert.Equal(expected, actual);
        }
    }

    [Theory]
    [InlineData(70)]
    [InlineData(256)]
    [InlineData(3)]
    public void Stored_halves_are_taken_over_bit_by_bit(int width)
    {
        var source = new StoredHalves(19, width);
        using PanelMatrix matrix = PanelPacker.Pack("halves", WeightType.F16, [source], _team, new MemoryPlan());
        float[] expected = new float[width], actual = new float[width];
        for (int n = 0; n < source.OutFeatures; n++)
        {
            source.ReadRow(n, expected);
            matrix.ReadRow(n, actual);
            Assert.Equal(expected.Select(BitConverter.SingleToInt32Bits), actual.Select(BitConverter.SingleToInt32Bits)); // −0 too
        }

        foreach ((int at, ushort bits) in new[] { (0, (ushort)0x7C00), (width - 1, (ushort)0xFC00), (width / 2, (ushort)0x7E01) })
        {
            var damaged = new StoredHalves(19, width);
            damaged.Bits[5 * width + at] = bits;
            ArgumentException e = Assert.Throws<ArgumentException>(() => PanelPacker.Pack("m", WeightType.F16, [damaged], _team, new MemoryPlan()));
            Assert.Contains("row 5: a weight is not finite", e.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Stored_blocks_with_scales_that_are_not_finite_are_refused()
    {
        var source = new StoredBlocks(WeightType.Int4, 3, 64);
        source.Bytes[18 * 2 + 1] = 0x7C; // infinity
        ArgumentException e = Assert.Throws<ArgumentException>(() => PanelPacker.Pack("m", WeightType.Int4, [source], _team, new MemoryPlan()));
        Assert.Contains("not finite", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Columns_that_do_not_fill_the_blocks_of_a_type_are_refused()
    {
        ArgumentException e = Assert.Throws<ArgumentException>(
            () => PanelPacker.Pack("m", WeightType.Q4K, [ArrayRowSource.Random("w", 4, 320, 1)], _team, new MemoryPlan()));
        Assert.Contains("multiple of 256", e.Message, StringComparison.Ordinal);
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

    /// <summary>The asked width, or the next one that the type can have.</summary>
    private static int Width(WeightType type, int asked) => (asked + type.ColumnMultiple() - 1) / type.ColumnMultiple() * type.ColumnMultiple();

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

    /// <summary>Random bytes as blocks, whose factors are finite.</summary>
    private sealed class StoredBlocks : IStoredRowSource
    {
        private readonly BlockFormat _format;
        private readonly int _rowBytes;

        public StoredBlocks(WeightType type, int rows, int width)
        {
            _format = BlockFormat.Of(IntegerPanel.BlockTypeOf(type));
            (OutFeatures, InFeatures) = (rows, width);
            _rowBytes = (int)_format.Type.BytesOf(width);
            Bytes = new byte[rows * _rowBytes];
            var random = new SeededRandom(11);
            for (int i = 0; i < Bytes.Length; i++) Bytes[i] = (byte)random.Next(256);
            int[] halves = type switch { WeightType.Q4K => [1, 3], WeightType.Q6K => [209], _ => [1] };
            for (int block = 0; block < Bytes.Length; block += _format.BlockBytes)
            {
                foreach (int upper in halves) Bytes[block + upper] = (byte)(Bytes[block + upper] & 0x83 | 0x20); // 2^-7 ≤ |factor| < 2^-6, either sign
            }
        }

        public byte[] Bytes { get; }

        public string Name => "blocks";

        public int OutFeatures { get; }

        public int InFeatures { get; }

        public DType StoredType => _format.Type;

        public void ReadRow(int row, Span<float> destination) => _format.Dequantize(ReadStoredRow(row), destination);

        public ReadOnlySpan<byte> ReadStoredRow(int row) => Bytes.AsSpan(row * _rowBytes, _rowBytes);
    }

    /// <summary>Random finite halves, zeros of both signs and denormals among them.</summary>
    private sealed class StoredHalves : IStoredRowSource
    {
        public StoredHalves(int rows, int width)
        {
            (OutFeatures, InFeatures) = (rows, width);
            var random = new SeededRandom(13);
            Bits = [.. Enumerable.Range(0, rows * width).Select(i => (ushort)(i % 11 == 0 ? random.Next(2) << 15 | random.Next(3) : random.Next(0x7C00) | random.Next(2) << 15))];
        }

        public ushort[] Bits { get; }

        public string Name => "halves";

        public int OutFeatures { get; }

        public int InFeatures { get; }

        public DType StoredType => DType.F16;

        public void ReadRow(int row, Span<float> destination)
        {
            for (int i = 0; i < InFeatures; i++) destination[i] = (float)BitConverter.UInt16BitsToHalf(Bits[row * InFeatures + i]);
        }

        public ReadOnlySpan<byte> ReadStoredRow(int row) => System.Runtime.InteropServices.MemoryMarshal.AsBytes(Bits.AsSpan(row * InFeatures, InFeatures));
    }

    /// <summary>Input, scratch and output of one product; the output's stride is exact, so that padding which spills over would show.</summary>
    private sealed class Buffers(PanelMatrix matrix, int rows) : IDisposable
    {
        private readonly NativeBuffer _input = NativeBuffer.Allocate((long)rows * matrix.InFeatures * 4, "input");
        private readonly NativeBuffer _floats = NativeBuffer.Allocate((long)rows * matrix.Steps * 32 * 4, "padded");
        private readonly NativeBuffer _blocks = NativeBuffer.Allocate((long)rows * matrix.Steps * ActivationBlock.MaxBytes, "blocks");
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
                    BlockStride = matrix.Steps * ActivationBlock.MaxBytes,
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
