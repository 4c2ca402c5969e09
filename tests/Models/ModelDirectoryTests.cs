using Foretoken.Formats;
using Foretoken.Models;
using Foretoken.Numerics;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Models;

public sealed class ModelDirectoryTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_directory_and_a_file_in_it_are_the_same_model()
    {
        TinyModel.Write(_directory.Path, "llama");
        Assert.Equal(_directory.Path, ModelDirectory.Resolve(_directory.Path));
        Assert.Equal(_directory.Path, ModelDirectory.Resolve(_directory.File("model.safetensors")));
    }

    [Fact]
    public void A_cache_entry_leads_to_the_snapshot_that_main_names()
    {
        string entry = _directory.File("models--me--tiny");
        foreach (string snapshot in new[] { "aaa", "bbb", "ccc" }) TinyModel.Write(Path.Combine(entry, "snapshots", snapshot), "llama");
        Directory.CreateDirectory(Path.Combine(entry, "refs"));
        File.WriteAllText(Path.Combine(entry, "refs", "main"), "bbb\n");
        Assert.Equal(Path.Combine(entry, "snapshots", "bbb"), ModelDirectory.Resolve(entry));
    }

    [Fact]
    public void What_is_not_there_or_not_readable_is_refused()
    {
        Assert.Contains("does not exist", Assert.Throws<ModelFormatException>(() => ModelDirectory.Resolve(_directory.File("nothing"))).Message, StringComparison.Ordinal);
        Assert.Throws<ModelFormatException>(() => ModelDirectory.Resolve("no-such-owner/no-such-model"));
        File.WriteAllText(_directory.File("x.gguf"), "GGUF");
        Assert.Equal(_directory.File("x.gguf"), ModelDirectory.Resolve(_directory.File("x.gguf")));
        Assert.Contains("has 4 bytes", Assert.Throws<ModelFormatException>(() => ModelLoader.Open(_directory.File("x.gguf"))).Message, StringComparison.Ordinal);
        Assert.Contains("config.json", Assert.Throws<ModelFormatException>(() => ModelLoader.Open(_directory.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Inspection_lists_tensors_and_files_without_loading()
    {
        new TinyModel { Family = "qwen2", DType = "BF16", Shards = 2 }.Write(_directory.Path);
        ModelInspection seen = ModelInspector.Inspect(_directory.Path);
        Assert.Null(seen.Problem);
        Assert.Equal("qwen2", seen.Config!.Family);
        Assert.Equal(seen.Config.ParameterCount, seen.StoredElements);
        Assert.Equal(2 * seen.StoredElements, seen.StoredBytes);
        Assert.Equal(2, seen.Files.Count);
        StoredTensor key = seen.Tensors.Single(t => t.Name == "model.layers.1.self_attn.k_proj.weight");
        Assert.Equal((DType.BF16, "[32, 64]"), (key.Type, key.ShapeText));
        Assert.Equal((true, true, true), (seen.HasTokenizer, seen.HasTokenizerConfig, seen.HasGenerationConfig));
    }

    [Fact]
    public void Inspection_shows_an_unsupported_model_with_its_problem()
    {
        new TinyModel { Family = "llama", Config = [("architectures", "[\"GemmaForCausalLM\"]"), ("model_type", "\"gemma\"")] }.Write(_directory.Path);
        ModelInspection seen = ModelInspector.Inspect(_directory.Path);
        Assert.Null(seen.Config);
        Assert.Contains("GemmaForCausalLM", seen.Problem!.Message, StringComparison.Ordinal);
        Assert.NotEmpty(seen.Tensors);
    }
}
