using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Parameters;
using Foretoken.Backends.Cpu;
using Foretoken.Backends.Cpu.Kernels;
using Foretoken.Backends.Cpu.Lanes;
using Foretoken.Numerics;

namespace Foretoken.Microbenchmarks;

/// <summary>What is done to rows between products, 512 bits at a time, on one thread.</summary>
public unsafe class RowBenchmarks : IKernelBenchmark
{
    private const int Width = 2048;
    private readonly Buffers _buffers = new();
    private float* _x; // [Width]
    private float* _gain;
    private float* _y;
    private byte* _blocks;

    public static KernelWork WorkOf(ParameterInstances parameters) => new(Width * sizeof(float), Width);

    [GlobalSetup]
    public void Prepare()
    {
        _x = _buffers.Floats(4 * Width);
        _gain = _x + Width;
        _y = _gain + Width;
        _blocks = (byte*)(_y + Width);
        var random = new SeededRandom(3);
        for (int i = 0; i < Width; i++) (_x[i], _gain[i]) = ((float)random.NextGaussian(), 1f);
    }

    [GlobalCleanup]
    public void End() => _buffers.Dispose();

    [Benchmark]
    public void RmsNorm() => RmsNorm<Lanes512>.Apply(_x, _gain, Width, 1e-5f, _y);

    [Benchmark]
    public void Quantise() => Int8Quantizer.QuantizeActivations<Lanes512>(_x, Width / PanelMatrix.StepLength, 1f, PanelFormat.Of(Backends.WeightType.Int8), _blocks);

    [Benchmark]
    public void Exp()
    {
        for (int i = 0; i < Width; i += 16) Lanes512.Exp(Lanes512.Load(_x + i)).Store(_y + i);
    }
}
