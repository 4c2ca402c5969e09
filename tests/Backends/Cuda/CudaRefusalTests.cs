using Foretoken.Backends;
using Foretoken.Formats;
using Foretoken.Generation;
using Foretoken.KvCache;
using Foretoken.Sampling;
using Foretoken.Speculation;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Backends.Cuda;

/// <summary>What the CUDA backend does not do is refused by name before a kernel runs, with what to do instead, and nothing stays on the device.</summary>
public sealed class CudaRefusalTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly TinyModel _model = new() { Layers = 2, Hidden = 32, HeadDim = 8, Intermediate = 48 };

    public CudaRefusalTests() => _model.Write(_directory.Path);

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Evictions_that_need_decisions_or_attention_weights()
    {
        Assert.Contains("makes no eviction decisions yet: use another policy, or the CPU", Refused<InvalidRequestException>(
            o => o with { KvPolicy = new DmsPolicy(8, SyntheticDecisions.ForCompression(5, 4)) }), StringComparison.Ordinal);
        Assert.Contains("looks at attention weights, which cuda-sm", Refused<InvalidRequestException>(o => o with { KvPolicy = new TovaPolicy(16) }), StringComparison.Ordinal);
    }

    [Fact]
    public void Drafters_that_leave_out_sublayers()
    {
        Assert.Contains("cuda-sm", Refused<DrafterException>(o => o with { Draft = new SwiftOptions() }), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(WeightType.Int4)]
    [InlineData(WeightType.F32)]
    public void Types_of_weights_that_it_does_not_multiply(WeightType type) =>
        Assert.Contains("Load the model with another weight type", Refused<ModelFormatException>(o => o with { WeightType = type }), StringComparison.Ordinal);

    private string Refused<TException>(Func<LanguageModelOptions, LanguageModelOptions> change)
        where TException : Exception
    {
        using var fake = new FakeDriver { TotalBytes = 64 << 20 };
        string message = Assert.Throws<TException>(() => LanguageModel.Load(_directory.Path, change(new LanguageModelOptions
        {
            Device = ComputeDevice.Cuda, CudaPlatform = fake.Platform(), Threads = 1, MaxSequences = 1, ContextLength = 64, MaxRows = 32, PrefillChunk = 8,
        }))).Message;
        Assert.Empty(fake.Launches);
        Assert.Equal("", fake.Leaks);
        return message;
    }
}
