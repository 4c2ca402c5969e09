using System.Text.Json;
using Foretoken.Backends.Cuda;
using Foretoken.Cli;
using Foretoken.Tests.Fixtures;

namespace Foretoken.Tests.Cli;

public sealed class BenchCommandTests : IDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly string _model;

    public BenchCommandTests() => _model = new TinyModel { MaxPositions = 256 }.Write(_directory.File("models/tiny"));

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Rows_are_compared_with_plain_steps()
    {
        JsonElement root = Json("bench", "rows", "--rows", "2,5", "--repeat", "2", "--depth", "3");
        JsonElement[] results = [.. root.GetProperty("results").EnumerateArray()];
        Assert.Equal(["rows1", "rows2", "rows5"], results.Select(r => r.GetProperty("test").GetString()));
        Assert.Equal(1, results[0].GetProperty("plain_steps").GetDouble());
        Assert.All(results, r => Assert.Equal(2, r.GetProperty("seconds").GetArrayLength()));
        Assert.All(results, r => Assert.True(r.GetProperty("probe_gb_per_second").GetDouble() > 0));
        Assert.Equal(5 * results[2].GetProperty("passes").GetInt32(), results[2].GetProperty("tokens").GetInt32());
    }

    [Fact]
    public void Decode_and_prefill_are_measured_without_a_name()
    {
        JsonElement root = Json("bench", "--tokens", "4", "--prompt", "70", "--repeat", "1", "--type", "int8");
        Assert.Equal("int8", root.GetProperty("weights").GetString());
        JsonElement[] results = [.. root.GetProperty("results").EnumerateArray()];
        Assert.Equal(["tg4", "pp70"], results.Select(r => r.GetProperty("test").GetString()));
        Assert.Equal([4, 2], results.Select(r => r.GetProperty("passes").GetInt32()));
        double weights = root.GetProperty("weight_bytes").GetDouble(), shown = results[0].GetProperty("gb_per_second").GetDouble() * 1e9 * results[0].GetProperty("seconds")[0].GetDouble();
        Assert.InRange(shown / (4 * weights), 0.95, 1.3); // each token reads all weights and a few keys and values
    }

    [Fact]
    public void Attention_alone_is_measured_per_storage_type_depth_and_rows()
    {
        JsonElement root = Json("bench", "kv", "--depths", "5,40", "--tree-rows", "6", "--kv-types", "f32,int8", "--repeat", "1");
        JsonElement[] results = [.. root.GetProperty("results").EnumerateArray()];
        string[] names = ["tree6@5", "tree6@40"];
        Assert.Equal(names.Concat(names), results.Select(r => r.GetProperty("test").GetString()));
        Assert.Equal(["f32", "int8"], results.Select(r => r.GetProperty("kv").GetString()).Distinct());
        Assert.All(results, r => Assert.False(r.TryGetProperty("tokens_per_second", out _)));
        double Bytes(JsonElement r) => r.GetProperty("gb_per_second").GetDouble() * 1e9 * r.GetProperty("seconds")[0].GetDouble() / r.GetProperty("passes").GetInt32();
        Assert.InRange(Bytes(results[1]) / Bytes(results[0]), 46 / 11.0 - 0.1, 46 / 11.0 + 0.1); // committed tokens and the tree's own rows
    }

    [Fact]
    public void Sequences_that_decode_together_give_a_token_each_per_pass()
    {
        JsonElement root = Json("bench", "batched", "--sequences", "1,5", "--tokens", "3", "--repeat", "2");
        JsonElement[] results = [.. root.GetProperty("results").EnumerateArray()];
        Assert.Equal(["tg3x1", "tg3x5"], results.Select(r => r.GetProperty("test").GetString()));
        Assert.Equal([3, 3], results.Select(r => r.GetProperty("passes").GetInt32()));
        Assert.Equal([3, 15], results.Select(r => r.GetProperty("tokens").GetInt32()));
        Assert.All(results, r => Assert.Equal(2, r.GetProperty("seconds").GetArrayLength()));
        Assert.All(results, r => Assert.True(r.GetProperty("tokens_per_second").GetDouble() > 0));
    }

    [Fact]
    public void Tables_have_one_line_per_test()
    {
        string[] csv = Run("bench", "depth", "--depths", "0,9", "--repeat", "1", "--csv").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3, csv.Length);
        Assert.StartsWith("test,model,weights,kv,threads,tok/s", csv[0], StringComparison.Ordinal);
        Assert.StartsWith("tg@9,tiny,f32,bf16,", csv[2], StringComparison.Ordinal);
        Assert.StartsWith("| tg@0 | tiny |", Run("bench", "depth", "--depths", "0", "--repeat", "1", "--markdown").Output.Split('\n')[2], StringComparison.Ordinal);
        Assert.Contains("load", Run("bench", "load", "--repeat", "1").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Startup_times_processes_until_their_first_byte()
    {
        JsonElement root = Json("bench", "startup", "--repeat", "1", "--threads", "1");
        Assert.Equal("tiny", root.GetProperty("model").GetString());
        Assert.True(root.GetProperty("version_seconds").GetDouble() > 0);
        foreach (string test in new[] { "first_token", "first_token_auto", "first_token_eager" }) Assert.True(root.GetProperty(test + "_seconds").GetDouble() > 0);
    }

    [Theory]
    [InlineData("'bench tokenizer' is not available in this build", "bench", "tokenizer")]
    [InlineData("'speed' is not a test of bench", "bench", "speed")]
    [InlineData("--shape does not know 'gpt-5'", "bench", "--shape", "gpt-5")]
    [InlineData("--shape and --model exclude each other", "bench", "--shape", "qwen3-0.6b", "--model", "x")]
    [InlineData("--json, --csv and --markdown exclude each other", "bench", "--json", "--csv")]
    [InlineData("--repeat must be an integer from 1", "bench", "--repeat", "0")]
    [InlineData("--rows must be an integer from 1 to 256", "bench", "rows", "--rows", "2,x")]
    [InlineData("--kv-types fp8 is not available in this build", "bench", "kv", "--kv-types", "f32,fp8")]
    [InlineData("--tree-rows must be an integer from 1 to 256", "bench", "kv", "--tree-rows", "0")]
    [InlineData("load measures the reading of files", "bench", "load", "--shape", "qwen3-0.6b")]
    [InlineData("startup measures a process", "bench", "startup", "--shape", "qwen3-0.6b")]
    [InlineData("--html is a setting of spec", "bench", "decode", "--html", "page.html")]
    public void Bad_command_lines_are_usage_errors(string message, params string[] args) => new CliTestHost().Run(args).FailsWith(ExitCode.Usage, message);

    [Fact]
    public void Sizes_beyond_the_context_are_refused() =>
        new CliTestHost().Run("bench", "--model", _model, "--prompt", "300").FailsWith(ExitCode.Usage, "context of 300 tokens", "256");

    [Fact]
    public void Doctor_names_kernels_bandwidth_and_models()
    {
        CliTestHost host = new() { BaseDirectory = _directory.Path, Cuda = CudaPlatform.Without("there is no driver") };
        CliResult result = host.Run("doctor", "--json", "--threads", "1");
        Assert.Equal((ExitCode.Success, ""), (result.Code, result.Error));
        JsonElement root = JsonDocument.Parse(result.Output).RootElement;
        Assert.Contains("GB/s", root.GetProperty("read_bandwidth").GetString(), StringComparison.Ordinal);
        Assert.Contains("supported", root.GetProperty("kernels").GetString(), StringComparison.Ordinal);
        Assert.Equal(_model, root.GetProperty("models").GetString());
        Assert.Equal("none: there is no driver", root.GetProperty("cuda").GetString());
    }

    private JsonElement Json(params string[] args) => JsonDocument.Parse(Run([.. args, "--json"]).Output).RootElement;

    private CliResult Run(params string[] args)
    {
        CliResult result = new CliTestHost().Run([.. args, "--model", _model]);
        Assert.True(result.Code == ExitCode.Success, result.Error);
        return result;
    }
}
