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
        PanelMatrix matrix = PanelPacker.Pack("matrix", Type, [new RandomMatrix(Features, Width)], _team, plan);
        NativeBuffer source = NativeBuffer.Allocate((long)Rows * Width * sizeof(float), "rows");
        NativeBuffer floats = NativeBuffer.Allocate((long)Rows * Width * sizeof(float), "padded rows");
        long blockStride = Width / PanelMatrix.StepLength * 64L;
        NativeBuffer blocks = NativeBuffer.Allocate(Rows * blockStride, "quantised rows");
        NativeBuffer output = NativeBuffer.Allocate((long)Rows * Features * sizeof(float), "output");
        NativeBuffer scratch = NativeBuffer.Allocate(CpuKernels.ProductScratchBytes, "scratch");
        var random = new SeededRandom(3);
        foreach (ref float x in source.Span<float>(0, Rows * Width)) x = (float)random.NextGaussian();
        _product = new ProductArguments
        {
            Matrix = matrix, Rows = Rows, Output = (float*)output.Pointer, OutputStride = Features, Scratch = (float*)scratch.Pointer, Threads = 1,
        };
        _input = new RowInputArguments
        {
            Matrix = matrix, Source = (float*)source.Pointer, SourceStride = Width, Width = Width, Rows = Rows, SourceIsPadded = true,
            Floats = (float*)floats.Pointer, FloatStride = Width, Blocks = blocks.Pointer, BlockStride = blockStride,
        };
        _kernels.PrepareInput(_input, ref _product, _team);
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
