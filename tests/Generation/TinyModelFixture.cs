using Foretoken.Generation;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Generation;

/// <summary>A tiny random model on disk, written once for all tests of a class.</summary>
public sealed class TinyModelFixture : IDisposable
{
    private readonly TempDirectory _directory = new();

    public TinyModelFixture() => TinyModel.Write(_directory.Path, "qwen3");

    public string Directory => _directory.Path;

    public LanguageModel Load(LanguageModelOptions? options = null) => LanguageModel.Load(_directory.Path, options ?? new LanguageModelOptions { Threads = 1 });

    public void Dispose() => _directory.Dispose();
}
