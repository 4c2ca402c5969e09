using System.Text.Json;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class InspectCommandTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly string _model;

    public InspectCommandTests() => _model = TinyModel.Write(_directory.File("models/tiny"), "qwen2");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Json_holds_configuration_files_and_tensors()
    {
        CliResult result = new CliTestHost().Run("inspect", _model, "--json", "--tensors");
        Assert.Equal((ExitCode.Success, ""), (result.Code, result.Error));
        JsonElement root = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal("qwen2", root.GetProperty("config").GetProperty("family").GetString());
        Assert.Equal(2, root.GetProperty("config").GetProperty("layers").GetInt32());
        Assert.True(root.GetProperty("config").GetProperty("qkv_bias").GetBoolean());
        Assert.Equal(root.GetProperty("tensor_count").GetInt32(), root.GetProperty("tensors").GetArrayLength());
        Assert.Equal(1, root.GetProperty("files").GetArrayLength());
    }

    [Fact]
    public void A_path_silences_the_environments_model()
    {
        var host = new CliTestHost { Environment = { ["FORETOKEN_MODEL"] = "no-such-model" } };
        Assert.Equal((ExitCode.Success, ""), (host.Run("inspect", _model).Code, host.Run("inspect", _model).Error));
        host.Run("inspect").FailsWith(ExitCode.RunError, "no-such-model");
    }

    [Fact]
    public void Text_names_every_tensor_with_its_shape()
    {
        string text = new CliTestHost().Run("inspect", _model, "--tensors").Output;
        Assert.Contains("Qwen2ForCausalLM", text, StringComparison.Ordinal);
        Assert.Matches(@"model\.layers\.1\.mlp\.down_proj\.weight +F32 +\[64, 108\]", text);
    }

    [Fact]
    public void Shipped_model_is_found_by_name_from_anywhere()
    {
        var host = new CliTestHost { BaseDirectory = _directory.Path };
        Assert.StartsWith(_model, host.Run("inspect", "tiny").Output, StringComparison.Ordinal);
        host.Run("inspect").FailsWith(ExitCode.RunError, "the default model 'reasoner' is not installed", "(tiny)");
        host.Run("inspect", "other").FailsWith(ExitCode.RunError, "other: no such model", "(tiny)");
        host.Run("inspect", "tiny", "--model", "tiny").FailsWith(ExitCode.Usage, "PATH and --model");
    }

    [Fact]
    public void Model_that_cannot_be_loaded_is_shown_as_far_as_possible()
    {
        string config = Path.Combine(_model, "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("Qwen2ForCausalLM", "MambaForCausalLM", StringComparison.Ordinal));
        CliResult result = new CliTestHost().Run("inspect", _model);
        Assert.Equal(ExitCode.RunError, result.Code);
        Assert.Contains("model.safetensors", result.Output, StringComparison.Ordinal);
        Assert.Contains("MambaForCausalLM", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Gguf_files_are_shown_with_their_metadata_or_refused()
    {
        string file = RepoFiles.Parity("qwen2-bias", "model-Q8_0.gguf");
        CliResult shown = new CliTestHost().Run("inspect", file, "--metadata", "--tensors");
        Assert.Equal(ExitCode.Success, shown.Code);
        foreach (string part in (string[])["Qwen2ForCausalLM", "llama default", "qwen2.rope.freq_base", "an array of 640 values", "blk.2.ffn_down.weight", "[128, 320]", "Q8_0"])
            Assert.Contains(part, shown.Output, StringComparison.Ordinal);
        Assert.Contains("\"qwen2.block_count\":\"3\"", new CliTestHost().Run("inspect", file, "--metadata", "--json").Output, StringComparison.Ordinal);
        string broken = _directory.File("model.gguf");
        File.WriteAllBytes(broken, [1]);
        new CliTestHost().Run("inspect", broken).FailsWith(ExitCode.RunError, broken, "has 1 bytes");
    }
}
