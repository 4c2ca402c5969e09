using System.Text.Json.Nodes;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

/// <summary>Damaged and unsupported model directories: one line that names file and field, exit code 1, whatever command meets them.</summary>
public sealed class BadModelTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    public static TheoryData<string, string, string, string> BadConfigs => new()
    {
        { "architectures", "[\"MambaForCausalLM\"]", "config.json", "MambaForCausalLM" },
        { "num_attention_heads", "0", "config.json", "num_attention_heads" },
        { "num_key_value_heads", "3", "config.json", "num_key_value_heads" },
        { "hidden_size", "-64", "config.json", "hidden_size" },
        { "rms_norm_eps", "\"NaN\"", "config.json", "rms_norm_eps" },
        { "max_position_embeddings", "1e18", "config.json", "max_position_embeddings" },
        { "intermediate_size", "100", "model.safetensors", "mlp" },
        { "vocab_size", "300", "model.safetensors", "embed_tokens" },
        { "num_hidden_layers", "3", "model.safetensors", "layers.2" },
        { "quantization_config", "{\"quant_method\": \"awq\"}", "config.json", "quantization_config" },
    };

    [Theory]
    [MemberData(nameof(BadConfigs))]
    public void Config_that_is_wrong_or_contradicts_the_weights_is_refused(string field, string json, string file, string named)
    {
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        string path = Path.Combine(model, "config.json");
        JsonNode config = JsonNode.Parse(File.ReadAllText(path))!;
        config[field] = JsonNode.Parse(json);
        File.WriteAllText(path, config.ToJsonString());
        Run(model).FailsWith(ExitCode.RunError, model, file, named);
    }

    [Fact]
    public void Weights_of_an_unsupported_type_are_refused_by_tensor_and_type()
    {
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        string path = Path.Combine(model, "model.safetensors");
        byte[] bytes = File.ReadAllBytes(path);
        int at = bytes.AsSpan().IndexOf("\"F32\""u8);
        "\"I32\""u8.CopyTo(bytes.AsSpan(at));
        File.WriteAllBytes(path, bytes);
        Run(model).FailsWith(ExitCode.RunError, path, "I32");
    }

    [Fact]
    public void Truncated_shard_is_refused_by_file()
    {
        string model = new TinyModel { Shards = 2 }.Write(_directory.File("model"));
        string shard = Directory.GetFiles(model, "model-*.safetensors").Order(StringComparer.Ordinal).Last();
        File.WriteAllBytes(shard, File.ReadAllBytes(shard)[..^64]);
        Run(model).FailsWith(ExitCode.RunError, shard);
        File.Delete(shard);
        Run(model).FailsWith(ExitCode.RunError, Path.GetFileName(shard));
    }

    [Theory]
    [InlineData("config.json", "{")]
    [InlineData("tokenizer.json", "[]")]
    [InlineData("tokenizer.json", "{\"model\": {\"type\": \"Unigram\"}}")]
    [InlineData("tokenizer_config.json", "{\"chat_template\": \"{% for x in %}\"}")]
    [InlineData("generation_config.json", "{\"eos_token_id\": -1}")]
    public void Malformed_file_is_refused_by_name(string file, string text)
    {
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        File.WriteAllText(Path.Combine(model, file), text);
        Run(model).FailsWith(ExitCode.RunError, Path.Combine(model, file));
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("tokenizer.json")]
    [InlineData("model.safetensors")]
    public void Missing_file_is_refused_by_name(string file)
    {
        string model = TinyModel.Write(_directory.File("model"), "qwen3");
        File.Delete(Path.Combine(model, file));
        Run(model).FailsWith(ExitCode.RunError, Path.Combine(model, file));
    }

    [Fact]
    public void Folder_without_a_model_and_no_folder_at_all_are_refused()
    {
        Run(_directory.Path).FailsWith(ExitCode.RunError, _directory.Path);
        Run(_directory.File("nothing/here")).FailsWith(ExitCode.RunError, "nothing/here", "does not exist");
    }

    private static CliResult Run(string model) => new CliTestHost().Run("run", "--model", model, "--max-tokens", "2", "abc");
}
