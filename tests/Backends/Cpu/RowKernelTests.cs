using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Memory;
using Foretoken.Numerics;

namespace Foretoken.Tests.Backends.Cpu;

/// <summary>What happens to rows between the products, against double precision, on sizes that fill no vector.</summary>
public sealed unsafe class RowKernelTests : IDisposable
{
    private readonly ThreadTeam _team = new(2);
    private readonly List<NativeBuffer> _buffers = [];

    public static TheoryData<IsaLevel> Levels()
    {
        var data = new TheoryData<IsaLevel>();
        foreach (IsaLevel level in Enum.GetValues<IsaLevel>())
        {
            if (IsaLevels.IsSupported(level)) data.Add(level);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public void Gathered_rows_are_normalised(IsaLevel level)
    {
        int* gather = stackalloc int[] { 4, 1 };
        foreach (int width in new[] { 1, 15, 72, 100, 2048 })
        {
            using PanelMatrix matrix = Pack(WeightType.F32, [ArrayRowSource.Random("w", 4, width, 1)]);
            int stride = matrix.Steps * 32;
            float* x = Random(5 * stride, 2), gain = Random(stride, 3), y = Random(2 * stride, 4); // the target holds an earlier, wider row
            for (int r = 0; r < 5; r++) new Span<float>(x + r * stride + width, stride - width).Clear();
            new Span<float>(gain + width, stride - width).Clear();
            var product = default(ProductArguments);
            CpuKernels.For(level).PrepareInput(
                new RowInputArguments
                {
                    Matrix = matrix,
                    Source = x,
                    SourceStride = stride,
                    Width = width,
                    Rows = 2,
                    Gather = gather,
                    Gain = gain,
                    Epsilon = 0.01f,
                    Floats = y,
                    FloatStride = stride,
                },
                ref product,
                _team);
            Assert.True(product.Activations == (byte*)y);
            for (int r = 0; r < 2; r++)
            {
                float* row = x + gather[r] * stride;
                double squares = 0;
                for (int i = 0; i < width; i++) squares += (double)row[i] * row[i];
                for (int i = 0; i < width; i++) Assert.Equal(row[i] / Math.Sqrt(squares / width + 0.01f) * gain[i], y[r * stride + i], 2e-6);
                for (int i = width; i < stride; i++) Assert.Equal(0f, y[r * stride + i]);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public void Activations_are_quantised_per_row_and_block(IsaLevel level)
    {
        const int Width = 130, Rows = 3;
        using PanelMatrix matrix = Pack(WeightType.Int8, [ArrayRowSource.Random("w", 16, Width, 1)]);
        float* x = Random(Rows * Width, 5), padded = Random(Rows * 160, 6);
        new Span<float>(x + 64, 32).Clear();      // a block of zeros
        new Span<float>(x + 96, 32).Fill(1e-38f); // one that counts as zero
        byte* blocks = Bytes(Rows * 5 * ActivationBlock.BytesOf(halves: false));
        var product = default(ProductArguments);
        CpuKernels.For(level).PrepareInput(
            new RowInputArguments
            {
                Matrix = matrix,
                Source = x,
                SourceStride = Width,
                Width = Width,
                Rows = Rows,
                Floats = padded,
                FloatStride = 160,
                Blocks = blocks,
                BlockStride = 5 * ActivationBlock.BytesOf(halves: false),
            },
            ref product,
            _team);
        for (int r = 0; r < Rows; r++)
        {
            for (int b = 0; b < 5; b++)
            {
                byte* block = blocks + (r * 5 + b) * ActivationBlock.BytesOf(halves: false);
                float largest = 0;
                for (int i = 0; i < 32; i++) largest = MathF.Max(largest, MathF.Abs(Value(b * 32 + i)));
                bool zero = largest < 1e-30f;
                int sum = 0;
                for (int i = 0; i < 32; i++)
                {
                    int expected = zero ? 0 : (int)MathF.Round(Value(b * 32 + i) * (127f / largest), MidpointRounding.ToEven);
                    Assert.Equal(expected, ((sbyte*)block)[i]);
                    sum += expected;
                }

                float scale = *(float*)(block + ActivationBlock.ScaleOffset);
                Assert.Equal(zero ? 0f : largest / 127f, MathF.ScaleB(scale, matrix.ScaleExponent - HalfScales.Missing));
                Assert.Equal(-128 * sum, *(int*)(block + ActivationBlock.CorrectionOffset));
            }

            float Value(int k) => k < Width ? x[r * Width + k] : 0f;
        }
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public void Heads_are_normalised_and_rotated_and_values_left_alone(IsaLevel level)
    {
        foreach (int headDim in new[] { 2, 20, 32, 80, 128 })
        {
            foreach (bool normalised in new[] { false, true })
            {
                const int Heads = 3, KvHeads = 2, Rows = 3;
                int stride = (Heads + 2 * KvHeads) * headDim, half = headDim / 2, halfStride = (half + 15) / 16 * 16;
                float* qkv = Random(Rows * stride, 7), angles = Random(Rows * 2 * halfStride, 8), gains = Random(4 * halfStride, 9);
                float[] before = new Span<float>(qkv, Rows * stride).ToArray();
                for (int i = 0; i < Rows * 2; i++) new Span<float>(angles + i * halfStride + half, halfStride - half).Clear();
                for (int i = 0; i < 4; i++) new Span<float>(gains + i * halfStride + half, halfStride - half).Clear();
                CpuKernels.For(level).RotateHeads(
                    new HeadRotationArguments
                    {
                        Qkv = qkv,
                        Stride = stride,
                        Rows = Rows,
                        Heads = Heads,
                        KvHeads = KvHeads,
                        HeadDim = headDim,
                        Epsilon = 0.02f,
                        QueryGain = normalised ? gains : null,
                        KeyGain = normalised ? gains + 2 * halfStride : null,
                        Angles = angles,
                        HalfStride = halfStride,
                    },
                    _team);
                for (int i = 0; i < Rows * stride; i++)
                {
                    int row = i / stride, head = i % stride / headDim, k = i % headDim, first = i - k;
                    double expected = before[i];
                    if (head < Heads + KvHeads)
                    {
                        float* gain = head < Heads ? gains : gains + 2 * halfStride;
                        double squares = 0;
                        for (int j = 0; j < headDim; j++) squares += (double)before[first + j] * before[first + j];
                        double inverse = normalised ? 1 / Math.Sqrt(squares / headDim + 0.02f) : 1;
                        int pair = k % half;
                        double x = before[first + pair] * inverse * (normalised ? gain[pair] : 1);
                        double y = before[first + half + pair] * inverse * (normalised ? gain[halfStride + pair] : 1);
                        double cos = angles[row * 2 * halfStride + pair], sin = angles[(row * 2 + 1) * halfStride + pair];
                        expected = k < half ? x * cos - y * sin : y * cos + x * sin;
                    }

                    Assert.Equal(expected, qkv[i], 1e-5);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public void Gate_and_up_meet_in_one_product(IsaLevel level)
    {
        const int Width = 64, Features = 37, Rows = 5;
        ArrayRowSource gate = ArrayRowSource.Random("gate", Features, Width, 1), up = ArrayRowSource.Random("up", Features, Width, 2);
        using PanelMatrix matrix = Pack(WeightType.F32, [gate, up]);
        float* x = Random(Rows * Width, 3), y = Random(Rows * Features + 16, 4);
        float[] after = new Span<float>(y + Rows * Features, 16).ToArray();
        CpuKernels.For(level).Multiply(Product(matrix, x, Rows, y, Features) with { End = ProductEnd.SwiGlu }, _team);
        for (int r = 0; r < Rows; r++)
        {
            for (int n = 0; n < Features; n++)
            {
                double g = ScalarProduct.Exact(WeightType.F32, Row(x, r), gate.Values.AsSpan(n * Width, Width));
                double u = ScalarProduct.Exact(WeightType.F32, Row(x, r), up.Values.AsSpan(n * Width, Width));
                Assert.Equal(g / (1 + Math.Exp(-g)) * u, y[r * Features + n], 2e-6);
            }
        }

        Assert.Equal(after, new Span<float>(y + Rows * Features, 16).ToArray()); // nothing beyond the last row is touched

        static ReadOnlySpan<float> Row(float* x, int r) => new(x + r * Width, Width);
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public void Sums_are_added_to_the_residual_with_their_bias(IsaLevel level)
    {
        const int Width = 96, Features = 41, Rows = 3;
        ArrayRowSource source = ArrayRowSource.Random("w", Features, Width, 1);
        using PanelMatrix matrix = Pack(WeightType.BF16, [source]);
        float* x = Random(Rows * Width, 3), y = Random(Rows * Features, 4), bias = Random(48, 5);
        float[] before = new Span<float>(y, Rows * Features).ToArray();
        CpuKernels.For(level).Multiply(Product(matrix, x, Rows, y, Features) with { End = ProductEnd.AddTo, Bias = bias }, _team);
        for (int i = 0; i < Rows * Features; i++)
        {
            float dot = ScalarProduct.Dot(WeightType.BF16, new ReadOnlySpan<float>(x + i / Features * Width, Width), source.Values.AsSpan(i % Features * Width, Width));
            Assert.Equal(before[i] + (dot + bias[i % Features]), y[i]);
        }
    }

    public void Dispose()
    {
        foreach (NativeBuffer buffer in _buffers) buffer.Dispose();
        _team.Dispose();
    }

    private ProductArguments Product(PanelMatrix matrix, float* x, int rows, float* y, int stride) => new()
    {
        Matrix = matrix,
        Activations = (byte*)x,
        ActivationStride = matrix.InFeatures * sizeof(float),
        Rows = rows,
        Output = y,
        OutputStride = stride,
        Scratch = (float*)Bytes(_team.Threads * CpuKernels.ProductScratchBytes),
        Threads = _team.Threads,
    };

    private PanelMatrix Pack(WeightType type, ArrayRowSource[] parts) => PanelPacker.Pack("m", type, parts, _team, new MemoryPlan());

    private float* Random(int count, ulong seed)
    {
        var random = new SeededRandom(seed, 6);
        float* values = (float*)Bytes(count * sizeof(float));
        for (int i = 0; i < count; i++) values[i] = (float)random.NextGaussian();
        return values;
    }

    private byte* Bytes(int count)
    {
        _buffers.Add(NativeBuffer.Allocate(count, "test"));
        return _buffers[^1].Pointer;
    }
}
