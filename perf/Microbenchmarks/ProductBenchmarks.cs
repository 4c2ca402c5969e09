using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Parameters;
using Foretoken.Backends;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Memory;
using Foretoken.Models;
using Foretoken.Numerics;

namespace Foretoken.Microbenchmarks;

/// <summary>Products of rows with the panels of one matrix, all levels and types, on one thread. The matrix fits the second-level cache: arithmetic limits, not memory.</summary>
public unsafe class ProductBenchmarks : IKernelBenchmark
{
    private const int Features = 256, Width = 2048;
    private readonly ThreadTeam _team = new(1);
    private CpuKernels _kernels = null!;
    private readonly Buffers _buffers = new();
    private PanelMatrix _matrix = null!;
    private ProductArguments _product;
    private RowInputArguments _input;

    [Params(IsaLevel.Avx2, IsaLevel.Avx512, IsaLevel.Emitted)]
    public IsaLevel Level { get; set; }

    [Params(WeightType.Int8, WeightType.Int4, WeightType.Q4K, WeightType.Q6K, WeightType.BF16)]
    public WeightType Type { get; set; }

    [Params(1, 4, 8, 16, 64)]
    public int Rows { get; set; }

    public static KernelWork WorkOf(ParameterInstances parameters)
    {
        int rows = (int)parameters[nameof(Rows)];
        var format = PanelFormat.Of((WeightType)parameters[nameof(Type)]);
        double steps = Features / PanelMatrix.PanelRows * (Width / PanelMatrix.StepLength);
        return new KernelWork(steps * (format.StepBytes + format.ScaleBytes), 2.0 * rows * Features * Width);
    }

    [GlobalSetup]
    public void Prepare()
    {
        if (!IsaLevels.IsSupported(Level)) throw new NotSupportedException($"This machine lacks the level {Level}.");
        _kernels = CpuKernels.For(Level);
        var plan = new MemoryPlan();
        _matrix = PanelPacker.Pack("matrix", Type, [new RandomMatrix(Features, Width)], _team, plan);
        long blockStride = Width / PanelMatrix.StepLength * 64L;
        float* source = _buffers.Floats((long)Rows * Width);
        var random = new SeededRandom(3);
        for (int i = 0; i < Rows * Width; i++) source[i] = (float)random.NextGaussian();
        _product = new ProductArguments
        {
            Matrix = _matrix, Rows = Rows, Output = _buffers.Floats((long)Rows * Features), OutputStride = Features,
            Scratch = (float*)_buffers.Bytes(CpuKernels.ProductScratchBytes), Threads = 1,
        };
        _input = new RowInputArguments
        {
            Matrix = _matrix, Source = source, SourceStride = Width, Width = Width, Rows = Rows, SourceIsPadded = true,
            Floats = _buffers.Floats((long)Rows * Width), FloatStride = Width, Blocks = _buffers.Bytes(Rows * blockStride), BlockStride = blockStride,
        };
        _kernels.PrepareInput(_input, ref _product, _team);
    }

    [GlobalCleanup]
    public void End()
    {
        _matrix.Dispose();
        _buffers.Dispose();
    }

    [Benchmark]
    public void Multiply() => _kernels.Multiply(_product, _team);
}

/// <summary>Normal weights.</summary>
internal sealed class RandomMatrix(int outFeatures, int inFeatures) : IRowSource
{
    public string Name => "random";

    public int OutFeatures => outFeatures;

    public int InFeatures => inFeatures;

    public void ReadRow(int row, Span<float> destination)
    {
        var random = new SeededRandom(7, (ulong)row);
        foreach (ref float x in destination) x = (float)(random.NextGaussian() * 0.05);
    }
}
